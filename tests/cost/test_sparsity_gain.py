"""What zero weights gain, where a core's description says so, and that they gain nothing where it does not."""

from dataclasses import replace

import pytest
from benchmarks.roofline import roofline
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.mapping.optimized.optimized_model import OptimizedModel
from offramp.cost.report import CostReport
from offramp.cost.schedule import TransferKind
from offramp.cost.sparsity_gain import as_priced, gain_of, stored_weight_bits
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import Accelerator, Core, CoreKind, SparseStorage, SpatialLoop, WeightSparsity
from offramp.workload.graph import Workload
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native.native_toys import core, memory
from tests.cost.mapping.optimized.networks import quad
from tests.cost.toys import ToyEngine, conv, toy_accelerator, two_exit_workload

BITMAP = SparseStorage(bits_per_weight=1, bits_per_nonzero=0)
RUNS = SparseStorage(bits_per_weight=0, bits_per_nonzero=4)
DENSE = LayerShape(Op.DENSE, k=4, c=16)


def sparse(plain: Core, cycles: float = 1.0, energy: float = 1.0, storage: SparseStorage | None = None) -> Core:
    return replace(plain, sparsity=WeightSparsity(cycles, energy, storage, "invented"))


def apart(weight_port_bits: int = 64) -> Core:
    """Two multipliers and a memory with ports of its own for each operand: nothing waits for anything else."""
    memories = (memory("i", "I1", bandwidth_bits=64), memory("w", "I2", bandwidth_bits=weight_port_bits))
    return core(*memories, memory("o", "O", bandwidth_bits=64), dataflow=(SpatialLoop("D1", "K", 2),))


def test_the_rule_with_a_bitmap_and_with_run_lengths() -> None:
    half = replace(DENSE, weight_density=0.5)
    bitmap = gain_of(half, sparse(core(), cycles=0.8, energy=0.5, storage=BITMAP))
    assert bitmap is not None
    # 0.5 * 8 bits and one more; 20 % and half of the zeros' cycles and energy are not saved.
    assert (bitmap.stored_bits, bitmap.cycles, bitmap.mac_energy) == (5.0, 0.6, 0.75)
    runs = gain_of(half, sparse(core(), storage=RUNS))
    assert runs is not None
    assert runs.stored_bits == 0.5 * (8 + 4)
    plain = gain_of(half, sparse(core()))
    assert plain is not None
    assert (plain.stored_bits, plain.cycles, plain.mac_energy) == (8.0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("storage", "weight_bits", "least_dense"),
    [(BITMAP, 8, 7 / 8), (BITMAP, 4, 3 / 4), (RUNS, 8, 2 / 3), (RUNS, 4, 1 / 2)],
)
def test_a_layer_that_the_format_does_not_shrink_stays_dense(
    storage: SparseStorage, weight_bits: int, least_dense: float
) -> None:
    target = sparse(core(), storage=storage)
    at = replace(DENSE, weight_bits=weight_bits, weight_density=least_dense)
    below = replace(at, weight_density=least_dense - 0.01)
    assert gain_of(at, target) is None
    assert stored_weight_bits(at, target) == 64 * weight_bits
    assert as_priced(at, target) == replace(at, weight_density=1.0)
    assert gain_of(below, target) is not None
    assert as_priced(below, target) == below


def test_cycles_and_mac_energy_of_a_layer_that_nothing_holds_up() -> None:
    shape = replace(DENSE, weight_density=0.25)
    dense, ideal, lossy = NativeEngine().price(
        [(DENSE, sparse(apart())), (shape, sparse(apart())), (shape, sparse(apart(), cycles=0.5, energy=0.9))]
    )
    # 64 MACs on 2 multipliers at 100 pJ.
    assert (dense.latency_cycles, dense.mac_energy_pj, dense.utilization) == (32, 6400, 1.0)
    assert (ideal.latency_cycles, ideal.mac_energy_pj, ideal.utilization) == (8, 1600, 1.0)
    assert (lossy.latency_cycles, lossy.mac_energy_pj) == (20, 6400 * (1 - 0.9 * 0.75))
    # Stored as ever, all operands move as ever.
    assert ideal.memory_energy == dense.memory_energy


