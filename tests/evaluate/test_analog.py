"""A search that chooses analog shares, on small random images; and what it refuses."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from offramp.build import check_settings
from offramp.config import Config, with_settings
from offramp.errors import ConfigError
from offramp.evaluate.analog import assigned_workload, make_assigned_
from offramp.evaluate.cached_logits import CachedLogitsEvaluator
from offramp.hardware.loader import load_accelerator
from offramp.nn.analog import analog_parts
from offramp.nn.backbone import BACKBONES
from offramp.nn.supernet import Supernet
from offramp.space.architecture import Architecture
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
    assert len(members.cardinalities) == len(without.cardinalities) + layers
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
    make_assigned_(network, DIANA, images, seed=0)
    parts = analog_parts(network)
    decided = {x.name: x.analog_channels for x in assigned_workload(network, DIANA).layers if x.analog_channels}
    assert decided == {name: part.channels for name, part in parts.items()}
    assert len(parts) == 8
    digital = supernet.extract(members.max_architecture())
    make_assigned_(digital, DIANA, images, seed=0)
    assert not analog_parts(digital)


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
        cached._backbone(all_analog(members.max_architecture()))
