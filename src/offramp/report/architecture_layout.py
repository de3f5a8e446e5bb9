"""Positions of the blocks and exits of an architecture, and one-line names of architectures."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from offramp.space.architecture import Architecture
from offramp.space.block_numbers import block_of_tap


@dataclass(frozen=True)
class Block:
    """One backbone block; ``number`` counts the blocks that really exist, from 1."""

    number: int
    stage: int
    width: int
    kernel_size: int | None
    expansion: int


@dataclass(frozen=True)
class ExitPlace:
    """An exit and the number of the block that it follows."""

    label: str
    after_block: int
    branch: str
    final: bool


@dataclass(frozen=True)
class Layout:
    """Blocks in order and exits in order, the final one last."""

    blocks: tuple[Block, ...]
    exits: tuple[ExitPlace, ...]


def exit_label(index: int, num_exits: int) -> str:
    """What the page calls an exit: numbered from 1, the last one is the final exit."""
    return "Final exit" if index == num_exits - 1 else f"Exit {index + 1}"


def layout_of(architecture: Architecture, max_depths: Sequence[int]) -> Layout:
    """Map tap numbers to blocks; a tap on a block that was left out counts for the last one before it."""
    blocks: list[Block] = []
    for stage_index, stage in enumerate(architecture.stages):
        # What a model that was brought along (timm:..., adopted:...) has inside its blocks is not known.
        kernels = (None,) * stage.depth if ":" in architecture.backbone else stage.kernel_sizes
        for block in range(stage.depth):
            blocks.append(Block(len(blocks) + 1, stage_index, stage.width, kernels[block], stage.expansions[block]))
    num_exits = len(architecture.exits) + 1
    exits = [
        ExitPlace(
            exit_label(index, num_exits), block_of_tap(architecture, choice.tap, max_depths), choice.branch, False
        )
        for index, choice in enumerate(architecture.exits)
    ]
    exits.append(ExitPlace(exit_label(num_exits - 1, num_exits), len(blocks), architecture.final_branch, True))
    return Layout(tuple(blocks), tuple(exits))


def describe(architecture: Architecture, max_depths: Sequence[int] = ()) -> str:
    """An architecture in one line: depths and widths per stage and where the exits are."""
    depths = "-".join(str(stage.depth) for stage in architecture.stages)
    widths = "-".join(str(stage.width) for stage in architecture.stages)
    text = f"{architecture.backbone}, {architecture.resolution} px, depths {depths}, widths {widths}"
    if not architecture.exits:
        return f"{text}, no early exit"
    if max_depths:
        word, places = "blocks", [(p.after_block, p.branch) for p in layout_of(architecture, max_depths).exits[:-1]]
    else:
        word, places = "taps", [(choice.tap, choice.branch) for choice in architecture.exits]
    groups = [
        f"{', '.join(str(place) for place, _ in group)} ({branch})"
        for branch, group in itertools.groupby(places, key=lambda item: item[1])
    ]
    return f"{text}, exits after {word} {', '.join(groups)}"
