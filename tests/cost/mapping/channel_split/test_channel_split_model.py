import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cost.engines.formula.engine import FormulaEngine
from offramp.cost.mapping.channel_split.channel_split_model import ChannelSplitModel, Goal
from offramp.cost.mapping.channel_split.core_options import layer_options
from offramp.cost.mapping.channel_split.in_order_simulator import InOrderSimulator
from offramp.cost.report import StageCost
from offramp.cost.schedule import Schedule
from offramp.cost.schedule_report import StageBoundary, layer_reports, stage_costs
from offramp.errors import UnsupportedLayerError
from offramp.hardware.loader import load_accelerator
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op
from tests.cost.mapping.channel_split.checker import faults
from tests.cost.mapping.channel_split.networks import add, average, conv, depthwise, residual_network, two_exits

DIANA = load_accelerator("diana")
ENGINE = FormulaEngine(DIANA)
FREE = ChannelSplitModel(free=True, overlapping=True)


def energies_to_exit(network: Workload, schedule: Schedule) -> list[float]:
    return [stage.energy_to_exit_pj for stage in stages_of(network, schedule)]


def stages_of(network: Workload, schedule: Schedule) -> tuple[StageCost, ...]:
    layers = layer_reports(network, DIANA, schedule)
    return stage_costs(network, schedule, layers, StageBoundary.VERDICTS)


def test_a_chip_of_both_cores_reaches_the_published_efficiency() -> None:
    """7.02 TOP/s/W end to end on a CIFAR-10 ResNet-20, within 25 %; additions, pooling and transfers included."""
    network = residual_network(3)
    stage = ChannelSplitModel(free=True).estimate(network, DIANA).stages[-1]
    assert 2 * network.macs_to_exit()[0] / stage.energy_to_exit_pj == pytest.approx(7.02, rel=0.25)


def test_without_a_decision_layers_stay_digital_unless_the_assignment_is_free() -> None:
    network = residual_network(1)
    fixed, free = ChannelSplitModel().estimate(network, DIANA), ChannelSplitModel(free=True).estimate(network, DIANA)
    assert {layer.core for layer in fixed.layers} == {"digital", "vector", "host"}
    assert "analog" in {layer.core for layer in free.layers}
    assert next(x.core for x in free.layers if x.name == "stem") == "digital"
    assert any("trained to be ternary" in text for text in free.warnings)
    assert not fixed.warnings
    assert free.stages[-1].latency_to_exit_cycles < 0.5 * fixed.stages[-1].latency_to_exit_cycles


def test_a_layer_by_hand() -> None:
    """Input 3 x 32 x 32 at 16 bytes a cycle: 192; weights of the stem: 432 / 16 = 27; then its 4160 cycles."""
    network = Workload("stem", (Layer("stem", conv(16, 3, 32), (GRAPH_INPUT,), 0, Role.BACKBONE),), ("stem",))
    stage = ChannelSplitModel().estimate(network, DIANA).stages[0]
    assert stage.latency_to_exit_cycles == 192 + 27 + 4160
    assert stage.energy_to_exit_pj == pytest.approx((4379 * 11.31 + 4160 * 13.65) * 1e9 / 260e6)


def test_a_split_layer_takes_as_long_as_its_slower_part_and_the_power_of_both() -> None:
    # The first layer may not be analog: one stands before.
    stem = Layer("stem", conv(16, 4, 16), (GRAPH_INPUT,), 0, Role.BACKBONE)
    network = Workload("two", (stem, Layer("conv", conv(32, 16, 16), ("stem",), 0, Role.BACKBONE)), ("conv",))
    schedule = ChannelSplitModel().assign(network.with_analog_channels({"conv": 16}), DIANA).schedule
    parts = {x.core: x for x in schedule.executions if x.layer == "conv"}
    analog, digital = (parts[x].end_cycle - parts[x].start_cycle for x in ("analog", "digital"))
    assert analog == pytest.approx(8 * 16 * 9 + 256 / 4 * 18.2)
    assert digital == 16 * 16 * 9 + 256 * 32 / 8
    assert parts["analog"].start_cycle == parts["digital"].start_cycle
    energies = energies_to_exit(network, schedule)
    alone = schedule.executions[0]
    # ODiMO: 42.39 mW while both work, then that of the longer one.
    both, rest = min(analog, digital), abs(analog - digital)
    published = 42.39 * both + (24.96 if digital > analog else 28.74) * rest
    before = 24.96 * (alone.end_cycle - alone.start_cycle) + 11.31 * alone.start_cycle
    assert energies[0] == pytest.approx((published + before) * 1e9 / 260e6)


