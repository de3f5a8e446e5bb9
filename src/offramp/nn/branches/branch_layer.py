"""Layers of searched exit branches as plug-ins: one file per type, one set of weights per slot for all its choices."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import nn

from offramp.registry import Registry
from offramp.space.architecture import BranchLayer

MAX_LAYERS = 4
"""Layers that a branch may have before its classifier."""

KERNEL_SIZES, STRIDES, WIDTHS = (3, 5), (1, 2), (8, 16, 32)
"""What most types offer."""


class ElasticBranchLayer(nn.Module, ABC):
    """Feature map (batch, channels, height, width) to another; a stride s divides sizes by s, rounding up."""

    @abstractmethod
    def activate(self, in_channels: int, layer: BranchLayer) -> int:
        """Take on the sizes of ``layer``; returns the number of channels that it gives."""

    @abstractmethod
    def extract(self) -> nn.Module:
        """A plain module with copies of the active weights and the same outputs."""


class BranchLayerType(Protocol):
    """A plug-in that builds layers of one type."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """One line for people."""
        ...

    def choices(self) -> tuple[BranchLayer, ...]:
        """All layers of this type that a search may try, each once."""
        ...

    def build(self, max_channels: int) -> ElasticBranchLayer:
        """Weights that serve all choices, for at most this many input channels."""
        ...


BRANCH_LAYERS: Registry[BranchLayerType] = Registry(
    "branch layer", "offramp.nn.branches.layers", entry_points="offramp.branch_layers"
)


def layer_choices() -> tuple[BranchLayer, ...]:
    """The choices of all registered types; a layer that is left out is not among them."""
    return tuple(layer for name in BRANCH_LAYERS for layer in BRANCH_LAYERS.get(name).choices())


def every_layer(kind: str) -> tuple[BranchLayer, ...]:
    """All combinations of the usual kernels, strides and widths."""
    return tuple(BranchLayer(kind, k, s, w) for k in KERNEL_SIZES for s in STRIDES for w in WIDTHS)
