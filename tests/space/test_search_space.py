"""Stage and backbone spaces."""

import pytest

from offramp.space.search_space import BackboneSpace, StageSpace


@pytest.mark.parametrize("values", [(), (2, 1), (1, 1), (0, 1), (-1,)])
@pytest.mark.parametrize("name", ["depths", "widths", "kernel_sizes", "expansions"])
def test_choices_are_increasing_and_positive(name: str, values: tuple[int, ...]) -> None:
    arguments = {"depths": (1, 2), "widths": (8,), "kernel_sizes": (3,), "expansions": (1,), name: values}
    with pytest.raises(ValueError, match=f"`{name}` must be increasing"):
        StageSpace(**arguments)  # type: ignore[arg-type]


def test_every_block_of_the_deepest_member_is_a_tap_slot() -> None:
    space = BackboneSpace("toy", (32,), (StageSpace((1, 4), (8,)), StageSpace((2,), (8,))))
    assert space.num_taps == 6


def test_a_block_has_layers() -> None:
    with pytest.raises(ValueError, match="`layers_per_block` must be >= 1, got 0"):
        StageSpace((1,), (8,), layers_per_block=0)
