"""Sorting channels changes nothing the largest network computes, and puts the most important ones first."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from offramp.cost.pricing import build_cost_model
from offramp.hardware.loader import load_accelerator
from offramp.nn.backbone import BACKBONES
from offramp.nn.elastic.elastic_batch_norm import ElasticBatchNorm2d
from offramp.nn.lowering.lower import lower
from offramp.nn.supernet.channel_sorting import ChannelGroup, channel_groups, sort_channels_
from offramp.nn.supernet.supernet import Supernet
from offramp.settings.cost_config import CostConfig
from offramp.space.architecture import Precision
from offramp.space.early_exit_space import EarlyExitSpace
from tests.nn import members

NAMES = ("resnet", "resnet-large", "mobilenetv2")


def supernet_of(name: str, seed: int = 0, precisions: tuple[Precision, ...] = ()) -> Supernet:
    """All branch types; batch norms as training leaves them, negative weights too."""
    space = BACKBONES.get(name).space((3, 16, 16))
    supernet = Supernet(space, members.BRANCHES, (3, 16, 16), 4, seed, precisions=precisions).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, ElasticBatchNorm2d):
                for values, shift in ((module.weight, 0.5), (module.bias, 0.0), (module.running_mean, 0.0)):
                    values.copy_(torch.randn(values.shape, generator=generator) * 0.5 + shift)
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.3)
    return supernet


def outputs(supernet: Supernet, *, seed: int) -> list[torch.Tensor]:
    space = EarlyExitSpace(supernet.space, members.BRANCHES)
    sample = space.with_full_widths(space.sample(np.random.default_rng(seed)))
    widest = tuple(replace(x, expansions=x.expansions) for x in sample.stages)
    supernet.activate(space.with_all_exits(replace(sample, stages=widest), np.random.default_rng(seed)))
    with torch.no_grad():
        return list(supernet(members.images(4, size=16)))


@pytest.mark.parametrize("name", NAMES)
def test_the_widest_networks_compute_what_they_did(name: str) -> None:
    """Of every depth, with every branch type at every tap; kernels and expansions at their largest."""
    supernet = supernet_of(name)
    widest = replace(
        supernet.space, stages=tuple(replace(x, expansions=x.expansions[-1:]) for x in supernet.space.stages)
    )
    plain = copy.deepcopy(supernet)
    plain.space = supernet.space = widest
    assert sort_channels_(supernet) >= 3
    assert not torch.equal(plain.state_dict()["backbone.stem.norm.weight"], supernet.backbone.stem.norm.weight)  # type: ignore[union-attr]
    for seed in range(6):
        for before, after in zip(outputs(plain, seed=seed), outputs(supernet, seed=seed), strict=True):
            torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_channels_are_the_most_important(name: str) -> None:
    supernet = supernet_of(name)
    before = [group.importance() for group in channel_groups(supernet)]
    sort_channels_(supernet)
    for unsorted, group in zip(before, channel_groups(supernet), strict=True):
        torch.testing.assert_close(group.importance(), unsorted.sort(descending=True).values)
    again = copy.deepcopy(supernet.state_dict())
    sort_channels_(supernet)
    assert all(torch.equal(value, again[key]) for key, value in supernet.state_dict().items())


def test_a_narrow_network_is_smaller_in_its_work_its_file_and_its_latency(tmp_path: Path) -> None:
    supernet = supernet_of("resnet")
    sort_channels_(supernet)
    wide = members.member(supernet.space, max, ((1, "conv"),))
    narrow = replace(
        wide,
        stages=tuple(replace(x, width=min(s.widths)) for x, s in zip(wide.stages, supernet.space.stages, strict=True)),
    )
    accelerator, model = load_accelerator("edge-tpu-quad"), build_cost_model(CostConfig())
    macs, files, cycles = [], [], []
    for architecture in (wide, narrow):
        network = supernet.extract(architecture)
        workload = lower(network)
        macs.append(workload.macs_to_exit()[-1])
        cycles.append(model.estimate(workload, accelerator).stages[-1].latency_to_exit_cycles)
        file = tmp_path / "weights.safetensors"
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, file)
        files.append(file.stat().st_size)
        # What both ends of every residual connection carry fits, or this would fail.
        assert [tuple(x.shape) for x in network(members.images(2, size=16))] == [(2, 4), (2, 4)]
    assert macs[1] < 0.6 * macs[0]
    assert files[1] < 0.7 * files[0]
    assert cycles[1] < 0.8 * cycles[0]


def test_importance_by_hand() -> None:
    supernet = supernet_of("resnet")
    stem = supernet.backbone.stem
    with torch.no_grad():
        stem.norm.weight.copy_(torch.tensor([0.1, -0.8, 0.2, 0.3, -0.4, 0.5, 0.6, 0.7]))  # type: ignore[union-attr]
        stem.conv.weight.copy_(torch.arange(8.0).view(8, 1, 1, 1).expand_as(stem.conv.weight))  # type: ignore
    ChannelGroup(writers=[stem]).sort_()  # type: ignore[list-item]
    assert stem.conv.weight[:, 0, 0, 0].tolist() == [1, 7, 6, 5, 4, 3, 2, 0]  # type: ignore[index,union-attr]
    assert stem.norm.weight.tolist() == pytest.approx([-0.8, 0.7, 0.6, 0.5, -0.4, 0.3, 0.2, 0.1])  # type: ignore


def test_every_layer_is_in_the_groups_it_must_be_in() -> None:
    """Residual stages: one group for what all their blocks write, one within each block."""
    supernet = supernet_of("resnet-large")
    groups = channel_groups(supernet)
    blocks = sum(max(stage.depths) for stage in supernet.space.stages)
    # The first stage goes on with the stem's channels, the two others have their own.
    assert len(groups) == 3 + blocks
    stem, second, third = groups[:3]
    assert len(stem.writers) == 1 + 3
    assert len(second.writers) == len(third.writers) == 3 + 1  # and the shortcut of the first block
    # First layers of the blocks and their shortcuts, then branches: four readers and a follower at each tap.
    assert len(stem.readers) == 3 + 2 + 3 * 5
    assert len(stem.followers) == 3


def test_learned_weight_steps_move_with_their_channels() -> None:
    choices = (Precision(8, 8), Precision(4, 4))
    supernet = supernet_of("resnet", precisions=choices)
    quantizer = supernet.backbone.stem.conv.quantizer  # type: ignore[union-attr]
    supernet.activate(
        replace(members.member(supernet.space, max, ((1, "conv"),)), precision=choices[1], branch_precision=choices[1])
    )
    with torch.no_grad():
        before = supernet(members.images(4, size=16))
        steps = quantizer.scales[1].clone()  # type: ignore[union-attr,index]
        sort_channels_(supernet)
        after = supernet(members.images(4, size=16))
    moved = quantizer.scales[1]  # type: ignore[union-attr,index]
    assert not torch.equal(moved, steps)
    assert torch.equal(moved.sort().values, steps.sort().values)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(old, new, rtol=1e-3, atol=1e-3)


def test_a_backbone_that_does_not_say_how_channels_pass_is_left_alone() -> None:
    supernet = Supernet(BACKBONES.get("ds-cnn").space((1, 16, 16)), ("conv",), (1, 16, 16), 4, 0)
    before = copy.deepcopy(supernet.state_dict())
    assert channel_groups(supernet) == []
    assert sort_channels_(supernet) == 0
    assert all(torch.equal(value, before[key]) for key, value in supernet.state_dict().items())
