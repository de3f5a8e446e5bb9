"""Backbone families against costs worked out by hand and feature sizes measured by running."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import UnknownNameError
from offramp.nn.backbone import BACKBONES, ElasticBackbone, tap_features
from offramp.nn.lowering.lower import lower
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Architecture, StageChoice
from offramp.space.search_space import BackboneSpace, StageSpace
from tests.nn.members import SMALL, family_space, member, shape_for


def macs(name: str, input_shape: tuple[int, int, int], architecture: Architecture, num_classes: int = 10) -> int:
    supernet = Supernet(family_space(name, input_shape), (), input_shape, num_classes, 0)
    return lower(supernet.extract(architecture)).macs_to_exit()[-1]


def classic_resnet(depth: int) -> Architecture:
    ones, threes = (1,) * depth, (3,) * depth
    return Architecture("resnet-large", 32, tuple(StageChoice(depth, w, threes, ones) for w in (16, 32, 64)))


def test_resnet8_has_the_macs_of_the_benchmark_network() -> None:
    # MLPerf Tiny image classification: stem, 3 blocks, two 1x1 shortcuts, 64 -> 10.
    stem = 32 * 32 * 9 * 3 * 16
    blocks = 2 * 32 * 32 * 9 * 16 * 16
    blocks += 16 * 16 * (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32)
    blocks += 8 * 8 * (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64)
    assert stem + blocks + 640 == 12_501_632
    assert macs("resnet-large", (3, 32, 32), classic_resnet(1)) == 12_501_632


def test_resnet20_is_a_member() -> None:
    # 40.55 M without shortcuts (He et al. have none with weights), plus two 1x1 shortcuts of 131,072 each.
    assert macs("resnet-large", (3, 32, 32), classic_resnet(3)) == 40_551_040 + 2 * 131_072


@pytest.mark.parametrize(
    ("pick", "input_shape", "low", "high"),
    [
        (max, (3, 32, 32), 4.0e6, 5.0e6),
        (min, (3, 32, 32), 0.7e6, 0.9e6),
        (max, (1, 8, 8), 0.2e6, 0.5e6),
        (min, (1, 8, 8), 0.02e6, 0.1e6),
    ],
)
def test_the_small_resnets_fit_small_chips(
    pick: object, input_shape: tuple[int, int, int], low: float, high: float
) -> None:
    assert callable(pick)
    space = family_space("resnet", input_shape)
    assert low <= macs("resnet", input_shape, member(space, pick)) <= high


def test_the_stem_is_fixed_or_as_wide_as_the_first_stage() -> None:
    for name, expected in (("resnet", 8), ("resnet-large", 8), ("mobilenetv2", 16), ("mobilenetv2-zniber", 32)):
        space = family_space(name, (3, 32, 32))
        backbone = BACKBONES.get(name).build(space, 3)
        backbone.activate(member(space, min).stages)
        assert backbone.stem(torch.zeros(1, 3, 32, 32)).shape[1] == expected
    large = family_space("resnet-large", (3, 32, 32))
    backbone = BACKBONES.get("resnet-large").build(large, 3)
    backbone.activate(member(large, max).stages)
    assert backbone.stem(torch.zeros(1, 3, 32, 32)).shape == (1, 16, 32, 32)


@pytest.mark.parametrize("name", ["resnet", "resnet-large", "mobilenetv2"])
def test_stages_of_equal_widths_may_be_mixed(name: str) -> None:
    # Width may change where the stride is 1 and the largest widths are equal: a shortcut must not rely on them.
    stages = tuple(StageSpace((1, 2), (8, 16)) for _ in range(3))
    space = BackboneSpace(name, (8,), stages)
    backbone = BACKBONES.get(name).build(space, 3).eval()
    for widths in ((8, 16, 8), (16, 8, 16), (16, 16, 8)):
        backbone.activate(tuple(StageChoice(2, width, (3, 3), (1, 1)) for width in widths))
        assert backbone(torch.zeros(2, 3, 8, 8)).shape == (2, widths[-1], 8, 8)


def test_inactive_blocks_do_not_run() -> None:
    space = family_space("resnet", (1, 8, 8))
    backbone = BACKBONES.get("resnet").build(space, 1).eval()
    backbone.activate(member(space, min).stages)
    assert [active.tap for active in backbone.active_blocks] == [0, 2, 4]
    images = torch.randn(2, 1, 8, 8)
    before = backbone(images)
    with torch.no_grad():
        for blocks in backbone.stages:
            for parameter in blocks[1].parameters():  # type: ignore[index]
                parameter.fill_(float("nan"))
    assert torch.equal(backbone(images), before)


def test_narrow_members_use_no_weights_of_wide_ones() -> None:
    backbone = _small_backbone()
    backbone.activate(member(SMALL, min).stages)
    images = torch.randn(2, 3, 8, 8)
    before = backbone(images)
    with torch.no_grad():
        for module in backbone.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, torch.Tensor) and weight.ndim == 4 and weight.shape[-1] == 7:
                weight[:, :, 0] = float("nan")  # the border that only 7x7 kernels have
    assert torch.equal(backbone(images), before)


def _small_backbone() -> ElasticBackbone:
    return BACKBONES.get(SMALL.name).build(SMALL, 3).eval()


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(BACKBONES)), st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
def test_tap_features_are_what_running_gives(name: str, height: int, width: int, channels: int) -> None:
    shape = shape_for(name, (channels, height, width))
    space = family_space(name, shape)
    with torch.device("meta"):
        backbone = BACKBONES.get(name).build(space, channels).eval()
        backbone.activate(member(space, max).stages)
        features = backbone.stem(torch.zeros(1, *shape))
        for active, promised in zip(backbone.active_blocks, tap_features(space, shape, shape[1]), strict=True):
            features = active.block(features)
            assert tuple(features.shape[1:]) == (promised.channels, promised.height, promised.width)


def test_an_unknown_family_is_answered_with_near_names() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet'"):
        BACKBONES.get("resnett")
