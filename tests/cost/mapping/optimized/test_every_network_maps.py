"""Whatever the layer-by-layer mapping prices is mapped: in tiles, or with operands that stay off chip."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.mapping.optimized.core_groups import with_offchip
from offramp.cost.mapping.optimized.optimized_model import BOUNDED_SEARCH, OptimizedMapping, OptimizedModel
from offramp.cost.mapping.optimized.planning import plan_optimizer
from offramp.cost.price_cache import CachedEngine
from offramp.cost.unmodelled import ON_THE_CORE
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import Accelerator, Core, CoreKind
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op
from tests.cost.mapping.optimized.checker import faults
from tests.cost.mapping.optimized.networks import branch, conv, networks, quad, team_of

ENGINE = CachedEngine(NativeEngine(goal="energy_delay_product", loma_lpf_limit=3, num_spatial_mappings=1), None)
RELAXED = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
BARE = Accelerator("bare", team_of(1).cores[:1], ())


def small(accelerator: Accelerator, activation_bits: int, weight_bits: int) -> Accelerator:
    """The accelerator with that much SRAM on every core; registers and DRAM stay as they are."""

    def shrunk(core: Core) -> Core:
        if core.kind is CoreKind.OFFCHIP:
            return core
        memories = tuple(
            replace(memory, size_bits=weight_bits if memory.operands == ("I2",) else activation_bits)
            if 200_000 < memory.size_bits < 10**9
            else memory
            for memory in core.memories
        )
        return replace(core, memories=memories)

    return replace(accelerator, cores=tuple(map(shrunk, accelerator.cores)))


def joined(op: Op, channels: int = 12, size: int = 8) -> Workload:
    """Two convolutions whose results are joined or added, and an exit."""
    layers = [Layer(name, conv(size, 3, channels, 1), (GRAPH_INPUT,), 0, Role.BACKBONE) for name in ("left", "right")]
    total = 2 * channels if op is Op.CONCAT else channels
    shape = LayerShape(op, g=total, oy=size, ox=size, iy=size, ix=size)
    layers.append(Layer("joined", shape, ("left", "right"), 0, Role.BACKBONE))
    return Workload("joined", (*layers, *branch(0, "joined", total, size)), ("fc0",))


def mapped(workload: Workload, accelerator: Accelerator) -> OptimizedMapping:
    mapping = OptimizedModel(ENGINE).map(workload, accelerator)
    assert faults(mapping.schedule, workload, with_offchip(accelerator)) == []
    return mapping


@RELAXED
@given(
    workload=networks(),
    accelerator=st.sampled_from([quad(), team_of(1), BARE]),
    activation_bits=st.sampled_from([5_000, 10_000, 30_000, 80_000]),
    weight_bits=st.sampled_from([2_000, 4_000, 16_000, 64_000]),
)
def test_what_the_layer_by_layer_mapping_prices_is_mapped(
    workload: Workload, accelerator: Accelerator, activation_bits: int, weight_bits: int
) -> None:
    accelerator = small(accelerator, activation_bits, weight_bits)
    try:
        LayerByLayerModel(ENGINE).estimate(workload, accelerator)
    except UnsupportedLayerError:
        return
    mapped(workload, accelerator)


@pytest.mark.parametrize("op", [Op.CONCAT, Op.ADD])
def test_a_join_larger_than_the_memory_is_done_in_tiles(op: Op) -> None:
    # 12 channels of 8 x 8 x 8 bits are 6,144 bits; two of them and their sum or all of both exceed 15,000.
    mapping = mapped(joined(op), small(quad(), 15_000, 64_000))
    (task,) = [task for task in mapping.tasks if task.result == "joined"]
    assert len(task.tiles) > 1
    assert not task.streamed


def test_rows_of_a_joined_tensor_need_those_rows_alone() -> None:
    mapping = mapped(joined(Op.CONCAT), small(quad(), 15_000, 64_000))
    (task,) = [task for task in mapping.tasks if task.result == "joined"]
    for (tile,) in task.tiles:
        rows = (tile.results[0].first_row, tile.results[0].end_row)
        assert {(source.needs[0].first_row, source.needs[0].end_row) for source in tile.sources} == {rows}
        assert {source.needs[0].channels for source in tile.sources} == {12}


def test_a_layer_of_which_no_tile_fits_is_computed_with_its_operands_off_chip() -> None:
    # One output of the dense layer needs 3,000 weights of 8 bits, the weight memory holds 4,000 bits.
    dense = LayerShape(Op.DENSE, k=10, c=3000)
    first = Layer("wide", LayerShape(Op.DENSE, k=3000, c=16), (GRAPH_INPUT,), 0, Role.BACKBONE)
    workload = Workload("wide", (first, Layer("fc", dense, ("wide",), 0, Role.BRANCH)), ("fc",))
    accelerator = small(quad(), 80_000, 4_000)
    mapping = mapped(workload, accelerator)
    (task,) = [task for task in mapping.tasks if task.result == "fc"]
    assert task.streamed
    (piece,) = [piece for piece in mapping.schedule.executions if piece.layer == "fc"]
    # The way to the DRAM is busy meanwhile, and the DRAM's energy is part of the layer's.
    assert piece.held_media
    dram = accelerator.cores_of(CoreKind.OFFCHIP)[0]
    spent = sum(part.energy_pj for part in piece.memory_energy if part.memory.startswith(dram.name))
    assert spent >= dram.memories[0].read_energy_pj * (dense.weight_size_bits // dram.memories[0].read_bandwidth_bits)


def test_an_accelerator_without_an_offchip_memory_is_mapped() -> None:
    mapping = mapped(joined(Op.ADD), BARE)
    assert mapping.report.warnings[0] == ON_THE_CORE
    assert all(move.energy_pj == 0 for move in mapping.schedule.transfers if move.kind.value == "weights") is False
    assert {piece.core for piece in mapping.schedule.executions} == {"npu0"}


def test_the_memory_that_stands_for_the_missing_one_is_free_and_called_by_a_new_name() -> None:
    given_name = with_offchip(replace(BARE, cores=(replace(BARE.cores[0], name="given"),))).cores
    assert [core.name for core in given_name] == ["given", "given0"]
    memory = with_offchip(BARE).cores_of(CoreKind.OFFCHIP)[0].memories[0]
    assert memory.read_energy_pj == memory.write_energy_pj == 0
    assert with_offchip(quad()) == quad()


def many_readers(count: int) -> Workload:
    """Each layer joins all results before it, as in DenseNet."""
    layers = [Layer("l0", conv(4, 3, 8, 1), (GRAPH_INPUT,), 0, Role.BACKBONE)]
    for number in range(1, count):
        before = tuple(f"l{n}" for n in range(number))
        shape = LayerShape(Op.CONCAT, g=8 * number, oy=4, ox=4, iy=4, ix=4)
        layers.append(Layer(f"j{number}", shape, before, 0, Role.BACKBONE))
        layers.append(Layer(f"l{number}", conv(4, 8 * number, 8, 1), (f"j{number}",), 0, Role.BACKBONE))
    return Workload("dense", (*layers, *branch(0, f"l{count - 1}", 8, 4)), ("fc0",))


def test_the_search_for_a_plan_is_bounded_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    workload, accelerator = many_readers(5), quad()
    free = mapped(workload, accelerator)
    assert BOUNDED_SEARCH not in free.report.warnings
    monkeypatch.setattr(plan_optimizer, "MOST_READS", 1)
    monkeypatch.setattr(plan_optimizer, "LEAST_STATES", 2)
    bounded, again = mapped(workload, accelerator), mapped(workload, accelerator)
    assert BOUNDED_SEARCH in bounded.report.warnings
    assert bounded.product == again.product
    assert bounded.product >= free.product * (1 - 1e-12)
