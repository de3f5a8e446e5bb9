"""Architectures for tests: members of a space picked by a rule, and small supernets."""

from collections.abc import Callable

import torch

from offramp.nn.backbone import BACKBONES
from offramp.nn.backbones.temporal import TemporalFamily
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Architecture, ExitChoice, StageChoice
from offramp.space.search_space import BackboneSpace, StageSpace

BRANCHES = ("conv", "depthwise_separable", "global_pool", "pool_linear", "pool_mlp")

SMALL = BackboneSpace(
    name="mobilenetv2",
    resolutions=(8, 12),
    stages=(
        StageSpace((1,), (4, 6), (3,), (1,), layers_per_block=2),
        StageSpace((1, 2), (6, 8), (3, 5, 7), (2, 3), stride=2, layers_per_block=3),
        StageSpace((1, 2), (8, 12), (3, 5), (2, 3), layers_per_block=3),
    ),
)


def member(
    space: BackboneSpace,
    pick: Callable[[tuple[int, ...]], int],
    exits: tuple[tuple[int, str], ...] = (),
    final_branch: str = "global_pool",
) -> Architecture:
    """The member for which ``pick`` makes every choice."""
    stages = []
    for stage in space.stages:
        depth = pick(stage.depths)
        kernels, expansions = (pick(stage.kernel_sizes),) * depth, (pick(stage.expansions),) * depth
        stages.append(StageChoice(depth, pick(stage.widths), kernels, expansions))
    choices = tuple(ExitChoice(tap, branch) for tap, branch in exits)
    return Architecture(space.name, pick(space.resolutions), tuple(stages), choices, final_branch)


def family_space(name: str, input_shape: tuple[int, int, int]) -> BackboneSpace:
    return BACKBONES.get(name).space(input_shape)


def small_supernet(seed: int = 0, branches: tuple[str, ...] = BRANCHES) -> Supernet:
    """A supernet on 12x12 images whose space is elastic in every way there is."""
    return Supernet(SMALL, branches, (3, 12, 12), 4, seed)


def images(count: int = 6, size: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def shape_for(name: str, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of images, or for a family over time that of series with as many values."""
    channels, height, width = image_shape
    return (channels, 1, height * width) if isinstance(BACKBONES.get(name), TemporalFamily) else image_shape
