from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cost.mapping.layer_by_layer.link_scheduling import plan_layer_by_layer, runtime_cycles
from offramp.cost.mapping.placement import place
from offramp.cost.report import LayerCost
from offramp.cost.schedule import Schedule, Transfer, TransferKind
from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op
from tests.cost.checker import execution_of, faults, kinds
from tests.cost.toys import add, conv, core, dense, layer, memory, pool, toy_accelerator, two_exit_workload

Convention = Literal["offramp", "published"]
BRANCH = Role.BRANCH


def plan(
    workload: Workload, accelerator: Accelerator, convention: Convention = "offramp", cycles: float = 100.0
) -> Schedule:
    placements = place(workload, accelerator, accelerator.core("npu"), convention)
    costs = {x.layer.name: LayerCost(cycles, 0.0, 0.0, 0.0, 0.0, (), 0.0) for x in placements}
    return plan_layer_by_layer(workload, placements, costs, accelerator, convention)


def times(schedule: Schedule) -> dict[str, tuple[float, float]]:
    return {x.layer: (x.start_cycle, x.end_cycle) for x in schedule.executions}


def sent(schedule: Schedule, tensor: str) -> list[Transfer]:
    return [x for x in schedule.transfers if x.tensor == tensor]


def test_schedule_worked_out_by_hand() -> None:
    """Weights of a: 864 bits, 14 cycles; input with halo 3 x 10 x 10 x 8 = 2400 bits, 38 cycles: a starts at 52.

    b's map of 2048 bits takes 64 cycles to the pooling core, none to the SIMD core; a pooled map of 128 bits takes 4.
    """
    schedule = plan(two_exit_workload(), toy_accelerator())
    assert times(schedule) == {
        "a": (52, 152),
        "b": (152, 252),
        "pool0": (316, 416),
        "fc0": (420, 520),
        "c": (520, 620),
        "sum": (620, 720),
        "pool1": (720, 820),
        "fc1": (824, 924),
    }
    assert schedule.verdict_cycles[-1] == 926  # The last logits, 80 bits, are off chip two cycles after they are made.
    assert faults(schedule, two_exit_workload(), toy_accelerator()) == []


def test_weights_stream_ahead_back_to_back_in_layer_order() -> None:
    schedule = plan(two_exit_workload(), toy_accelerator())
    weights = [x for x in schedule.transfers if x.kind is TransferKind.WEIGHTS]
    assert [(x.origin, x.start_cycle, x.end_cycle) for x in weights] == [
        ("a", 0, 14),
        ("b", 52, 70),
        ("fc0", 70, 90),
        ("c", 90, 108),
        ("fc1", 108, 128),
    ]


def test_energies_by_hand_sender_read_and_receiver_write() -> None:
    schedule = plan(two_exit_workload(), toy_accelerator())
    by_origin: dict[str, float] = {}
    for transfer in schedule.transfers:
        by_origin[transfer.origin] = by_origin.get(transfer.origin, 0.0) + transfer.energy_pj
    # 3 pJ for each 64 bits: 14 + 38 words for a; 18 of weights and twice 32 of map for b; and so on.
    assert by_origin == {
        "a": 3.0 * (14 + 38),
        "b": 3.0 * (18 + 32 + 32),
        "pool0": 3.0 * 2,
        "fc0": 3.0 * (20 + 2),
        "c": 3.0 * (18 + 32),
        "sum": 3.0 * 32,
        "pool1": 3.0 * 2,
        "fc1": 3.0 * (20 + 2),
    }


def test_logits_of_an_exit_delay_weights_that_come_later() -> None:
    """The bus is busy with 10-bit logits when the last, large weights want one window of 40,000 cycles."""
    base = two_exit_workload()
    layers = (*base.layers[:-1], layer("fc1", dense(16, 20_000), "pool1", stage=1, role=BRANCH))
    workload = Workload("late", layers, base.exits)
    schedule = plan(workload, toy_accelerator())
    (logits,) = sent(schedule, "fc0")
    (weights,) = sent(schedule, "weights of fc1")
    assert (logits.start_cycle, logits.end_cycle) == (520, 522)
    assert (weights.start_cycle, weights.end_cycle) == (522, 40_522)
    assert times(schedule)["fc1"] == (40_522, 40_622)
    assert faults(schedule, workload, toy_accelerator()) == []


