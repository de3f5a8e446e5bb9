"""Layers of searched exit branches as plug-ins: one file per type.

All choices of a type share one set of weights in each slot of a branch.
"""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import nn

from offramp.registry import Registry, object_like
from offramp.space.architecture import BranchLayer

MAX_LAYERS = 4
"""The largest number of layers of a branch before its classifier."""

KERNEL_SIZES, STRIDES, WIDTHS = (3, 5), (1, 2), (8, 16, 32)
"""The choices that most types offer; a width is a number of output channels."""


class ElasticBranchLayer(nn.Module, ABC):
    """A layer from one feature map (batch, channels, height, width) to another.

    A stride s divides height and width by s, rounding up.
    """

    @abstractmethod
    def activate(self, in_channels: int, layer: BranchLayer) -> int:
        """Use the sizes of one choice from now on.

        Args:
            in_channels: Number of input channels, at most the largest that the layer was built for.
            layer: The choice: kernel size, stride and width.

        Returns:
            Number of output channels.
        """

    @abstractmethod
    def extract(self) -> nn.Module:
        """A plain module with copies of the active weights and the same outputs."""


class BranchLayerType(Protocol):
    """A plug-in that builds layers of one type."""

    @property
    def name(self) -> str:
        """Name of the type in architectures."""
        ...

    @property
    def description(self) -> str:
        """One line for people."""
        ...

    def choices(self) -> tuple[BranchLayer, ...]:
        """All layers of this type that a search may try, each once."""
        ...

    def build(self, max_channels: int) -> ElasticBranchLayer:
        """A layer whose weights serve all choices.

        Args:
            max_channels: The largest number of input channels.

        Returns:
            The layer; `ElasticBranchLayer.activate` selects a choice.
        """
        ...


BRANCH_LAYERS: Registry[BranchLayerType] = Registry(
    "branch layer",
    "offramp.nn.branches.layers",
    entry_points="offramp.branch_layers",
    expects=object_like(BranchLayerType),
)


def layer_choices() -> tuple[BranchLayer, ...]:
    """The choices of all registered types; the missing layer (`identity`) is not among them."""
    return tuple(layer for name in BRANCH_LAYERS for layer in BRANCH_LAYERS.get(name).choices())


def all_combinations(kind: str) -> tuple[BranchLayer, ...]:
    """All combinations of the usual kernel sizes, strides and widths.

    Args:
        kind: Name of the layer type.

    Returns:
        One layer per combination.
    """
    return tuple(BranchLayer(kind, k, s, w) for k in KERNEL_SIZES for s in STRIDES for w in WIDTHS)