def test_independent_layers_run_at_the_same_time_only_where_asked_for() -> None:
    network = residual_network(1).with_analog_channels({"stage1.block0.first": 32, "stage1.block0.second": 32})
    beside = ChannelSplitModel(overlapping=True).estimate(network, DIANA)
    after = ChannelSplitModel().estimate(network, DIANA)
    times = {layer.name: (layer.start_cycle, layer.end_cycle) for layer in beside.layers}
    assert times["stage1.block0.shortcut"][0] < times["stage1.block0.first"][1]
    assert beside.stages[-1].latency_to_exit_cycles < after.stages[-1].latency_to_exit_cycles
    for before, later in itertools.pairwise(after.layers):
        assert later.start_cycle >= before.end_cycle


@pytest.mark.parametrize("goal", ["latency", "energy", "energy_delay_product"])
def test_the_assignment_is_the_best_of_all_where_all_can_be_tried(goal: Goal) -> None:
    network = two_exits()
    model = ChannelSplitModel(free=True, overlapping=True, goal=goal)
    options = layer_options(network, ENGINE, free=True)
    simulator = InOrderSimulator(network, ENGINE, overlapping=True)
    values = []
    for ways in itertools.product(*options.values()):
        schedule = simulator.run(dict(zip(options, ways, strict=True))).schedule()
        energy = energies_to_exit(network, schedule)
        pairs = list(zip(energy, schedule.verdict_cycles, strict=True))
        values.append(sum({"latency": c, "energy": e, "energy_delay_product": e * c}[goal] for e, c in pairs) / 2)
    assert len(values) > 20
    assert model.assign(network, DIANA).value == pytest.approx(min(values))


def test_exit_rates_decide_what_is_worth_it() -> None:
    rates = ChannelSplitModel(free=True, exit_rates=(1.0, 0.0)).assign(two_exits(), DIANA)
    energy = energies_to_exit(two_exits(), rates.schedule)[0]
    assert rates.value == pytest.approx(energy * rates.schedule.verdict_cycles[0])


def test_later_stages_wait_for_the_verdict() -> None:
    schedule = FREE.assign(two_exits(), DIANA).schedule
    assert min(x.start_cycle for x in schedule.executions if x.layer == "block") >= schedule.verdict_cycles[0]


def test_energies_of_layers_add_up_to_those_of_stages() -> None:
    for network in (residual_network(1), two_exits()):
        report = FREE.estimate(network, DIANA)
        assert sum(x.energy_pj for x in report.layers) == pytest.approx(report.stages[-1].energy_to_exit_pj)
        assert sum(x.stage_energy_pj for x in report.stages) == pytest.approx(report.stages[-1].energy_to_exit_pj)
        for stage in report.stages:
            parts = stage.backbone_latency_cycles + stage.gap_cycles + stage.branch_latency_cycles
            assert parts == pytest.approx(stage.stage_latency_cycles)


@pytest.mark.parametrize(
    ("name", "channels", "words"),
    [
        ("stem", 16, "stem .*first layer reads 8-bit pixels"),
        ("final.linear", 4, "runs conv, not dense"),
        ("block", 64, "it has 32"),
    ],
)
def test_decisions_that_break_a_rule_are_refused_by_name(name: str, channels: int, words: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=words):
        ChannelSplitModel().estimate(two_exits().with_analog_channels({name: channels}), DIANA)


def test_all_broken_decisions_are_named() -> None:
    layers = (
        Layer("stem", conv(16, 3, 32), (GRAPH_INPUT,), 0, Role.BACKBONE, 8),
        Layer("deep", depthwise(16, 32), ("stem",), 0, Role.BACKBONE, 16),
    )
    with pytest.raises(UnsupportedLayerError, match=r"2 layer\(s\).*stem.*deep.*within one channel"):
        ChannelSplitModel().estimate(Workload("bad", layers, ("deep",)), DIANA)


def test_what_does_not_fit_the_activation_memory_is_moved_and_said() -> None:
    def network(size: int) -> Workload:
        layers = (
            Layer("stem", conv(64, 4, size), (GRAPH_INPUT,), 0, Role.BACKBONE),
            Layer("conv", conv(64, 64, size, 1), ("stem",), 0, Role.BACKBONE, 64),
        )
        return Workload("large", layers, ("conv",))

    small, large = (ChannelSplitModel().estimate(network(size), DIANA) for size in (32, 64))
    assert not small.warnings
    assert "need more than memory l1 holds" in large.warnings[0]
    # 2 x 64 x 64 x 64 bytes less 256,000, out and in again at 16 bytes a cycle.
    moved = 2 * (2 * 64**3 - 256_000) / 16
    conv_report = next(x for x in large.layers if x.name == "conv")
    assert conv_report.end_cycle - conv_report.start_cycle == pytest.approx(max(moved, 8 * 64 + 4096 / 8 * 18.2))


