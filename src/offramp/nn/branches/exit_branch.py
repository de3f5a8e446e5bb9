"""Exit branches as plug-ins: from the feature map at a tap to logits."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from torch import nn

from offramp.registry import Registry, object_like
from offramp.space.architecture import BranchLayer


class ElasticBranch(nn.Module, ABC):
    """A branch from a feature map (batch, channels, height, width) to logits (batch, classes).

    One set of weights serves every number of leading input channels up to the largest.
    """

    @abstractmethod
    def activate(self, in_channels: int, height: int, width: int) -> None:
        """Read feature maps of this size from now on.

        Args:
            in_channels: Number of channels.
            height: Rows.
            width: Columns.
        """

    @abstractmethod
    def extract(self) -> nn.Module:
        """A plain module with copies of the active weights and the same outputs."""


class LayeredBranch(ElasticBranch):
    """A branch whose layers are chosen one by one; without a choice it has no layers before its classifier."""

    @abstractmethod
    def choose(self, layers: Sequence[BranchLayer]) -> None:
        """Use these layers from the next ``activate`` on.

        Args:
            layers: The layers before the classifier, in order of execution.

        Raises:
            ConfigError: There are too many layers, or one is not a choice of its type.
            UnknownNameError: A layer is of a type that nobody registered.
        """


class ExitBranchType(Protocol):
    """A plug-in that builds branches of one type."""

    @property
    def name(self) -> str:
        """Name of the type in settings and architectures."""
        ...

    @property
    def description(self) -> str:
        """One line for people."""
        ...

    def build(self, max_channels: int, height: int, width: int, num_classes: int) -> ElasticBranch:
        """A branch for feature maps up to the given size.

        Args:
            max_channels: The largest number of channels.
            height: The largest number of rows.
            width: The largest number of columns.
            num_classes: Number of logits.

        Returns:
            The branch, with weights that serve all smaller sizes.
        """
        ...


EXIT_BRANCHES: Registry[ExitBranchType] = Registry(
    "exit branch",
    "offramp.nn.branches.types",
    entry_points="offramp.exit_branches",
    expects=object_like(ExitBranchType),
)