def test_all_on_one_core_sends_nothing_but_weights_input_and_logits() -> None:
    accelerator = toy_accelerator(pooling_bits=None, simd_bits=None)
    schedule = plan(two_exit_workload(), accelerator)
    assert set(kinds(schedule)) == {TransferKind.WEIGHTS, TransferKind.INPUT, TransferKind.LOGITS}
    assert times(schedule)["fc1"] == (752, 852)
    assert faults(schedule, two_exit_workload(), accelerator) == []


def test_without_off_chip_core_everything_is_at_hand_and_that_is_said() -> None:
    accelerator = toy_accelerator(pooling_bits=None, simd_bits=None, offchip=False)
    schedule = plan(two_exit_workload(), accelerator)
    assert schedule.transfers == ()
    assert times(schedule)["a"] == (0, 100)
    assert "no off-chip core" in schedule.warnings[0]


def test_activation_functions_pass_their_input_on() -> None:
    relu = LayerShape(Op.ACTIVATION, g=4, oy=8, ox=8, iy=8, ix=8)
    softmax = LayerShape(Op.ACTIVATION, g=10)
    workload = Workload(
        "free",
        (
            layer("a", conv(3)),
            layer("relu", relu, "a"),
            layer("pool", pool(), "relu", role=BRANCH),
            layer("fc", dense(16), "pool", role=BRANCH),
            layer("softmax", softmax, "fc", role=BRANCH),
        ),
        ("softmax",),
    )
    schedule = plan(workload, toy_accelerator())
    assert times(schedule)["relu"] == (152, 152)
    assert times(schedule)["pool"] == (216, 316)
    assert [x.origin for x in sent(schedule, "a")] == ["a"]
    assert sent(schedule, "fc")[-1].kind is TransferKind.LOGITS
    assert sent(schedule, "softmax") == sent(schedule, "relu") == []
    assert faults(schedule, workload, toy_accelerator()) == []


def test_core_that_has_had_a_tensor_longest_sends_it_and_the_first_listed_of_equals() -> None:
    """The sum reaches the pooling core at once, so both it and the SIMD core can send it on; the pooling core does."""
    base = two_exit_workload()
    layers = (
        *base.layers,
        layer("d", conv(), "sum", stage=2),
        layer("fc2", dense(256), "d", stage=2, role=BRANCH),
    )
    schedule = plan(Workload("long", layers, (*base.exits, "fc2")), toy_accelerator())
    assert [(x.sender, x.receiver) for x in sent(schedule, "sum")] == [("simd", "pool"), ("pool", "npu")]
    # That link is first needed for the pooled map, which was planned before: 820 to 824.
    assert sent(schedule, "sum")[1].start_cycle == 720
    assert sent(schedule, "b")[0].sender == "npu"


def spilling_workload() -> Workload:
    """b waits in the pooling core for nobody but is still needed by the sum when exit 1 pools c."""
    return Workload(
        "spill",
        (
            layer("a", conv(3)),
            layer("b", conv(), "a"),
            layer("pool0", pool(), "b", role=BRANCH),
            layer("fc0", dense(16), "pool0", role=BRANCH),
            layer("c", conv(), "b", stage=1),
            layer("pool1", pool(), "c", stage=1, role=BRANCH),
            layer("fc1", dense(16), "pool1", stage=1, role=BRANCH),
            layer("sum", add(), "c", "b", stage=2),
            layer("fc2", dense(256), "sum", stage=2, role=BRANCH),
        ),
        ("fc0", "fc1", "fc2"),
    )


