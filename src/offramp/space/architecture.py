"""Architecture: the description of an early-exit network, independent of its implementation."""

import itertools
import re
from dataclasses import dataclass, replace
from typing import TypeVar

from offramp.errors import InputError
from offramp.exits.confidence_measures import Measure

T = TypeVar("T")


FLOAT_BITS = 32
TERNARY_BITS = 2
"""Bits that a ternary weight takes in a file and in a memory."""


@dataclass(frozen=True)
class Precision:
    """Bit widths of the weights and of the written activations.

    Ternary weights are -1, 0 or 1, plain weights of 2 bits -2 to 1; both take 2 bits each. As text, ``8/4`` means
    weights of 8 bits and activations of 4, ``ternary/7`` means ternary weights and activations of 7 bits.

    Attributes:
        weight_bits: Bits of a weight, 1 to 32; 32 stands for floating point.
        activation_bits: Bits of an activation, 1 to 32; 32 stands for floating point.
        ternary: Whether the weights are ternary; `weight_bits` is then 2.
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
        """Read a precision from text such as ``8/4`` or ``ternary/7``.

        Args:
            text: Weight bits (or ``ternary``) and activation bits, separated by a slash.

        Returns:
            The precision.

        Raises:
            InputError: The text has another form, or a bit width is out of range.
        """
        match = re.fullmatch(r"\s*(ternary|\d{1,2})\s*/\s*(\d{1,2})\s*", text)
        if match is None:
            raise InputError(
                f"A precision must be written weight bits/activation bits, such as 8/8 or ternary/8, got {text!r}."
            )
        ternary = match.group(1) == "ternary"
        try:
            return cls(TERNARY_BITS if ternary else int(match.group(1)), int(match.group(2)), ternary)
        except ValueError as exc:
            raise InputError(f"Precision {text!r} is invalid: {exc}") from exc

    @property
    def is_float(self) -> bool:
        """Whether neither weights nor activations are quantised."""
        return self.weight_bits == self.activation_bits == FLOAT_BITS


@dataclass(frozen=True)
class StageChoice:
    """One stage of a backbone: its number of blocks, its width and the choices for each block.

    Attributes:
        depth: Number of blocks, at least 1.
        width: Output channels of the blocks, at least 1.
        kernel_sizes: Kernel size of each block.
        expansions: Expansion factor of each block.
        precisions: Precisions of the blocks in order, the same number for each block: one for the whole block or one
            per
            layer. Empty: the architecture's precision holds.
        analog_shares: Shares of output channels that an analog core computes, 0 to 1, arranged like `precisions`.
            Empty:
            the stage is digital.
        heads: Number of attention heads of each block; empty: blocks have no attention.
    """

    depth: int
    width: int
    kernel_sizes: tuple[int, ...]
    expansions: tuple[int, ...]
    precisions: tuple[Precision, ...] = ()
    analog_shares: tuple[float, ...] = ()
    heads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.heads and (len(self.heads) != self.depth or min(self.heads) < 1):
            raise ValueError(f"`heads` must have one value >= 1 per block ({self.depth}), got {self.heads}.")
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
        """Select the precisions of one block.

        Args:
            block: Index of the block in the stage, from 0.
            default: The precision to use if the stage has none of its own.

        Returns:
            One precision for the whole block, or one per layer.
        """
        return _of_block(self.precisions, block, self.depth) or (default,)

    def first_blocks(self, depth: int) -> "StageChoice":
        """Keep the first blocks.

        Args:
            depth: Number of blocks to keep, from 1 to `depth`.

        Returns:
            The stage with these blocks alone.
        """
        return replace(
            self,
            depth=depth,
            kernel_sizes=self.kernel_sizes[:depth],
            expansions=self.expansions[:depth],
            heads=self.heads[:depth],
            precisions=self.precisions[: len(self.precisions) // self.depth * depth],
            analog_shares=self.analog_shares[: len(self.analog_shares) // self.depth * depth],
        )

    def block_analog_shares(self, block: int) -> tuple[float, ...]:
        """Select the analog shares of one block.

        Args:
            block: Index of the block in the stage, from 0.

        Returns:
            No share, one for the whole block, or one per layer.
        """
        return _of_block(self.analog_shares, block, self.depth)


def _of_block(values: tuple[T, ...], block: int, depth: int) -> tuple[T, ...]:
    each = len(values) // depth
    return values[block * each : (block + 1) * each]


@dataclass(frozen=True)
class BranchLayer:
    """One layer of an exit branch that is built layer by layer.

    Attributes:
        kind: Registered name of the layer type.
        kernel_size: Height and width of the kernel, at least 1.
        stride: Stride in both directions, at least 1.
        width: Output channels, at least 1.
    """

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
    """An exit: its tap and its branch.

    Attributes:
        tap: Number of the tap in the deepest network of the family, from 0.
        branch: Registered name of the branch type.
        precision: Precision of the branch; None: the architecture's `branch_precision`.
        layers: Layers of a branch that is built layer by layer.
        analog_share: Share of the output channels of each of its layers that an analog core computes, 0 to 1.
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
    """How thresholds are chosen: the confidence measure and the operating point.

    Attributes:
        measure: The confidence measure.
        accuracy_drop: Share of validation accuracy, 0 to 1, that may be given up for a lower expected cost. It is
            relative
            to the accuracy of the same network at its best thresholds.
    """

    measure: Measure = "max_probability"
    accuracy_drop: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.accuracy_drop <= 1.0:
            raise ValueError(f"`accuracy_drop` must be a share from 0 to 1, got {self.accuracy_drop}.")


