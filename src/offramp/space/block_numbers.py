"""The blocks that the taps of an architecture follow."""

from collections.abc import Sequence

from offramp.space.architecture import Architecture


def block_of_tap(architecture: Architecture, tap: int, max_depths: Sequence[int]) -> int:
    """Find the block that a tap follows.

    Args:
        architecture: The architecture, in which stages may have fewer blocks than the space allows.
        tap: Number of the tap, which counts the blocks of the deepest architecture from 0.
        max_depths: Largest depth of each stage in the space; a stage that is not listed has its depth in
            ``architecture``.

    Returns:
        The number of the block, counted from 1 over the blocks that the architecture has. A tap on a block that was
        left out follows the last block before it.
    """
    first_tap = blocks = 0
    for index, stage in enumerate(architecture.stages):
        depth = max(stage.depth, max_depths[index]) if index < len(max_depths) else stage.depth
        if tap < first_tap + depth:
            return blocks + min(tap - first_tap + 1, stage.depth)
        first_tap += depth
        blocks += stage.depth
    return blocks