def test_weights_move_in_the_format_they_are_stored_in() -> None:
    """A port of 8 bits feeds one multiplier with plain weights, both with two weights of 0.25 * 8 + 1 bits."""
    shape = replace(DENSE, weight_density=0.25)
    narrow = sparse(apart(8), cycles=0.0, energy=0.0, storage=BITMAP)
    dense, stored = NativeEngine().price([(DENSE, narrow), (shape, narrow)])
    weights = [[x.energy_pj for x in cost.memory_energy if x.operand == "W"] for cost in (dense, stored)]
    assert weights == [[64.0], [32.0]]
    assert (dense.latency_cycles, stored.latency_cycles) == (64, 32)
    assert dense.mac_energy_pj == stored.mac_energy_pj == 6400


def test_what_a_port_must_carry_is_no_faster_for_zeros() -> None:
    """All operands through one memory: the multipliers wait, and the layer takes what it took."""
    shared = sparse(core(memory("ram", "I1 I2 O", bandwidth_bits=64)))
    shapes = [replace(DENSE, weight_density=density) for density in (1.0, 0.5)]
    dense, half = NativeEngine().price([(shape, shared) for shape in shapes])
    assert (dense.temporal_cycles, half.temporal_cycles) == (32, 16)
    assert half.latency_cycles == dense.latency_cycles == 69


shapes = st.builds(
    lambda k, c, size, kernel, bits: replace(conv(c, k, size, kernel), weight_bits=bits),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 9),
    st.sampled_from([1, 3]),
    st.sampled_from([4, 8]),
)
storages = st.sampled_from([None, BITMAP, RUNS])
REGISTER_BITS, REGISTER_BITS_PER_CYCLE = 64, 16
SMALL = core(
    memory("reg", "I2", REGISTER_BITS, REGISTER_BITS_PER_CYCLE, served=()),
    memory("ram", "I1 I2 O", bandwidth_bits=64),
    lanes=4,
)


@settings(max_examples=25, deadline=None)
@given(shape=shapes, storage=storages, density=st.floats(0.01, 1.0))
def test_without_the_block_density_changes_nothing_and_full_density_changes_nothing_with_it(
    shape: LayerShape, storage: SparseStorage | None, density: float
) -> None:
    zeros = replace(shape, weight_density=density)
    plain, ignored, full = NativeEngine().price(
        [(shape, SMALL), (zeros, SMALL), (shape, sparse(SMALL, storage=storage))]
    )
    assert plain == ignored == full


@settings(max_examples=25, deadline=None)
@given(shape=shapes, storage=storages, density=st.floats(0.01, 0.99), share=st.floats(0, 1))
def test_zeros_cost_nothing_but_the_filling_of_the_register(
    shape: LayerShape, storage: SparseStorage | None, density: float, share: float
) -> None:
    """Of smaller weights more fit next to the multipliers, and what fits is fetched before the first one is used."""
    target = sparse(SMALL, share, share, storage)
    engine = NativeEngine()
    dense, thin = engine.price([(shape, target), (replace(shape, weight_density=density), target)])
    filling = 0 if storage is None else REGISTER_BITS / REGISTER_BITS_PER_CYCLE
    assert thin.latency_cycles <= dense.latency_cycles + filling
    assert 0 <= thin.mac_energy_pj <= dense.mac_energy_pj


def test_fractions_of_a_bit_do_not_decide_what_is_held_where() -> None:
    """Equal numbers of accesses stay equal: nine weights of 3.64 bits are held where nine of 4 are."""
    shape, target = replace(conv(9, 3, 1, 3), weight_bits=4), sparse(SMALL, 0.0, 0.0, BITMAP)
    jobs = [(shape, SMALL), *((replace(shape, weight_density=x), target) for x in (0.6612418362689391, 0.7))]
    assert {cost.latency_cycles for cost in NativeEngine().price(jobs)} == {125.0}
    assert {cost.temporal_mapping.count("W: K3 FY3 |") for cost in NativeEngine().price(jobs)} == {1}


def sparse_toy(storage: SparseStorage | None, compute_bits: int = 10**9) -> Accelerator:
    chip = toy_accelerator(compute_bits=compute_bits)
    cores = tuple(sparse(x, storage=storage) if x.kind is CoreKind.COMPUTE else x for x in chip.cores)
    return replace(chip, cores=cores)


def thinned(workload: Workload, density: float) -> Workload:
    return workload.with_weight_densities({layer.name: density for layer in workload.layers})


def weight_cycles(report: CostReport, layer: str) -> float:
    return sum(x.end_cycle - x.start_cycle for x in report.busy if x.layer == layer and x.carries == "weights")


