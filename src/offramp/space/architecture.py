"""Architecture: the description of an early-exit network, independent of its implementation."""

import itertools
import re
from dataclasses import dataclass
from typing import TypeVar

from offramp.errors import InputError
from offramp.exits.confidence_measures import Measure

T = TypeVar("T")


FLOAT_BITS = 32
TERNARY_BITS = 2
"""What a ternary weight takes in a file and in a memory."""


@dataclass(frozen=True)
class Precision:
    """Bit widths of weights and of the activations that are written; 32 stands for floating point.

    ``ternary`` weights are -1, 0 or 1, unlike plain weights of 2 bits (-2 to 1), and take as much room. As text:
    ``8/4`` = weights of 8 bits, activations of 4; ``ternary/7``.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    ternary: bool = False

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            value = getattr(self, name)
            if not 1 <= value <= 32:
                raise ValueError(f"`{name}` must be from 1 to 32, got {value}.")
        if self.ternary and self.weight_bits != TERNARY_BITS:
            raise ValueError(f"ternary weights must have `weight_bits` {TERNARY_BITS}, got {self.weight_bits}.")

    def __str__(self) -> str:
        return f"{'ternary' if self.ternary else self.weight_bits}/{self.activation_bits}"

    @classmethod
    def parse(cls, text: str) -> "Precision":
        """From text such as ``8/4`` or ``ternary/7``. Raises InputError."""
        match = re.fullmatch(r"\s*(ternary|\d{1,2})\s*/\s*(\d{1,2})\s*", text)
        if match is None:
            raise InputError(
                f"A precision must be written weight bits/activation bits, such as 8/8 or ternary/8, got {text!r}."
            )
        ternary = match.group(1) == "ternary"
        try:
            return cls(TERNARY_BITS if ternary else int(match.group(1)), int(match.group(2)), ternary)
        except ValueError as exc:
            raise InputError(f"Precision {text!r} makes no sense: {exc}") from exc

    @property
    def is_float(self) -> bool:
        """Whether neither weights nor activations are quantised."""
        return self.weight_bits == self.activation_bits == FLOAT_BITS


@dataclass(frozen=True)
class StageChoice:
    """One stage of a backbone: how many blocks, how wide, and what is chosen block by block.

    ``precisions`` and ``analog_shares`` hold the same number of values for every block, in order: one for all of the
    block or one per layer in it. Without ``precisions`` the architecture's holds. ``analog_shares`` say which share of
    a layer's output channels an analog core computes; without any, none.
    """

    depth: int
    width: int
    kernel_sizes: tuple[int, ...]
    expansions: tuple[int, ...]
    precisions: tuple[Precision, ...] = ()
    analog_shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.depth < 1 or self.width < 1:
            raise ValueError(f"a stage must have depth and width >= 1, got depth {self.depth}, width {self.width}.")
        for name in ("kernel_sizes", "expansions"):
            values = getattr(self, name)
            if len(values) != self.depth:
                raise ValueError(f"`{name}` must have one value per block ({self.depth}), got {len(values)}: {values}.")
        for name in ("precisions", "analog_shares"):
            values = getattr(self, name)
            if len(values) % self.depth:
                raise ValueError(
                    f"`{name}` must have the same number of values for each of {self.depth} blocks, got {len(values)}."
                )
        if not all(0.0 <= share <= 1.0 for share in self.analog_shares):
            raise ValueError(f"`analog_shares` must be shares from 0 to 1, got {self.analog_shares}.")

    def block_precisions(self, block: int, default: Precision) -> tuple[Precision, ...]:
        """Those of one block: one for all of it, or one per layer."""
        return _of_block(self.precisions, block, self.depth) or (default,)

    def block_analog_shares(self, block: int) -> tuple[float, ...]:
        """Those of one block: none, one for all of it, or one per layer."""
        return _of_block(self.analog_shares, block, self.depth)


def _of_block(values: tuple[T, ...], block: int, depth: int) -> tuple[T, ...]:
    each = len(values) // depth
    return values[block * each : (block + 1) * each]


@dataclass(frozen=True)
class BranchLayer:
    """One layer of an exit branch that was put together layer by layer."""

    kind: str
    kernel_size: int
    stride: int
    width: int

    def __post_init__(self) -> None:
        for name in ("kernel_size", "stride", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` of a branch layer must be >= 1, got {getattr(self, name)}.")


@dataclass(frozen=True)
class ExitChoice:
    """An exit: the tap it sits at and its branch.

    ``precision`` None = the architecture's ``branch_precision``; ``layers`` are those of a branch that was put
    together layer by layer. An analog core computes ``analog_share`` of the output channels of each of its layers.
    """

    tap: int
    branch: str
    precision: Precision | None = None
    layers: tuple[BranchLayer, ...] = ()
    analog_share: float = 0.0

    def __post_init__(self) -> None:
        if self.tap < 0:
            raise ValueError(f"`tap` must be >= 0, got {self.tap}.")
        if not 0.0 <= self.analog_share <= 1.0:
            raise ValueError(f"`analog_share` must be a share from 0 to 1, got {self.analog_share}.")


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
    ``final_branch``, is implied. ``precision`` is that of the stem and of all blocks that do not state their own,
    ``branch_precision`` that of the final classifier and of all branches that do not.
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

    @property
    def has_analog_shares(self) -> bool:
        """Whether any block or exit gives a share of its channels to an analog core."""
        return any(stage.analog_shares for stage in self.stages) or any(choice.analog_share for choice in self.exits)

    def exit_precision(self, index: int) -> Precision:
        """Of the branch of an exit; all behind the early ones are the final classifier."""
        own = self.exits[index].precision if index < len(self.exits) else None
        return own or self.branch_precision

    def precisions_used(self) -> tuple[Precision, ...]:
        """Every precision that some part has, in the order in which they come up."""
        blocks = itertools.chain.from_iterable(stage.precisions for stage in self.stages)
        return tuple(dict.fromkeys((self.precision, *blocks, *map(self.exit_precision, range(len(self.exits) + 1)))))

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