@dataclass(frozen=True)
class Architecture:
    """Everything that identifies a candidate network; hashable, so it is its own identity.

    Taps have the numbers of the deepest network of the family: block ``j`` of stage ``s`` has the number
    ``sum(max_depth[:s]) + j``.

    A network with a head ends at the head's tap: ``stages`` holds nothing behind it, so the last stage may be shallower
    than the family allows and later stages are missing. `offramp.space.cut_networks` cuts networks.

    Attributes:
        backbone: Registered name of the backbone family.
        resolution: Height and width of the input in pixels, at least 1.
        stages: Choices of each stage, at least one stage.
        exits: The early exits, at strictly increasing taps. The classifier at the end is implied.
        final_branch: Registered branch type of the final classifier of the family; without meaning where there is a
            head.
        policy: How thresholds are chosen.
        precision: Precision of the stem and of every block without its own.
        branch_precision: Precision of the final classifier and of every branch without its own.
        head: Tap and branch at which the network ends, behind all early exits; None: it ends with the final classifier
            of the family.
    """

    backbone: str
    resolution: int
    stages: tuple[StageChoice, ...]
    exits: tuple[ExitChoice, ...] = ()
    final_branch: str = "global_pool"
    policy: PolicyChoice = PolicyChoice()
    precision: Precision = Precision()
    branch_precision: Precision = Precision()
    head: ExitChoice | None = None

    def __post_init__(self) -> None:
        taps = [choice.tap for choice in self.exits]
        if any(later <= earlier for earlier, later in itertools.pairwise(taps)):
            raise ValueError(f"taps of the exits must strictly increase, got {taps}.")
        if self.head is not None and taps and taps[-1] >= self.head.tap:
            raise ValueError(f"the head must lie behind all exits, got tap {self.head.tap} and exits at {taps}.")
        if self.resolution < 1:
            raise ValueError(f"`resolution` must be >= 1, got {self.resolution}.")
        if not self.stages:
            raise ValueError("an architecture must have at least one stage.")

    @property
    def is_static(self) -> bool:
        """Whether all samples are answered by one classifier: there are no early exits."""
        return not self.exits

    @property
    def classifier_branch(self) -> str:
        """Branch type of the classifier at the end: of the head, or of the family's final classifier."""
        return self.final_branch if self.head is None else self.head.branch

    @property
    def analog_shares_of_branches(self) -> tuple[float, ...]:
        """Analog share of each early exit and of the classifier at the end; the family's final classifier has none."""
        last = 0.0 if self.head is None else self.head.analog_share
        return (*(choice.analog_share for choice in self.exits), last)

    @property
    def has_analog_shares(self) -> bool:
        """Whether any block or branch gives a share of its channels to an analog core."""
        return any(stage.analog_shares for stage in self.stages) or any(self.analog_shares_of_branches)

    def exit_precision(self, index: int) -> Precision:
        """Find the precision of the branch of an exit.

        Args:
            index: Index of the exit, from 0; indices past the early exits mean the classifier at the end.

        Returns:
            The precision of the branch.
        """
        choice = self.exits[index] if index < len(self.exits) else self.head
        return (choice and choice.precision) or self.branch_precision

    def without_exits(self) -> "Architecture":
        """The same backbone with the classifier at its end alone: the static network."""
        return Architecture(
            backbone=self.backbone,
            resolution=self.resolution,
            stages=self.stages,
            final_branch=self.final_branch,
            precision=self.precision,
            branch_precision=self.branch_precision,
            head=self.head,
        )
