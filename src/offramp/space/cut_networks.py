"""Networks that end at one of their exits, in the one form in which equal networks are equal."""

from collections.abc import Sequence
from dataclasses import replace

from offramp.errors import InputError
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, StageChoice


def cut_at(architecture: Architecture, head: ExitChoice, max_depths: Sequence[int]) -> Architecture:
    """End a network at a tap, with a branch as its classifier; all that lies behind is removed.

    Exits at the tap or behind it are removed, too. A network without exits has the default policy. Where branches have
    precisions of their own, that of the head becomes the architecture's `branch_precision`. Two networks that have the
    same layers after the cut are thus equal.

    Args:
        architecture: The network.
        head: The tap and its branch.
        max_depths: Largest depth of each stage in the space, by which taps are numbered. A stage that is not listed has
            its depth in ``architecture``.

    Returns:
        The network up to the head.

    Raises:
        InputError: The network has no block that ends at the tap.
    """
    exits = tuple(choice for choice in architecture.exits if choice.tap < head.tap)
    own = head.precision or architecture.branch_precision
    if own != architecture.branch_precision:
        exits = tuple(replace(item, precision=item.precision or architecture.branch_precision) for item in exits)
    return replace(
        architecture,
        stages=_stages_to(architecture.stages, head.tap, max_depths),
        exits=exits,
        policy=architecture.policy if exits else PolicyChoice(),
        branch_precision=own,
        head=replace(head, precision=None),
    )


def static_at(architecture: Architecture, index: int, max_depths: Sequence[int]) -> Architecture:
    """The static network that answers as one exit of a network does.

    Args:
        architecture: The network.
        index: Index of the exit, from 0; the number of early exits means the classifier at the end.
        max_depths: Largest depth of each stage in the space; see `cut_at`.

    Returns:
        The network that ends at this exit, without early exits.
    """
    if index == len(architecture.exits):
        return architecture.without_exits()
    return cut_at(architecture.without_exits(), architecture.exits[index], max_depths)


def _stages_to(stages: Sequence[StageChoice], tap: int, max_depths: Sequence[int]) -> tuple[StageChoice, ...]:
    first_tap = 0
    for index, stage in enumerate(stages):
        block = tap - first_tap
        if 0 <= block < stage.depth:
            return (*stages[:index], stage.first_blocks(block + 1))
        first_tap += max(stage.depth, max_depths[index]) if index < len(max_depths) else stage.depth
    raise InputError(f"a network can be cut at the end of one of its blocks, and none ends at tap {tap}.")
