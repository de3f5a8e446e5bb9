from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from offramp.data.dataset_loading import load_dataset
from offramp.data.images.pixel_units import NamedArray, PixelBytes, pixel_bytes
from offramp.errors import DataError

ABOVE_ONE = np.nextafter(np.float32(1), np.float32(2))


def converted(*arrays: Any) -> PixelBytes:
    return pixel_bytes([NamedArray(f"array {number}", np.asarray(values)) for number, values in enumerate(arrays)])


def levels(*arrays: Any) -> list[list[int]]:
    return [array.reshape(-1).tolist() for array in converted(*arrays).arrays]


def ramp(highest: float, count: int = 1000) -> NDArray[np.float32]:
    return np.linspace(0, highest, count, dtype=np.float32)


def test_floats_of_unit_range_are_scaled_and_others_are_not() -> None:
    unit = np.array([0.0, 0.5, 1.0, 0.2], dtype=np.float32)
    assert levels(unit) == [[0, 128, 255, 51]]
    assert levels(unit * 255) == [[0, 128, 255, 51]]


def test_whole_numbers_are_pixels_and_truth_values_black_and_white() -> None:
    assert levels(np.array([0, 1, 254, 255], dtype=np.int64)) == [[0, 1, 254, 255]]
    assert levels(np.array([False, True])) == [[0, 255]]


@settings(max_examples=60, deadline=None)
@given(st.floats(1.0, 1.009), st.floats(-0.009, 0.0), st.integers(0, 999))
def test_one_value_slightly_outside_changes_no_other_pixel(highest: float, lowest: float, place: int) -> None:
    images = ramp(1.0)
    expected = converted(images).arrays[0]
    images[place] = highest
    images[(place + 1) % 1000] = lowest
    result = converted(images).arrays[0]
    others = np.setdiff1d(np.arange(1000), [place, (place + 1) % 1000])
    assert (result[others] == expected[others]).all()
    assert (result[place], result[(place + 1) % 1000]) == (255, 0)


def test_the_decision_is_told_with_the_range_and_the_clipped_values() -> None:
    images = ramp(1.0)
    images[3] = ABOVE_ONE
    (note,) = converted(images).notes
    assert note == (
        "Pixels in array 0 (float32, 0..1.0000001) are taken as 0..1; 1 of 1000 values outside were clipped."
    )
    assert converted(ramp(255)).notes == ("Pixels in array 0 (float32, 0..255) are taken as 0..255.",)
    assert "true or false" in converted(np.array([True, False])).notes[0]
    assert "nearly black" in converted(np.array([0, 1], np.uint8)).notes[0]
    assert converted(np.array([0, 9], np.uint8)).notes == ()


@pytest.mark.parametrize("highest", [1.02, 1.5, 2.3, 9.0])
def test_floats_that_would_lose_nearly_all_their_values_are_refused(highest: float) -> None:
    with pytest.raises(DataError, match=r"array 0 must be floats 0\.\.1 or 0\.\.255.*of 1000 different values"):
        converted(ramp(highest))


def test_unit_floats_that_are_too_dark_for_bytes_are_refused() -> None:
    # 0.02 * 255 = 5.1: six levels.
    with pytest.raises(DataError, match="only 6 of 1000 different values"):
        converted(ramp(0.02))


def test_floats_with_few_values_lose_none_and_are_read() -> None:
    assert levels(np.array([0.0, 1.0, 2.0])) == [[0, 1, 2]]
    assert levels(np.array([0.0, 1.0])) == [[0, 255]]
    assert levels(np.array([0.0, 0.01])) == [[0, 3]]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ramp(255), ramp(1.0)),
        (ramp(200.0), np.ones(4)),
        (np.array([0, 255], np.uint8), np.array([0, 1], np.uint8)),
        (np.array([0, 255], np.uint8), np.array([False, True])),
        (np.array([0, 1], np.uint8), ramp(1.0)),
        (np.array([0, 1], np.uint8), np.array([False, True])),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_parts_of_different_units_are_refused(first: Any, second: Any, swapped: bool) -> None:
    with pytest.raises(DataError, match=r"All parts must have pixels of one unit.*array [01]"):
        converted(*((second, first) if swapped else (first, second)))


def test_unit_floats_beside_bytes_are_plain_from_their_type() -> None:
    assert levels(np.array([0, 255], np.uint8), np.array([0.0, 0.2, 1.0])) == [[0, 255], [0, 51, 255]]


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_data_set_is_read_alike_with_one_value_above_one(tmp_path: Path, part: str) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"x_{name}": rng.uniform(0, 0.5, (40, 5, 5)).astype(np.float32) for name in ("train", "test")}
    for values in arrays.values():
        values[0, 0, 0] = 1.0
    labels = {f"y_{name}": np.arange(40) % 2 for name in ("train", "test")}
    np.savez(tmp_path / "plain.npz", **arrays, **labels)
    arrays[f"x_{part}"][0, 0, 0] = ABOVE_ONE
    np.savez(tmp_path / "above.npz", **arrays, **labels)
    plain, above = (load_dataset(str(tmp_path / f"{name}.npz"), seed=0) for name in ("plain", "above"))
    assert plain.fingerprint == above.fingerprint
    assert len(np.unique(above.splits.train.samples)) > 100
    assert any("1 of 1000 values outside were clipped" in note for note in above.notes)