def test_copy_that_another_core_has_is_given_up_without_a_transfer() -> None:
    accelerator = toy_accelerator(pooling_bits=3000)
    schedule = plan(spilling_workload(), accelerator)
    assert TransferKind.EVICTION not in kinds(schedule)
    assert faults(schedule, spilling_workload(), accelerator) == []
    assert times(schedule)["pool1"][0] == times(schedule)["c"][1] + 64


def test_published_convention_saves_that_copy_and_does_not_wait_for_the_producer() -> None:
    schedule = plan(spilling_workload(), toy_accelerator(pooling_bits=3000), "published")
    (evicted,) = [x for x in schedule.transfers if x.kind is TransferKind.EVICTION]
    assert (evicted.tensor, evicted.origin, evicted.receiver, evicted.bits) == ("b", "b", "dram", 2048)
    assert times(schedule)["pool1"][0] == times(schedule)["c"][1]


def streaming_workload() -> Workload:
    return Workload(
        "stream",
        (
            layer("a", conv(3)),
            layer("b", conv(), "a"),
            layer("sum", add(), "b", "a"),
            layer("pool", pool(), "sum", role=BRANCH),
            layer("fc", dense(16), "pool", role=BRANCH),
            layer("c", conv(), "sum", stage=1),
            layer("fc1", dense(256), "c", stage=1, role=BRANCH),
        ),
        ("fc", "fc1"),
    )


def test_layer_that_does_not_fit_works_off_chip() -> None:
    """Maps of 2048 bits reach the off-chip memory in 32 cycles; while the sum runs nothing else uses the bus."""
    accelerator = toy_accelerator(simd_bits=5000)
    schedule = plan(streaming_workload(), accelerator)
    run = execution_of(schedule, "sum")
    assert run.held_media == ("bus",)
    assert run.start_cycle == times(schedule)["b"][1] + 32
    assert [(x.sender, x.receiver) for x in sent(schedule, "a")] == [("npu", "dram")]
    assert [(x.sender, x.receiver) for x in sent(schedule, "sum")] == [("dram", "pool"), ("dram", "npu")]
    assert "'sum' does not fit the memory of core 'simd'" in schedule.warnings[0]
    assert faults(schedule, streaming_workload(), accelerator) == []


def test_one_passage_over_a_shared_link_serves_two_listeners() -> None:
    schedule = plan(streaming_workload(), toy_accelerator(simd_bits=5000))
    first, second = sent(schedule, "sum")
    assert (first.start_cycle, first.end_cycle) == (second.start_cycle, second.end_cycle)
    assert (first.broadcast, second.broadcast) == (False, True)


def test_published_convention_sends_no_inputs_to_a_layer_that_does_not_fit() -> None:
    schedule = plan(streaming_workload(), toy_accelerator(simd_bits=5000), "published")
    assert execution_of(schedule, "sum").start_cycle == times(schedule)["b"][1]
    assert sent(schedule, "a") == sent(schedule, "b") == []


def test_missing_link_is_an_error_of_the_description() -> None:
    whole = toy_accelerator()
    links = tuple(x for x in whole.links if (x.sender, x.receiver) != ("pool", "npu") and x.shared != "bus")
    cut = Accelerator("cut", (whole.core("npu"), core("dram", CoreKind.OFFCHIP)), links)
    with pytest.raises(AcceleratorError, match="from core 'dram' to core 'npu'"):
        plan(two_exit_workload(), cut)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """A random backbone of 4 x 8 x 8 maps with residual additions, and random branches."""
    layers: list[Layer] = []
    exits: list[str] = []
    maps: list[str] = []
    num_stages = draw(st.integers(1, 3))
    for stage in range(num_stages):
        for _ in range(draw(st.integers(1, 4))):
            name = f"l{len(layers)}"
            kind = draw(st.sampled_from(["conv", "conv", "add", "relu", "concat"])) if maps else "conv"
            one = maps[-1] if maps else GRAPH_INPUT
            if kind == "add":
                layers.append(layer(name, add(), one, draw(st.sampled_from(maps)), stage=stage))
            elif kind == "relu":
                free = LayerShape(Op.ACTIVATION, g=4, oy=8, ox=8, iy=8, ix=8)
                layers.append(layer(name, free, one, stage=stage))
            elif kind == "concat":
                # Two halves of four channels, as far as sizes matter here.
                joined = LayerShape(Op.CONCAT, g=4, oy=8, ox=8, iy=8, ix=8)
                layers.append(layer(name, joined, one, draw(st.sampled_from(maps)), stage=stage))
            else:
                layers.append(layer(name, conv(draw(st.sampled_from([3, 4])) if not maps else 4), one, stage=stage))
            maps.append(name)
        tip = maps[-1]
        if draw(st.booleans()):
            layers.append(layer(f"bc{stage}", conv(), tip, stage=stage, role=BRANCH))
            tip = f"bc{stage}"
        if draw(st.booleans()):
            layers.append(layer(f"bp{stage}", pool(), tip, stage=stage, role=BRANCH))
            layers.append(layer(f"fc{stage}", dense(16), f"bp{stage}", stage=stage, role=BRANCH))
        else:
            layers.append(layer(f"fc{stage}", dense(256), tip, stage=stage, role=BRANCH))
        exits.append(f"fc{stage}")
    return Workload("random", tuple(layers), tuple(exits))