def test_weights_that_exceed_their_memory_come_while_the_layer_runs() -> None:
    shape = LayerShape(Op.DENSE, k=512, c=512)
    network = Workload("dense", (Layer("fc", shape, (GRAPH_INPUT,), 0, Role.BRANCH),), ("fc",))
    stage = ChannelSplitModel().estimate(network, DIANA).stages[0]
    # 262,144 bytes take 16,384 cycles, computing 512 / 16 x 512, and 128 for what goes in and out.
    assert stage.latency_to_exit_cycles == 512 / 16 + 16384 + 128


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Random chains with additions, branches and exits; every layer can run somewhere."""
    layers = [Layer("stem", conv(16, 3, 32), (GRAPH_INPUT,), 0, Role.BACKBONE)]
    last, exits = "stem", []
    stages = draw(st.integers(1, 3))
    for stage in range(stages):
        for index in range(draw(st.integers(1, 3))):
            name = f"s{stage}.{index}"
            kind = draw(st.sampled_from(["conv", "depthwise", "residual"]))
            shape = depthwise(16, 32) if kind == "depthwise" else conv(16, 16, 32, draw(st.sampled_from([1, 3, 5])))
            able = kind != "depthwise" and shape.fx < 5
            analog = draw(st.sampled_from([None, 0, 4, 8, 16] if able else [None, 0]))
            layers.append(Layer(name, shape, (last,), stage, Role.BACKBONE, analog))
            if kind == "residual":
                layers.append(Layer(f"{name}.relu", LayerShape(Op.ACTIVATION), (name,), stage, Role.BACKBONE))
                layers.append(Layer(f"{name}.add", add(16, 32), (f"{name}.relu", last), stage, Role.BACKBONE))
                name = f"{name}.add"
            last = name
        layers.append(Layer(f"pool{stage}", average(16, 32), (last,), stage, Role.BRANCH))
        layers.append(Layer(f"fc{stage}", LayerShape(Op.DENSE, k=10, c=16), (f"pool{stage}",), stage, Role.BRANCH))
        exits.append(f"fc{stage}")
    return Workload("random", tuple(layers), tuple(exits))


@settings(max_examples=40, deadline=None)
@given(workloads(), st.booleans(), st.integers(0, 2**32 - 1))
def test_any_choice_gives_a_schedule_without_faults(workload: Workload, overlapping: bool, seed: int) -> None:
    options = layer_options(workload, ENGINE, free=True)
    rng = np.random.default_rng(seed)
    choice = {name: ways[rng.integers(len(ways))] for name, ways in options.items()}
    schedule = InOrderSimulator(workload, ENGINE, overlapping=overlapping).run(choice).schedule()
    assert faults(schedule, workload, ENGINE) == []


def spoilt(schedule: Schedule, kind: str) -> Schedule:
    executions, transfers, holdings = list(schedule.executions), list(schedule.transfers), schedule.holdings
    verdicts = schedule.verdict_cycles
    last = executions[-2]
    if kind == "missing":
        del executions[0]
    elif kind == "early":
        executions[-2] = replace(last, start_cycle=last.start_cycle - 50, end_cycle=last.end_cycle - 50)
    elif kind == "fast":
        executions[-2] = replace(last, end_cycle=last.start_cycle + 1)
    elif kind == "weights":
        transfers = [x for x in transfers if x.origin != "stem"]
    elif kind == "transfers":
        transfers[1] = replace(transfers[1], start_cycle=transfers[0].start_cycle)
    elif kind == "core":
        index = next(i for i, x in enumerate(executions) if x.layer == "stem")
        executions[index] = replace(executions[index], core="analog")
    elif kind == "memory":
        holdings = tuple(replace(x, bits=x.bits * 100) for x in holdings)
    elif kind == "nowhere":
        holdings = holdings[1:]
    elif kind == "verdict":
        verdicts = (verdicts[0] - 10,)
    return replace(
        schedule,
        executions=tuple(executions),
        transfers=tuple(transfers),
        holdings=holdings,
        verdict_cycles=verdicts,
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "not computed once each"),
        ("early", "its inputs are there at"),
        ("fast", "is faster"),
        ("weights", "never loaded"),
        ("transfers", "at the same time"),
        ("core", "runs on analog, but the first layer"),
        ("memory", "bits of"),
        ("nowhere", "takes no space"),
        ("verdict", "is not the end"),
    ],
)
def test_the_check_finds_spoilt_schedules(kind: str, words: str) -> None:
    network = residual_network(1)
    schedule = FREE.assign(network, DIANA).schedule
    assert faults(schedule, network, ENGINE) == []
    assert any(words in fault for fault in faults(spoilt(schedule, kind), network, ENGINE))
