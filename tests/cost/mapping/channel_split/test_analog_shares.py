from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.mapping.channel_split.analog_shares import (
    AnalogRefusal,
    analog_refusals,
    analog_split,
    plan_analog,
)
from offramp.cost.mapping.channel_split.channel_split_model import ChannelSplitModel
from offramp.hardware.loader import load_accelerator
from offramp.space.architecture import Architecture, ExitChoice, StageChoice
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from tests.cost.mapping.channel_split.networks import conv, depthwise, residual_network

DIANA = load_accelerator("diana")


def network() -> Workload:
    """A stem and three blocks, the last with a depthwise convolution."""
    backbone = Role.BACKBONE
    layers = (
        Layer("stages.0.stem.conv", conv(16, 3, 32), (GRAPH_INPUT,), 0, backbone),
        Layer("stages.0.block0.first.conv", conv(16, 16, 32), ("stages.0.stem.conv",), 0, backbone),
        Layer("stages.0.block0.second.conv", conv(16, 16, 32), ("stages.0.block0.first.conv",), 0, backbone),
        Layer("stages.0.block0.shortcut.conv", conv(16, 16, 32, 1), ("stages.0.stem.conv",), 0, backbone),
        Layer("stages.1.block2.first.conv", conv(24, 16, 32), ("stages.0.block0.second.conv",), 0, backbone),
        Layer("stages.1.block3.depthwise.conv", depthwise(24, 32), ("stages.1.block2.first.conv",), 0, backbone),
        Layer("branches.0.conv", conv(16, 24, 32), ("stages.1.block3.depthwise.conv",), 0, Role.BRANCH),
    )
    return Workload("blocks", layers, ("branches.0.conv",))


def stated(first: tuple[float, ...], second: tuple[float, ...]) -> Architecture:
    stages = (
        StageChoice(1, 16, (3,), (1,), analog_shares=first),
        StageChoice(2, 24, (3, 3), (1, 1), analog_shares=second),
    )
    return Architecture("blocks", 32, stages)


def test_one_share_holds_for_a_block_and_one_per_layer_for_each() -> None:
    plan = plan_analog(network(), stated((0.5,), (1.0, 1.0)), DIANA)
    assert plan.channels == {
        "stages.0.block0.first.conv": 8,
        "stages.0.block0.second.conv": 8,
        "stages.0.block0.shortcut.conv": 8,
        "stages.1.block2.first.conv": 24,
    }
    assert list(plan.refused) == ["stages.1.block3.depthwise.conv"]
    assert "within one channel" in plan.refused["stages.1.block3.depthwise.conv"]
    each = plan_analog(network(), stated((1.0, 0.25), ()), DIANA)
    assert each.channels == {
        "stages.0.block0.first.conv": 16,
        "stages.0.block0.second.conv": 4,
        "stages.0.block0.shortcut.conv": 4,
    }


def test_channels_are_multiples_of_what_the_chip_divides_into() -> None:
    counts = [
        plan_analog(network(), stated((), (share, 0.0)), DIANA).channels.get("stages.1.block2.first.conv", 0)
        for share in (0.0, 0.05, 0.1, 0.25, 0.5, 0.9, 1.0)
    ]
    assert counts == [0, 0, 4, 8, 12, 20, 24]


def test_without_shares_or_without_an_analog_core_nothing_is_analog() -> None:
    assert not stated((), ()).has_analog_shares
    assert plan_analog(network(), stated((), ()), DIANA).channels == {}
    assert plan_analog(network(), stated((1.0,), ()), load_accelerator("mcu")).channels == {}


def test_the_share_of_an_exit_is_that_of_its_branch() -> None:
    layers = list(network().layers)
    layers[-1] = replace(layers[-1], stage=0, inputs=("stages.0.block0.second.conv",), shape=conv(16, 16, 32))
    final = Layer("branches.1.conv", conv(16, 24, 32), ("stages.1.block3.depthwise.conv",), 1, Role.BRANCH)
    layers = [replace(x, stage=int(x.name.startswith("stages.1"))) if x.role is Role.BACKBONE else x for x in layers]
    order = [*layers[:4], layers[-1], *layers[4:-1], final]
    workload = Workload("blocks", tuple(order), ("branches.0.conv", "branches.1.conv"))
    base = stated((), ())
    for share, expected in ((0.0, {}), (0.5, {"branches.0.conv": 8}), (1.0, {"branches.0.conv": 16})):
        chosen = replace(base, exits=(ExitChoice(0, "conv", analog_share=share),))
        assert chosen.has_analog_shares == bool(share)
        assert plan_analog(workload, chosen, DIANA).channels == expected


def test_one_layer_by_itself_is_divided_as_in_a_plan() -> None:
    split = analog_split(DIANA)
    assert split is not None
    assert split.array.rows == 1152
    assert [split.channels(conv(24, 16, 32), x) for x in (0.0, 0.05, 0.1, 0.25, 0.5, 0.9, 1.0)] == [
        0,
        0,
        4,
        8,
        12,
        20,
        24,
    ]
    assert split.channels(depthwise(24, 32), 1.0) == 0
    assert split.channels(conv(10, 16, 32), 1.0) == 10
    assert analog_split(load_accelerator("mcu")) is None


def test_refusals_are_collected_by_reason() -> None:
    first, second = analog_refusals(network(), DIANA)
    assert first.layers == ("stages.0.stem.conv",)
    assert first.sentence == (
        "1 layer cannot run on core 'analog': the first layer reads 8-bit pixels, and the core's inputs are narrower "
        "(stages.0.stem.conv)."
    )
    assert second.layers == ("stages.1.block3.depthwise.conv",)
    assert analog_refusals(network(), load_accelerator("mcu")) == ()
    many = AnalogRefusal("analog", "it is so", tuple("abcd"))
    assert many.sentence == "4 layers cannot run on core 'analog': it is so (a, b, c, ...)."


def test_a_decided_workload_runs_as_decided() -> None:
    plan = plan_analog(network(), stated((0.5,), (1.0, 0.0)), DIANA)
    workload = network().with_analog_channels(plan.channels)
    assert all(layer.analog_channels is not None for layer in workload.layers)
    report = ChannelSplitModel(free=True).estimate(workload, DIANA)
    cores = {layer.name: layer.core for layer in report.layers}
    assert cores["stages.0.block0.first.conv"] == "analog+digital"
    assert cores["stages.1.block2.first.conv"] == "analog"
    assert cores["stages.0.stem.conv"] == cores["branches.0.conv"] == "digital"
    assert not report.warnings


@given(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])] * 3))
def test_any_shares_can_be_priced(shares: tuple[float, float, float]) -> None:
    """The blocks of ResNet-8 by the names that lowering gives them."""
    plain = residual_network(1)

    def renamed(name: str) -> str:
        return name.replace("stage", "stages.", 1).replace(".block0", f".block{name[5]}") if "stage" in name else name

    layers = tuple(replace(x, name=renamed(x.name), inputs=tuple(map(renamed, x.inputs))) for x in plain.layers)
    workload = replace(plain, layers=layers)
    stages = tuple(StageChoice(1, 16 * 2**i, (3,), (1,), analog_shares=(s,)) for i, s in enumerate(shares))
    plan = plan_analog(workload, Architecture("resnet8", 32, stages), DIANA)
    assert len(plan.channels) == sum(n * (s > 0) for n, s in zip((2, 3, 3), shares, strict=True))
    stage = ChannelSplitModel().estimate(workload.with_analog_channels(plan.channels), DIANA).stages[-1]
    assert stage.latency_to_exit_cycles == pytest.approx(62_500, rel=0.42)
