"""Exit branches as plug-ins: from the feature map at a tap to logits."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from torch import nn

from offramp.registry import Registry
from offramp.space.architecture import BranchLayer


class ElasticBranch(nn.Module, ABC):
    """Feature map (batch, channels, height, width) to logits (batch, classes).

    One set of weights serves every number of leading input channels up to the largest.
    """

    @abstractmethod
    def activate(self, in_channels: int, height: int, width: int) -> None: ...

    @abstractmethod
    def extract(self) -> nn.Module:
        """A plain module with copies of the active weights and the same outputs."""


class LayeredBranch(ElasticBranch):
    """A branch whose layers are chosen one by one; without a choice it has none."""

    @abstractmethod
    def choose(self, layers: Sequence[BranchLayer]) -> None:
        """Take these layers from the next ``activate`` on. Raises ConfigError or UnknownNameError."""


class ExitBranchType(Protocol):
    """A plug-in that builds branches of one type."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """One line for people."""
        ...

    def build(self, max_channels: int, height: int, width: int, num_classes: int) -> ElasticBranch:
        """A branch for feature maps of at most this many channels and at most this height and width."""
        ...


EXIT_BRANCHES: Registry[ExitBranchType] = Registry(
    "exit branch", "offramp.nn.branches.types", entry_points="offramp.exit_branches"
)
