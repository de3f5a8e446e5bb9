"""Families over time: their strides, their kernels of one row, and all that holds for other families."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.cost.mapping.channel_split.analog_shares import analog_split, plan_analog
from offramp.errors import ConfigError
from offramp.hardware.loader import load_accelerator
from offramp.nn.backbone import BACKBONES
from offramp.nn.backbones.temporal import TimeStrides, time_strides
from offramp.nn.branches.branch_layer import layer_choices
from offramp.nn.branches.exit_branch import EXIT_BRANCHES
from offramp.nn.elastic.elastic_layers import ElasticConv2d
from offramp.nn.elastic.single_axes import fit_to_axes_
from offramp.nn.lowering.lower import lower
from offramp.nn.quantization.quantize import prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Precision, StageChoice
from offramp.space.branch_layer_choices import BranchLayerChoices
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.precision_choices import PrecisionChoices
from offramp.testing.conformance import check_backbone
from offramp.workload.layer import Op

FAMILIES = ("tc-resnet", "tc-resnet-large", "tc-ds-cnn")


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", [(2, 1, 16), (12, 1, 29), (1, 1, 2100), (6, 1, 1)])
def test_a_family_over_time_does_all_that_a_family_must(name: str, shape: tuple[int, int, int]) -> None:
    check_backbone(name, shape)


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2", "ds-cnn", "mobilenetv1"])
def test_a_family_for_images_takes_series_too(name: str) -> None:
    check_backbone(name, (2, 1, 40))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_over_time_refuses_images_with_a_sentence(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is for series \(channels, 1, steps\), got .*\(1, 28, 28\)"):
        BACKBONES.get(name).space((1, 28, 28))


def test_strides_leave_twelve_to_twenty_three_steps() -> None:
    assert time_strides(16) == TimeStrides(1, (1, 1, 1))
    assert time_strides(48) == TimeStrides(1, (1, 2, 2))  # 48 / 4 = 12
    assert time_strides(100) == TimeStrides(1, (2, 2, 2))  # 100 / 8 = 12.5
    assert time_strides(1000) == TimeStrides(4, (2, 2, 2, 2))  # 1000 / 64 = 15.6
    assert time_strides(8000) == TimeStrides(4, (4, 4, 2, 2, 2))  # 8000 / 512 = 15.6
    for steps in (12, 23, 24, 150, 191, 192, 255, 256, 2047, 2048, 5000, 16000):
        strides = time_strides(steps)
        assert 12 <= steps / (strides.stem * np.prod(strides.stages)) < 24


@pytest.mark.parametrize("name", [*FAMILIES, "resnet", "mobilenetv2", "ds-cnn"])
def test_no_layer_over_time_has_rows_in_its_window(name: str) -> None:
    """Every branch type and every layer of searched branches is there."""
    branches = tuple(EXIT_BRANCHES)
    backbone = BACKBONES.get(name).space((3, 1, 40))
    space = EarlyExitSpace(
        backbone,
        branches,
        max_exits=backbone.num_taps,
        branch_layers=BranchLayerChoices(("searched",), layer_choices(), 4),
    )
    supernet = Supernet(backbone, branches, (3, 1, 40), 4, seed=0)
    rng, kinds = np.random.default_rng(0), set()
    for _ in range(6):
        network = supernet.extract(space.with_all_exits(space.sample(rng), rng))
        for layer in lower(network).layers:
            kinds.add(layer.shape.op)
            assert (layer.shape.fy, layer.shape.stride_y, layer.shape.oy) == (1, 1, 1), layer
            assert layer.shape.padding[0] == layer.shape.padding[2] == 0
    assert {Op.CONV, Op.MAX_POOL} <= kinds


def test_macs_of_a_network_over_time_are_those_counted_by_hand() -> None:
    """Stem 1x3 of 3 to 12 channels at 16 steps; blocks of kernel 3 at 12, 16 and 24 channels; 24 x 5 at the end."""
    space = EarlyExitSpace(BACKBONES.get("tc-resnet").space((3, 1, 16)), ("global_pool",))
    network = Supernet(space.backbone, ("global_pool",), (3, 1, 16), 5, 0).extract(space.min_architecture())
    blocks = [3 * 12 * 12 * 2, 3 * 12 * 16 + 3 * 16 * 16 + 12 * 16, 3 * 16 * 24 + 3 * 24 * 24 + 16 * 24]
    assert lower(network).macs_to_exit()[-1] == 16 * (3 * 3 * 12 + sum(blocks)) + 24 * 5


def test_a_kernel_of_one_row_gives_what_the_square_kernel_gave() -> None:
    """On maps of one row, the other rows of a square kernel meet padding alone."""
    torch.manual_seed(0)
    for padding, size in ((None, 5), ((5, 1), (10, 4))):
        conv = ElasticConv2d(3, 4, size, stride=2, padding=padding)
        inputs = torch.randn(2, 3, 1, 14)
        before = conv(inputs)
        rows = conv.weight.shape[2]
        fit_to_axes_(nn.Sequential(conv), one_row=True, one_column=False)
        fit_to_axes_(nn.Sequential(conv), one_row=True, one_column=False)  # changes nothing more
        assert conv.weight.shape[2] == 1
        assert torch.allclose(conv(inputs), before * rows**0.5, atol=1e-5)
        assert torch.equal(conv.extract()(inputs), conv(inputs))


def test_a_smaller_kernel_over_time_is_the_centre_of_the_larger_one() -> None:
    conv = ElasticConv2d(2, 3, 9)
    fit_to_axes_(conv, one_row=True, one_column=False)
    conv.activate(2, 3, 3)
    inputs = torch.randn(1, 2, 1, 20)
    expected = F.conv1d(inputs[:, :, 0], conv.weight[:, :, 0, 3:6], padding=1)
    assert torch.allclose(conv(inputs)[:, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_bits_of_each_layer_are_those_that_are_chosen(name: str) -> None:
    choices = PrecisionChoices("layer", (Precision(8, 8), Precision(4, 4)))
    space = EarlyExitSpace(BACKBONES.get(name).space((3, 1, 20)), ("conv",), precisions=choices)
    supernet = Supernet(space.backbone, ("conv",), (3, 1, 20), 4, 0, precisions=choices.choices)
    rng = np.random.default_rng(1)
    network = supernet.extract(space.with_all_exits(space.sample(rng), rng)).eval()
    priced = lower(network)
    prepare_(network, [torch.randn(8, 3, 1, 20)])
    assert lower(network) == priced
    assert {layer.shape.weight_bits for layer in priced.layers if layer.shape.op is Op.CONV} == {4, 8}


def test_analog_shares_over_time_are_trained_as_they_are_priced() -> None:
    diana = load_accelerator("diana")
    space = EarlyExitSpace(BACKBONES.get("tc-resnet").space((16, 1, 32)), ("conv",), analog_shares=(0.0, 0.5, 1.0))
    supernet = Supernet(space.backbone, ("conv",), (16, 1, 32), 4, 0, analog=analog_split(diana)).eval()
    whole = space.max_architecture()
    stages: tuple[StageChoice, ...] = tuple(
        replace(x, analog_shares=(1.0,) * len(x.analog_shares)) for x in whole.stages
    )
    whole = replace(whole, stages=stages)
    supernet.activate(whole)
    images: Tensor = torch.randn(2, 16, 1, 32)
    with torch.no_grad():
        supernet(images)
    plan = plan_analog(lower(supernet.extract(whole)), whole, diana)
    trained = [m for m in supernet.modules() if isinstance(m, ElasticConv2d) and m.analog is not None]
    assert sum(bool(m.analog.fitted) for m in trained if m.analog is not None) == sum(
        n > 0 for n in plan.channels.values()
    )
    assert any(plan.channels.values())