def test_weights_travel_and_are_kept_as_they_are_stored() -> None:
    """Layer b: 4 * 4 * 9 weights, 1152 bits, 18 cycles on the bus of 64 bits; with a bitmap 5 bits each, 12."""
    model, half = LayerByLayerModel(ToyEngine()), thinned(two_exit_workload(), 0.5)
    dense = model.estimate(two_exit_workload(), sparse_toy(BITMAP))
    assert weight_cycles(dense, "b") == 18
    assert (
        model.estimate(half, toy_accelerator()).layers == model.estimate(two_exit_workload(), toy_accelerator()).layers
    )
    assert weight_cycles(model.estimate(half, sparse_toy(None)), "b") == 18
    assert weight_cycles(model.estimate(half, sparse_toy(BITMAP)), "b") == 12
    assert model.estimate(thinned(two_exit_workload(), 1.0), sparse_toy(BITMAP)) == dense


def test_what_fits_depends_on_how_weights_are_stored() -> None:
    """Layer b alone: 2048 bits in, 4096 of partial sums out, 1152 or 720 of weights."""
    room = 2048 + 4096 + 720
    full, half = two_exit_workload(), thinned(two_exit_workload(), 0.5)
    model = LayerByLayerModel(ToyEngine())

    def streamed(workload: Workload) -> list[str]:
        warnings = model.estimate(workload, sparse_toy(BITMAP, room)).warnings
        return [text for text in warnings if "Layer 'b' does not fit" in text]

    assert len(streamed(full)) == 1
    assert streamed(half) == []


def test_a_workload_knows_its_density() -> None:
    workload = two_exit_workload()
    weights = [layer.shape.num_weights for layer in workload.layers]
    assert weights == [108, 144, 0, 160, 144, 0, 0, 160]
    some = workload.with_weight_densities({"a": 0.5, "fc0": 0.25, "pool0": 0.1, "nothing": 0.1})
    assert workload.weight_density == 1.0
    assert some.weight_density == (54 + 144 + 40 + 144 + 160) / 716
    assert [x.shape.weight_density for x in some.layers] == [0.5, 1.0, 1.0, 0.25, 1.0, 1.0, 1.0, 1.0]


def test_no_mapping_beats_the_roofline_of_sparse_weights() -> None:
    chip = quad()
    target = replace(
        chip, cores=tuple(sparse(x, storage=BITMAP) if x.kind is CoreKind.COMPUTE else x for x in chip.cores)
    )
    full, half = two_exit_workload(), thinned(two_exit_workload(), 0.5)
    model = OptimizedModel(NativeEngine(goal="energy_delay_product"))
    dense = model.map(full, target, bound=True)
    thin = model.map(half, target, bound=True)
    assert model.map(half, chip).report.layers == model.map(full, chip).report.layers == dense.report.layers
    for bound, plain, stage in zip(roofline(half, target), roofline(full, target), thin.report.stages, strict=True):
        assert bound.macs == plain.macs
        assert bound.compute_cycles == plain.compute_cycles / 2
        assert bound.latency_cycles <= stage.latency_to_exit_cycles
        assert bound.energy_pj <= stage.energy_to_exit_pj
    # 716 weights of 3 bits less; input and logits as they are.
    assert roofline(full, target)[-1].dram_bits - roofline(half, target)[-1].dram_bits == 3 * 716
    sent = [sum(x.bits for x in y.schedule.transfers if x.kind is TransferKind.WEIGHTS) for y in (dense, thin)]
    assert sent[1] == sent[0] * 5 / 8
    assert thin.bound is not None
    assert thin.bound <= thin.product * (1 + 1e-12)
    assert thin.product < dense.product


def test_zigzag_refuses_what_it_does_not_know() -> None:
    pytest.importorskip("zigzag")
    from offramp.cost.engines.zigzag.engine import ZigzagEngine

    model = LayerByLayerModel(ZigzagEngine(num_workers=1))
    with pytest.raises(UnsupportedLayerError, match=r"b, c \(conv.*0\.5 of the weights nonzero.*use the native engine"):
        model.estimate(thinned(two_exit_workload(), 0.5), sparse_toy(BITMAP))


@pytest.mark.parametrize("density", [0.0, -0.5, 1.5, float("nan")])
def test_impossible_densities(density: float) -> None:
    with pytest.raises(ValueError, match="`weight_density` must be above 0 and at most 1"):
        replace(DENSE, weight_density=density)


def test_layers_without_weights_have_no_density() -> None:
    with pytest.raises(ValueError, match="layers with weights"):
        LayerShape(Op.ADD, weight_density=0.5)