SIZES = st.one_of(st.none(), st.integers(2200, 12_000), st.just(10**9))


@settings(max_examples=150, deadline=None)
@given(workloads(), SIZES, SIZES, st.one_of(st.integers(8000, 20_000), st.just(10**9)), st.integers(0, 300))
def test_random_schedules_keep_all_rules(
    workload: Workload, pooling: int | None, simd: int | None, compute: int, cycles: int
) -> None:
    accelerator = toy_accelerator(compute_bits=compute, pooling_bits=pooling, simd_bits=simd)
    schedule = plan(workload, accelerator, cycles=cycles)
    assert faults(schedule, workload, accelerator) == []


@settings(max_examples=50, deadline=None)
@given(workloads(), st.integers(0, 300))
def test_conventions_differ_only_where_memories_overflow(workload: Workload, cycles: int) -> None:
    accelerator = toy_accelerator()
    honest = plan(workload, accelerator, "offramp", cycles)
    assert honest == plan(workload, accelerator, "published", cycles)


@settings(max_examples=50, deadline=None)
@given(workloads(), SIZES, st.integers(8000, 20_000))
def test_published_schedules_are_complete_even_where_memories_overflow(
    workload: Workload, pooling: int | None, compute: int
) -> None:
    accelerator = toy_accelerator(compute_bits=compute, pooling_bits=pooling, simd_bits=5000)
    schedule = plan(workload, accelerator, "published")
    liberties = ("before it has it", "is there", "never leaves")
    found = faults(schedule, workload, accelerator)
    # A result that is sent on before it is complete also lets its reader start early.
    early = {x.split(" sends ")[1].split()[0] for x in found if x.endswith("before it has it")}
    consequences = tuple(f"before {name} ends" for name in early)
    others = [x for x in found if not x.endswith((*liberties, *consequences)) and "holds" not in x]
    assert others == []


def test_runtime_is_cut_to_whole_cycles_on_compute_cores_only() -> None:
    cost = LayerCost(10.75, 0.5, 2.0, 3.5, 0.0, (), 0.0)
    assert runtime_cycles(cost, CoreKind.COMPUTE) == 13.0
    assert runtime_cycles(cost, CoreKind.POOLING) == runtime_cycles(cost, CoreKind.SIMD) == 16.75


def test_every_transfer_says_why_it_is_made() -> None:
    schedule = plan(two_exit_workload(), toy_accelerator())
    reasons = {(x.tensor, x.kind) for x in schedule.transfers if x.kind is not TransferKind.WEIGHTS}
    assert reasons == {
        (GRAPH_INPUT, TransferKind.INPUT),
        *((name, TransferKind.ACTIVATION) for name in ("b", "pool0", "c", "sum", "pool1")),
        *((name, TransferKind.LOGITS) for name in ("fc0", "fc1")),
    }


