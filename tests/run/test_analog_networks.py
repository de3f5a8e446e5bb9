"""A search that chooses analog shares, on small random images; and what it refuses."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from offramp.cost.mapping.channel_split.channel_split_model import ChannelSplitModel
from offramp.errors import ConfigError
from offramp.hardware.loader import load_accelerator
from offramp.nn.analog.make_analog import analog_parts
from offramp.nn.backbone import BACKBONES
from offramp.nn.supernet.supernet import Supernet
from offramp.progress import SilentReporter
from offramp.run.analog_notes import analog_notes
from offramp.run.checks.settings_checks import check_settings
from offramp.run.context import Context
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.run.network_preparation import assign_analog_
from offramp.run.workloads import assigned_workload
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.space.architecture import Architecture, PolicyChoice
from offramp.space.early_exit_space import EarlyExitSpace

DIANA = load_accelerator("diana")
SHARES = (0.0, 0.5, 1.0)
SHAPE = (3, 16, 16)


def space() -> EarlyExitSpace:
    return EarlyExitSpace(BACKBONES.get("resnet8").space(SHAPE), ("conv",), analog_shares=SHARES)


def all_analog(architecture: Architecture) -> Architecture:
    stages = tuple(replace(x, analog_shares=tuple(1.0 for _ in x.analog_shares)) for x in architecture.stages)
    return replace(architecture, stages=stages)


def test_shares_are_genes() -> None:
    members = space()
    without = replace(members, analog_shares=())
    layers = sum(stage.layers_per_block * max(stage.depths) for stage in members.backbone.stages)
    taps = members.backbone.num_taps
    assert len(members.cardinalities) == len(without.cardinalities) + layers + taps
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(50):
        drawn = members.sample(rng)
        assert members.decode(members.encode(drawn)) == drawn
        seen |= {share for stage in drawn.stages for share in stage.analog_shares}
    assert seen == set(SHARES)
    assert all(share == 0.0 for stage in members.max_architecture().stages for share in stage.analog_shares)


def test_a_candidate_is_prepared_and_priced_as_its_shares_say() -> None:
    members = space()
    supernet = Supernet(members.backbone, ("conv",), SHAPE, 4, seed=0)
    chosen = all_analog(members.max_architecture())
    network = supernet.extract(chosen)
    images = [torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(0))]
    assign_analog_(network, DIANA, images, seed=0)
    parts = analog_parts(network)
    decided = {x.name: x.analog_channels for x in assigned_workload(network, DIANA).layers if x.analog_channels}
    assert decided == {name: part.channels for name, part in parts.items()}
    assert len(parts) == 8
    digital = supernet.extract(members.max_architecture())
    assign_analog_(digital, DIANA, images, seed=0)
    assert not analog_parts(digital)


def test_a_branch_is_prepared_and_priced_as_its_share_says() -> None:
    members = space()
    supernet = Supernet(members.backbone, ("conv",), SHAPE, 4, seed=0)
    chosen = members.with_spread_exits(members.max_architecture(), 2, "conv", PolicyChoice(), 1.0)
    network = supernet.extract(replace(chosen, exits=(chosen.exits[0], replace(chosen.exits[1], analog_share=0.5))))
    images = [torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(0))]
    assign_analog_(network, DIANA, images, seed=0)
    assert {name: part.channels for name, part in analog_parts(network).items()} == {
        "branches.0.conv.conv": 16,
        "branches.1.conv.conv": 8,
    }
    report = ChannelSplitModel().estimate(assigned_workload(network, DIANA), DIANA)
    cores = {layer.name: layer.core for layer in report.layers if layer.name.startswith("branches.")}
    assert cores["branches.0.conv.conv"] == "analog"
    assert cores["branches.1.conv.conv"] == "analog+digital"
    assert {core for name, core in cores.items() if "linear" in name} == {"digital"}
    # 16 to 16 channels on 8x8: 8 * 16 * 9 cycles to write weights, then 4 of 64 positions a pass of 18.2 cycles.
    first = next(layer for layer in report.layers if layer.name == "branches.0.conv.conv")
    assert first.end_cycle - first.start_cycle == pytest.approx(1152 + 16 * 18.2)


@pytest.fixture(scope="module")
def context() -> Context:
    changes = {
        "cost.accelerator": "diana",
        "space.backbone": "mobilenetv1",
        "space.branches": ("conv", "pool_linear"),
        "space.analog_shares": SHARES,
    }
    config = with_settings(Config(), changes)
    check_settings(config)
    return build_context(config, build_dataset(config, SilentReporter()))


def test_the_settings_reach_supernet_and_space(context: Context) -> None:
    assert context.supernet.analog is not None
    assert context.space.digital_branches == ("pool_linear",)
    digital = with_settings(context.config, {"space.analog_shares": ()})
    assert build_context(digital, context.dataset).supernet.analog is None


def test_what_stays_digital_is_told_once_per_reason(context: Context) -> None:
    notes = analog_notes(context.space, context.supernet, context.accelerator)
    assert len(notes) == len({note.split(": ")[1] for note in notes}) == 3
    first, depthwise, dense = notes
    assert first.startswith("1 layer cannot run on core 'analog': the first layer reads 8-bit pixels")
    # 13 blocks of the reference, one depthwise convolution each.
    assert depthwise.startswith(
        "13 layers cannot run on core 'analog': a depthwise convolution sums within one channel"
    )
    # Twelve taps, two types of branch, and the final classifier.
    assert dense.startswith("25 layers cannot run on core 'analog': the core runs conv, not dense")
    assert "branches.0.linear of conv" in dense
    assert analog_notes(replace(context.space, analog_shares=()), context.supernet, context.accelerator) == ()


def test_shares_need_an_analog_core() -> None:
    config = with_settings(Config(), {"space.analog_shares": (0.0, 1.0)})
    with pytest.raises(ConfigError, match="needs an accelerator with an analog core, such as diana"):
        check_settings(config)
    check_settings(with_settings(config, {"cost.accelerator": "diana"}))


@pytest.mark.parametrize("shares", [(0.0, 0.0), (-0.5,), (0.5, 2.0)])
def test_shares_are_checked(shares: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="different shares from 0 to 1"):
        replace(space(), analog_shares=shares)


def test_cached_logits_leave_analog_networks_to_a_direct_evaluation() -> None:
    class Direct:
        quantize = False

        def evaluate(self, architecture: Architecture) -> str:
            return f"direct {len(architecture.stages)}"

    members = space()
    cached = CachedLogitsEvaluator(cast(Any, Direct()), members)
    assert cast(Any, cached.evaluate(all_analog(members.max_architecture()))) == "direct 3"
    with pytest.raises(ConfigError, match=r"Choose another search\.algorithm"):
        cached.backbone_logits(all_analog(members.max_architecture()))
