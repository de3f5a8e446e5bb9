from typing import Any

import numpy as np
import pytest

from offramp.data.images.pixel_units import NamedArray
from offramp.data.signals.array_kinds import ArrayKind, kind_of_arrays
from offramp.errors import DataError


def kind(*arrays: Any) -> ArrayKind:
    return kind_of_arrays([NamedArray(f"a.npz ({index})", np.asarray(a)) for index, a in enumerate(arrays)], None)


def floats(*shape: int, lowest: float = -2.0, highest: float = 3.0) -> Any:
    return np.linspace(lowest, highest, int(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((4, 8, 9), np.uint8), "pixels"),
        (np.zeros((4, 8, 9, 3), np.uint8), "pixels"),
        (np.zeros((4, 8, 9), np.bool_), "pixels"),
        (floats(4, 8, 8, lowest=0, highest=1), "pixels"),
        (floats(4, 8, 9, 3, lowest=0, highest=255), "pixels"),
        (np.arange(256).reshape(4, 1, 8, 8), "pixels"),
        (floats(4, 8, 9), "series"),
        (floats(4, 8, 9, lowest=0, highest=1), "series"),
        (floats(4, 150), "series"),
        (np.zeros((4, 150), np.uint8), "series"),
        (floats(4, 3, 9, 9), "feature_maps"),
        (floats(4, 2, 40, 98), "feature_maps"),
    ],
)
def test_the_kind_follows_from_type_axes_and_range(array: Any, expected: str) -> None:
    assert kind(array).kind == expected


def test_what_was_decided_is_said_except_of_images() -> None:
    (note,) = kind(floats(4, 6, 100)).notes
    assert "shape (4, 6, 100)) is taken as series (samples, channels, time)" in note
    assert "data.kind" in note
    assert kind(np.zeros((4, 8, 9), np.uint8)).notes == ()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (floats(4, 8, 8), "8 channels of 8 steps of time, or maps of 8x8.*data.kind"),
        (floats(4, 8, 9, 3), "channels last.*data.kind=feature_maps"),
        (floats(2, 2, 2, 2, 2), r"got shape \(2, 2, 2, 2, 2\)"),
        (floats(4), r"got shape \(4,\)"),
    ],
)
def test_what_cannot_be_decided_is_refused(array: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        kind(array)


def test_parts_of_different_kinds_are_refused() -> None:
    with pytest.raises(DataError, match=r"a\.npz \(0\) like series, a\.npz \(1\) like pixels"):
        kind(floats(4, 8, 9), np.zeros((4, 8, 9), np.uint8))


def test_the_users_word_decides() -> None:
    array = NamedArray("x", floats(4, 8, 8))
    assert kind_of_arrays([array], "series") == ArrayKind("series")


def test_more_channels_than_steps_are_asked_about_since_channels_may_be_last() -> None:
    values = NamedArray("x", np.random.default_rng(0).normal(size=(5, 128, 9)))
    with pytest.raises(DataError, match="may be series of 128 steps with the 9 channels last"):
        kind_of_arrays([values], None)
    assert kind_of_arrays([values], "series").kind == "series"
