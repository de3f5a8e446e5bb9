"""Branch types against the published formulas and against pooling done by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from offramp.nn.branches.exit_branch import EXIT_BRANCHES
from offramp.nn.grid_pooling import GridPool
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, StageChoice
from offramp.workload.graph import Workload
from offramp.workload.layer import LayerShape, Op


def lowered(kind: str, channels: int, size: int, num_classes: int = 10) -> tuple[Workload, int]:
    """Workload and number of parameters of a branch alone."""
    branch = EXIT_BRANCHES.get(kind).build(channels, size, size, num_classes)
    branch.activate(channels, size, size)
    static = branch.extract()
    architecture = Architecture("none", size, (StageChoice(1, channels, (1,), (1,)),))
    network = EarlyExitNetwork(architecture, [nn.Identity()], [static], (channels, size, size), num_classes)
    return lower(network), sum(p.numel() for p in static.parameters())


# The published classifiers: f = 16 C inputs; blocks 0, 6, 9 and 11 at 32x32.
@pytest.mark.parametrize(("channels", "size"), [(16, 32), (64, 16), (160, 8), (320, 8)])
def test_pooled_branches_have_the_published_cost(channels: int, size: int) -> None:
    f = 16 * channels
    one, one_parameters = lowered("pool_linear", channels, size)
    assert (one.macs_to_exit()[0], one_parameters) == (10 * f, 10 * f + 10)
    two, two_parameters = lowered("pool_mlp", channels, size)
    assert (two.macs_to_exit()[0], two_parameters) == (f * f // 2 + 5 * f, f * f // 2 + f // 2 + 5 * f + 10)
    pool = one.layers[0].shape
    expected = LayerShape(
        Op.MAX_POOL, g=channels, oy=4, ox=4, fy=size // 4, fx=size // 4, iy=size, ix=size,
        stride_y=size // 4, stride_x=size // 4,
    )  # fmt: skip
    assert pool == expected


def test_a_map_of_the_grid_size_is_not_pooled() -> None:
    workload, _ = lowered("pool_linear", 8, 4)
    assert [layer.shape.op for layer in workload.layers] == [Op.DENSE]


@given(st.integers(1, 70), st.integers(1, 70))
def test_grid_pool_covers_the_map_with_at_most_four_windows(height: int, width: int) -> None:
    pool = GridPool(height, width)
    ramp = torch.arange(1.0, height * width + 1).view(1, 1, height, width)
    pooled = pool(ramp)
    assert pooled.shape == (1, 1, min(4, height), min(4, width)) == (1, 1, pool.rows, pool.columns)
    assert pooled.max() == height * width  # the last pixel is seen
    assert pool(-ramp).max() == -1  # and so is the first
    assert torch.equal(pool.extract()(ramp), pooled)


@pytest.mark.parametrize(("size", "stride"), [(16, 2), (9, 2), (8, 1), (3, 1)])
@pytest.mark.parametrize("kind", ["conv", "depthwise_separable"])
def test_convolutions_halve_large_maps_only(kind: str, size: int, stride: int) -> None:
    workload, _ = lowered(kind, 8, size)
    first = workload.layers[0].shape
    assert (first.stride_y, first.fy) == (stride, 3)
    assert [layer.shape.op for layer in workload.layers[-2:]] == [Op.AVG_POOL, Op.DENSE]


def test_costs_of_the_convolutional_branches_by_hand() -> None:
    assert lowered("conv", 16, 16)[0].macs_to_exit()[0] == 8 * 8 * 9 * 16 * 16 + 16 * 10
    assert lowered("depthwise_separable", 16, 16)[0].macs_to_exit()[0] == 64 * (9 * 16 + 16 * 32) + 32 * 10
    assert lowered("global_pool", 16, 16)[0].macs_to_exit()[0] == 160


def test_many_classes_get_more_features() -> None:
    few, many, most = (lowered("conv", 8, 4, classes)[0].layers[0].shape.k for classes in (10, 37, 1000))
    assert (few, many, most) == (16, 40, 64)


def test_global_pool_is_the_mean_over_pixels() -> None:
    branch = EXIT_BRANCHES.get("global_pool").build(6, 5, 5, 3)
    branch.activate(4, 5, 5)
    features = torch.randn(2, 4, 5, 5)
    shuffled = features.flatten(2)[:, :, torch.randperm(25)].view_as(features)
    torch.testing.assert_close(branch(features), branch(shuffled))
    assert not torch.allclose(branch(features), branch(features * 2))
