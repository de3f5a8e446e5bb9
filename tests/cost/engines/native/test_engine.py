"""The native engine against the published per-layer figures and against arithmetic done by hand."""

import ast
import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp import jsonio
from offramp.cost.engines.native import engine as native_engine
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.operator_rules import rule_cost
from offramp.cost.report import Goal, LayerCost
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import Core, CoreKind
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op
from tests.cost.mapping.optimized.networks import conv

REFERENCE = Path(__file__).parents[5] / "shared" / "reference" / "eenn" / "layers.csv"
GOLDEN = Path(__file__).parents[3] / "golden"
PUBLISHED = GOLDEN / "published_layer_costs.csv"
ACCELERATOR = load_accelerator("edge-tpu-quad")
COMPUTE = ACCELERATOR.cores_of(CoreKind.COMPUTE)[0]
POOLING = ACCELERATOR.cores_of(CoreKind.POOLING)[0]
SIMD = ACCELERATOR.cores_of(CoreKind.SIMD)[0]
OFFCHIP = ACCELERATOR.cores_of(CoreKind.OFFCHIP)[0]


def backed(core: Core) -> Core:
    """The core with the off-chip memory on top, which the reference adds where a layer's tensors exceed the core."""
    memory = replace(OFFCHIP.memories[0], served_dimensions=tuple(item.name for item in core.array))
    return replace(core, memories=(*core.memories, memory))


def shape_of(row: dict[str, str]) -> LayerShape:
    def number(name: str) -> int:
        return int(float(row[name])) if row[name] else 1

    activation, weight = number("bits_I"), max(1, number("bits_W"))
    if row["op"] == "gemm":
        return LayerShape(Op.DENSE, k=number("K"), c=number("C"), weight_bits=weight, activation_bits=activation)
    if row["op"] == "add":
        oy, ox = number("D"), number("K")
        return LayerShape(
            Op.ADD, g=number("H"), oy=oy, ox=ox, iy=oy, ix=ox, weight_bits=activation, activation_bits=activation
        )
    pool = row["op"] == "maxpool"
    padding = ast.literal_eval(row["pad"])
    (left, right), (top, bottom) = padding["IX"], padding["IY"]
    return LayerShape(
        Op.MAX_POOL if pool else Op.CONV,
        g=number("K") if pool else number("G"),
        k=1 if pool else number("K"),
        # The published figures charge pooling once per channel: the C loop of the defect.
        c=number("C"),
        oy=number("OY"),
        ox=number("OX"),
        fy=number("FY"),
        fx=number("FX"),
        iy=number("OY") * number("stride_y"),
        ix=number("OX") * number("stride_x"),
        stride_y=number("stride_y"),
        stride_x=number("stride_x"),
        padding=(top, left, bottom, right),
        weight_bits=activation if pool else weight,
        activation_bits=activation,
    )


def core_of(row: dict[str, str]) -> Core:
    core = {"maxpool": POOLING, "add": SIMD}.get(row["op"], COMPUTE)
    return backed(core) if core is not COMPUTE and row["E_O_dram_pJ"] else core


def figures(cost: LayerCost, op: str) -> dict[str, float]:
    used = cost.latency_cycles if op in ("maxpool", "add") else cost.latency_without_offload_cycles
    return {
        "temporal_cycles": cost.temporal_cycles,
        "stall_cycles": cost.stall_cycles,
        "loading_cycles": cost.onload_cycles,
        "offloading_cycles": cost.offload_cycles,
        "runtime_used_by_stream": int(used),
        "energy_total_pJ": cost.energy_pj,
        "mac_utilization2": cost.utilization,
        "E_mac_pJ": cost.mac_energy_pj,
    } | {f"E_{part.operand}_{part.memory}_pJ": part.energy_pj for part in cost.memory_energy}


def check_published(path: Path, num_layers: int) -> None:
    """Price every layer of a table and compare all its figures."""
    with path.open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(rows) == num_layers
    engine = NativeEngine()
    for row, cost in zip(rows, engine.price([(shape_of(row), core_of(row)) for row in rows]), strict=True):
        priced = figures(cost, row["op"])
        for name, value in priced.items():
            assert value == pytest.approx(float(row[name] or 0), rel=1e-9), (row["example_layer"], row["bits_I"], name)
        # No published figure is left out: what the engine does not name must be empty or nothing.
        compared = [name for name in row if name in priced or name.startswith("E_")]
        assert len([name for name in compared if name not in priced and float(row[name] or 0) != 0]) == 0


def test_published_layers_are_reproduced_everywhere() -> None:
    check_published(PUBLISHED, 43)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference figures are not here")
