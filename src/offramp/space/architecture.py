"""Architecture: what one early-exit network is, without saying how it is computed."""

import itertools
from dataclasses import dataclass

from offramp.exiting.measures import Measure


@dataclass(frozen=True)
class Precision:
    """Bit widths of weights and activations; 32 stands for floating point."""

    weight_bits: int = 8
    activation_bits: int = 8

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            value = getattr(self, name)
            if not 1 <= value <= 32:
                raise ValueError(f"`{name}` must be from 1 to 32, got {value}.")


@dataclass(frozen=True)
class StageChoice:
    """One stage of a backbone: how many blocks, how wide, and each block's kernel and expansion."""

    depth: int
    width: int
    kernel_sizes: tuple[int, ...]
    expansions: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.depth < 1 or self.width < 1:
            raise ValueError(f"a stage must have depth and width >= 1, got depth {self.depth}, width {self.width}.")
        for name in ("kernel_sizes", "expansions"):
            values = getattr(self, name)
            if len(values) != self.depth:
                raise ValueError(f"`{name}` must have one value per block ({self.depth}), got {len(values)}: {values}.")


@dataclass(frozen=True)
class ExitChoice:
    """An exit: the tap it sits at and the type of its branch."""

    tap: int
    branch: str

    def __post_init__(self) -> None:
        if self.tap < 0:
            raise ValueError(f"`tap` must be >= 0, got {self.tap}.")


@dataclass(frozen=True)
class PolicyChoice:
    """How thresholds are to be set: the confidence measure and the operating point.

    ``accuracy_drop`` is the share of validation accuracy, relative to what the same network reaches at its
    best thresholds, that may be given up for a lower expected cost.
    """

    measure: Measure = "max_probability"
    accuracy_drop: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.accuracy_drop <= 1.0:
            raise ValueError(f"`accuracy_drop` must be a share from 0 to 1, got {self.accuracy_drop}.")


@dataclass(frozen=True)
class Architecture:
    """Everything that identifies a candidate network; hashable, so it is its own identity.

    A tap is numbered by its slot in the deepest network of the family: stage ``s``, block ``j`` has number
    ``sum(max_depth[:s]) + j``. ``exits`` holds the early exits only; the final classifier, of type
    ``final_branch``, is implied.
    """

    backbone: str
    resolution: int
    stages: tuple[StageChoice, ...]
    exits: tuple[ExitChoice, ...] = ()
    final_branch: str = "global_pool"
    policy: PolicyChoice = PolicyChoice()
    precision: Precision = Precision()
    branch_precision: Precision = Precision()

    def __post_init__(self) -> None:
        taps = [choice.tap for choice in self.exits]
        if any(later <= earlier for earlier, later in itertools.pairwise(taps)):
            raise ValueError(f"taps of the exits must strictly increase, got {taps}.")
        if self.resolution < 1:
            raise ValueError(f"`resolution` must be >= 1, got {self.resolution}.")
        if not self.stages:
            raise ValueError("an architecture must have at least one stage.")

    def without_exits(self) -> "Architecture":
        """The same backbone with its final classifier alone: the static network."""
        return Architecture(
            backbone=self.backbone,
            resolution=self.resolution,
            stages=self.stages,
            final_branch=self.final_branch,
            precision=self.precision,
            branch_precision=self.branch_precision,
        )
