"""Taps count the blocks of the deepest architecture, blocks those that are there."""

import pytest

from offramp.space.architecture import Architecture, StageChoice
from offramp.space.block_numbers import block_of_tap
from offramp.testing.toys import small_space


def with_depths(*depths: int) -> Architecture:
    largest = small_space().max_architecture()
    stages = tuple(StageChoice(depth, 8, (3,) * depth, (1,) * depth) for depth in depths)
    return Architecture(largest.backbone, largest.resolution, stages, ())


@pytest.mark.parametrize(
    ("tap", "block"),
    # Stages of 3, 4 and 2 blocks at most, of which 2, 1 and 2 are there: taps 0-2, 3-6 and 7-8.
    [(0, 1), (1, 2), (2, 2), (3, 3), (4, 3), (6, 3), (7, 4), (8, 5), (9, 5)],
)
def test_a_tap_on_a_block_that_was_left_out_follows_the_last_before_it(tap: int, block: int) -> None:
    assert block_of_tap(with_depths(2, 1, 2), tap, (3, 4, 2)) == block


def test_without_largest_depths_taps_count_the_blocks_that_are_there() -> None:
    assert [block_of_tap(with_depths(2, 1, 2), tap, ()) for tap in range(6)] == [1, 2, 3, 4, 5, 5]
