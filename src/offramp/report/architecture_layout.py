"""Positions of the blocks and exits of an architecture, and its description in one line."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from offramp.space.architecture import Architecture
from offramp.space.block_numbers import block_of_tap


@dataclass(frozen=True)
class Block:
    """A backbone block.

    Attributes:
        number: Number of the block, from 1; blocks that the architecture leaves out are not counted.
        stage: Index of its stage, from 0.
        width: Number of output channels.
        kernel_size: Kernel size of its convolution; None = unknown.
        over_time: Whether its kernels have one row, as for series; else they are square.
        heads: Number of its attention heads; 0 = it has no attention.
        expansion: Ratio of its inner channels to its input channels.
    """

    number: int
    stage: int
    width: int
    kernel_size: int | None
    expansion: int
    over_time: bool = False
    heads: int = 0


@dataclass(frozen=True)
class ExitPlace:
    """An exit and its position.

    Attributes:
        label: Its name on pages.
        after_block: Number of the block that it follows, from 1.
        tap: Number of its tap in the search space, from 0; None for the final exit.
        branch: Name of the kind of its branch.
        final: Whether it is the final exit.
    """

    label: str
    after_block: int
    tap: int | None
    branch: str
    final: bool

    @property
    def position(self) -> str:
        """Where it is, as pages and tables say it."""
        return "at the end" if self.tap is None else f"after tap {self.tap}"


@dataclass(frozen=True)
class Layout:
    """Blocks and exits of an architecture.

    Attributes:
        blocks: The blocks in order.
        exits: The exits in order, the final one last.
    """

    blocks: tuple[Block, ...]
    exits: tuple[ExitPlace, ...]


def exit_label(index: int, num_exits: int) -> str:
    """Name of an exit on pages.

    Args:
        index: Index of the exit, from 0.
        num_exits: Number of exits, the final one included.

    Returns:
        "Exit 1", "Exit 2", ..., or "Final exit".
    """
    return "Final exit" if index == num_exits - 1 else f"Exit {index + 1}"


def layout_of(architecture: Architecture, max_depths: Sequence[int]) -> Layout:
    """Positions of the blocks and exits of an architecture.

    Args:
        architecture: The architecture.
        max_depths: Largest depth of each stage in the search space, by which taps are numbered.

    Returns:
        Its blocks and exits; a tap on a block that the architecture leaves out counts for the last one before it.
    """
    blocks: list[Block] = []
    for stage_index, stage in enumerate(architecture.stages):
        # The inside of the blocks of a model from elsewhere (timm:..., adopted:...) is unknown.
        kernels = (None,) * stage.depth if ":" in architecture.backbone else stage.kernel_sizes
        for block in range(stage.depth):
            blocks.append(
                Block(
                    len(blocks) + 1,
                    stage_index,
                    stage.width,
                    kernels[block],
                    stage.expansions[block],
                    over_time=architecture.resolution == 1,
                    heads=stage.heads[block] if stage.heads else 0,
                )
            )
    num_exits = len(architecture.exits) + 1
    exits = [
        ExitPlace(
            exit_label(index, num_exits),
            block_of_tap(architecture, choice.tap, max_depths),
            choice.tap,
            choice.branch,
            False,
        )
        for index, choice in enumerate(architecture.exits)
    ]
    exits.append(
        ExitPlace(exit_label(num_exits - 1, num_exits), len(blocks), None, architecture.classifier_branch, True)
    )
    return Layout(tuple(blocks), tuple(exits))


def describe(architecture: Architecture) -> str:
    """Describe an architecture in one line: depths and widths of the stages, positions of the exits, last classifier.

    Args:
        architecture: The architecture.

    Returns:
        The description.
    """
    depths = "-".join(str(stage.depth) for stage in architecture.stages)
    widths = "-".join(str(stage.width) for stage in architecture.stages)
    # Series and vectors have one row, which says nothing.
    size = f"{architecture.resolution} px, " if architecture.resolution > 1 else ""
    text = f"{architecture.backbone}, {size}depths {depths}, widths {widths}"
    if not architecture.exits:
        end = "at the end" if architecture.head is None else f"after tap {architecture.head.tap}"
        return f"{text}, no early exit, classifier {end} ({architecture.classifier_branch})"
    groups = [
        f"{', '.join(str(choice.tap) for choice in group)} ({branch})"
        for branch, group in itertools.groupby(architecture.exits, key=lambda choice: choice.branch)
    ]
    noun = "exit after tap" if len(architecture.exits) == 1 else "exits after taps"
    return f"{text}, {noun} {', '.join(groups)}"