def test_every_published_layer_is_reproduced() -> None:
    check_published(REFERENCE, 127)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference figures are not here")
def test_the_table_of_the_tests_is_a_part_of_the_reference() -> None:
    with PUBLISHED.open() as file, REFERENCE.open() as whole:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
        reference = [{name: row[name] for name in rows[0]} for row in csv.DictReader(whole)]
    assert all(row in reference for row in rows)


def test_layers_priced_by_zigzag_once_are_priced_alike() -> None:
    """Pooling charged once, and layers that the published table does not list."""
    golden = json.loads((GOLDEN / "zigzag_layer_costs.json").read_text())["layers"]
    assert len(golden) >= 4
    for item in golden:
        shape, expected = jsonio.from_data(LayerShape, item["shape"]), jsonio.from_data(LayerCost, item["cost"])
        core = {Op.MAX_POOL: POOLING, Op.ADD: SIMD}.get(shape.op, COMPUTE)
        memories = {memory.name for memory in core.memories}
        outside = {part.memory for part in expected.memory_energy} - memories
        (cost,) = NativeEngine().price([(shape, backed(core) if outside else core)])
        assert cost.latency_cycles == expected.latency_cycles, shape
        assert cost.energy_pj == pytest.approx(expected.energy_pj, rel=1e-12), shape


def test_layers_without_a_mapping_are_all_named() -> None:
    big = LayerShape(Op.ADD, g=1000, oy=64, ox=64, iy=64, ix=64)
    fine = LayerShape(Op.ADD, g=8, oy=8, ox=8, iy=8, ix=8)
    with pytest.raises(UnsupportedLayerError, match=r"2 layer.*1000 channels.*'simd': its results need.*'offchip'"):
        NativeEngine().price([(big, SIMD), (fine, SIMD), (fine, OFFCHIP)])


CONV = LayerShape(Op.CONV, k=24, c=16, oy=8, ox=8, fy=3, fx=3, iy=8, ix=8, padding=(1, 1, 1, 1))


def test_the_core_alone_decides_whatever_its_name() -> None:
    engine = NativeEngine()
    first, second = engine.price([(CONV, COMPUTE), (CONV, ACCELERATOR.cores_of(CoreKind.COMPUTE)[1])])
    assert first == second
    changed = replace(COMPUTE, mac_energy_pj=1.0)
    assert engine.price([(CONV, changed)])[0].mac_energy_pj == CONV.macs


def test_the_goal_decides_which_mapping_is_best() -> None:
    fast, frugal, both = (
        NativeEngine(goal=goal).price([(CONV, COMPUTE)])[0] for goal in ("latency", "energy", "energy_delay_product")
    )
    assert fast.latency_cycles <= both.latency_cycles
    assert frugal.energy_pj <= both.energy_pj
    products = [cost.latency_cycles * cost.energy_pj for cost in (fast, frugal, both)]
    assert min(products) == products[2]


@pytest.mark.parametrize("goal", ["latency", "energy", "energy_delay_product"])
def test_more_search_is_never_worse(goal: Goal) -> None:
    def figure(engine: NativeEngine) -> float:
        cost = engine.price([(CONV, COMPUTE)])[0]
        by_goal = {"latency": cost.latency_cycles, "energy": cost.energy_pj}
        return by_goal.get(goal, cost.latency_cycles * cost.energy_pj)

    plain = figure(NativeEngine(goal=goal))
    assert figure(NativeEngine(goal=goal, num_spatial_mappings=12)) <= plain
    assert figure(NativeEngine(goal=goal, mixed_spatial_mappings=True)) <= plain


def test_loads_beside_the_computation_are_never_slower() -> None:
    dense = LayerShape(Op.DENSE, k=10, c=512, weight_bits=32, activation_bits=32)
    before, beside = (
        NativeEngine(loads_overlap_computation=beside).price([(dense, COMPUTE)])[0] for beside in (False, True)
    )
    # 2,563 cycles of loading in the published figures, made with zigzag-dse 3.6.3; 2,181 as 3.9.1 counts.
    assert before.onload_cycles == 2563
    assert beside.onload_cycles == 2181
    assert beside.energy_pj == before.energy_pj


def test_blocks_of_orders_give_the_answer_of_all_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NativeEngine().price([(CONV, COMPUTE)])[0]
    monkeypatch.setattr(native_engine, "BLOCK", 7)
    assert NativeEngine().price([(CONV, COMPUTE)])[0] == whole