def test_the_second_input_of_an_addition_goes_to_the_memory_of_the_second_operand() -> None:
    accelerator = toy_accelerator()
    simd = accelerator.core("simd")
    ram = simd.memories[0]
    first = replace(ram, operand_ports=tuple(x for x in ram.operand_ports if x.operand != "I2"))
    second = replace(
        ram,
        name="second",
        operand_ports=tuple(x for x in ram.operand_ports if x.operand == "I2"),
        write_energy_pj=5.0,
    )
    cores = tuple(replace(x, memories=(first, second)) if x is simd else x for x in accelerator.cores)
    schedule = plan(two_exit_workload(), replace(accelerator, cores=cores))
    # 2048 bits are 32 words: 1 pJ to read each, 2 pJ to write the first input, 5 pJ to write the second one.
    energies = {x.tensor: x.energy_pj for x in schedule.transfers if x.receiver == "simd"}
    assert energies == {"c": 32 * 3.0, "b": 32 * 6.0}


def test_what_an_activation_function_passes_on_is_released_after_its_last_use() -> None:
    relu = LayerShape(Op.ACTIVATION, g=4, oy=8, ox=8, iy=8, ix=8)
    layers, source = [layer("conv0", conv(3))], "conv0"
    for number in range(1, 8):
        layers.append(layer(f"relu{number}", relu, source))
        source = f"conv{number}"
        layers.append(layer(source, conv(), f"relu{number}"))
    workload = Workload("chain", (*layers, layer("fc", dense(256), source, role=BRANCH)), ("fc",))
    # Three maps of 2048 bits and weights fit, eight maps do not.
    schedule = plan(workload, toy_accelerator(compute_bits=30_000, pooling_bits=None, simd_bits=None))
    assert not any(x.held_media for x in schedule.executions)
    assert TransferKind.EVICTION not in kinds(schedule)


def test_a_streamed_operand_takes_the_links_of_its_direction() -> None:
    base = toy_accelerator(compute_bits=6000, pooling_bits=None, simd_bits=None)
    npu = base.core("npu")
    # A register holds what is used in a cycle, so that operands which fit the memory can stay there.
    cores = (replace(npu, memories=(memory("register", 64), *npu.memories)), *base.cores[1:])
    links = tuple(replace(link, shared=None) for link in base.links)
    accelerator = replace(base, cores=cores, links=links)
    # Of the convolution only partial sums are too large, of the last layer only weights: 20,480 bits.
    workload = Workload("two", (layer("wide", conv()), layer("fc", dense(256), "wide", role=BRANCH)), ("fc",))
    schedule = plan(workload, accelerator)
    placements = place(workload, accelerator, accelerator.core("npu"), "offramp")
    assert [x.streamed for x in placements] == [("O",), ("I2",)]
    assert [x.held_media for x in schedule.executions] == [("npu->dram",), ("dram->npu",)]
    assert faults(schedule, workload, accelerator) == []


def test_logits_that_a_later_layer_reads_are_off_chip_already() -> None:
    """They leave once, as logits; a core that had to give them up gets them back from the off-chip memory."""
    layers = (
        layer("a", conv(4)),
        layer("pool0", pool(), "a", role=BRANCH),
        layer("fc0", dense(16), "pool0", role=BRANCH),
        layer("c", conv(), "a", stage=1),
        layer("pool1", pool(), "c", stage=1, role=BRANCH),
        layer("fc1", dense(16), "pool1", stage=1, role=BRANCH),
        layer("mix", LayerShape(Op.ADD, g=10), "fc1", "fc0", stage=1, role=BRANCH),
    )
    accelerator = toy_accelerator(compute_bits=6000, pooling_bits=None, simd_bits=None)
    schedule = plan(Workload("reuse", layers, ("fc0", "mix")), accelerator)
    assert [(x.sender, x.receiver, x.kind) for x in sent(schedule, "fc0")] == [
        ("npu", "dram", TransferKind.LOGITS),
        ("dram", "npu", TransferKind.ACTIVATION),
    ]