def test_operators_without_a_nest_follow_their_rule() -> None:
    concat = LayerShape(Op.CONCAT, g=16, oy=8, ox=8, iy=8, ix=8)
    activation = LayerShape(Op.ACTIVATION, g=16, oy=8, ox=8, iy=8, ix=8)
    joined, free = NativeEngine().price([(concat, SIMD), (activation, SIMD)])
    assert joined == rule_cost(concat, SIMD)
    assert joined.energy_pj > 0
    assert free.latency_cycles == free.energy_pj == 0


@pytest.mark.parametrize("setting", ["loma_lpf_limit", "num_spatial_mappings"])
def test_settings_must_make_sense(setting: str) -> None:
    with pytest.raises(ValueError, match=rf"`{setting}` must be >= 1, got 0"):
        NativeEngine(**{setting: 0})  # type: ignore[arg-type]


def test_every_setting_is_in_the_version() -> None:
    engines = [
        NativeEngine(),
        NativeEngine(goal="energy"),
        NativeEngine(loma_lpf_limit=4),
        NativeEngine(num_spatial_mappings=1),
        NativeEngine(mixed_spatial_mappings=True),
        NativeEngine(loads_overlap_computation=True),
        NativeEngine(unrolling="zigzag"),
        NativeEngine(memory_fill="best"),
    ]
    assert len({engine.version for engine in engines}) == len(engines)
    assert {engine.name for engine in engines} == {"native"}


def test_the_chosen_mapping_is_told() -> None:
    cost = NativeEngine().price([(LayerShape(Op.ADD, g=8, oy=4, ox=16, iy=4, ix=16), SIMD)])[0]
    assert cost.spatial_mapping == "D1: K 16"
    assert cost.temporal_mapping.startswith("O: ")
    assert {part.memory for part in cost.memory_energy} == {"sram_128KB_2rw"}
    assert [part.operand for part in cost.memory_energy] == ["O", "W", "I"]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["pointwise", "depthwise", "full"]),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 17),
    st.integers(1, 2),
    st.sampled_from([2, 4, 8]),
)
def test_no_cost_is_below_what_physics_asks(
    kind: str, inputs: int, outputs: int, size: int, stride: int, bits: int
) -> None:
    kernel = 1 if kind == "pointwise" else 3
    single = kind == "depthwise"
    shape = LayerShape(
        Op.CONV,
        g=inputs if single else 1,
        k=1 if single else outputs,
        c=1 if single else inputs,
        oy=size,
        ox=size,
        fy=kernel,
        fx=kernel,
        iy=size * stride,
        ix=size * stride,
        stride_y=stride,
        stride_x=stride,
        weight_bits=bits,
        padding=(kernel // 2,) * 4,
    )
    cost = NativeEngine(loma_lpf_limit=4).price([(shape, COMPUTE)])[0]
    assert cost.temporal_cycles >= shape.macs / COMPUTE.peak_macs_per_cycle
    assert 0 < cost.utilization <= 1
    assert min(cost.stall_cycles, cost.onload_cycles, cost.offload_cycles) >= 0
    assert cost.mac_energy_pj == pytest.approx(0.04 * shape.macs)
    dram = sum(part.energy_pj for part in cost.memory_energy if part.memory == "dram")
    # All weights are read and all outputs written at least once, 64 bits at a time.
    assert dram >= 700 * (shape.weight_size_bits // 64) + 750 * (shape.output_size_bits // 64)


def test_several_goals_at_once_are_priced_as_each_alone() -> None:
    core = load_accelerator("edge-tpu-quad").cores[0]
    jobs = [(shape, core) for shape in (conv(8, 8, 16, 3), conv(8, 16, 16, 3, 1, 16), conv(9, 5, 7))]
    goals: tuple[Goal, ...] = ("energy_delay_product", "energy", "latency")
    engine = NativeEngine(num_spatial_mappings=2)
    alone = [engine.with_goal(goal) for goal in goals]
    products, energies, _ = priced = engine.price_goals(jobs, goals)
    assert priced == [other.price(jobs) for other in alone]
    for least, product in zip(energies, products, strict=True):
        assert least.energy_pj <= product.energy_pj
        assert product.energy_pj * product.latency_cycles <= least.energy_pj * least.latency_cycles * (1 + 1e-12)
    assert alone[2] == engine
    assert len({other.version for other in alone}) == 3


def test_weights_that_no_memory_holds_are_named_with_the_memory() -> None:
    """8,000,000 weights of a byte are 7.629 MiB; the SRAM of the microcontroller has 512 KiB."""
    (cpu,) = (core for core in load_accelerator("mcu").cores if core.kind is CoreKind.COMPUTE)
    with pytest.raises(UnsupportedLayerError, match=r"its weights need 7\.629 MiB, and sram holds 512 KiB"):
        NativeEngine().price([(LayerShape(Op.DENSE, k=2000, c=4000), cpu)])
