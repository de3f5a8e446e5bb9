from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from offramp.data.images.pixel_arrays import pixels_from_arrays, same_shape
from offramp.data.images.pixel_units import NamedArray
from offramp.data.raw_data import RawPart, Role
from offramp.errors import DataError
from tests.data.samples import random_images


def pixels(*arrays: NDArray[Any]) -> tuple[NDArray[np.uint8], ...]:
    return pixels_from_arrays([NamedArray(f"array {number}", values) for number, values in enumerate(arrays)]).images


def test_channels_last_becomes_channels_first() -> None:
    images = random_images(2, (4, 5, 3))
    (result,) = pixels(images)
    assert result.shape == (2, 3, 4, 5)
    assert result[1, 2, 3, 4] == images[1, 3, 4, 2]
    assert result.flags.c_contiguous


def test_channels_first_stays_and_grey_gets_a_channel() -> None:
    images = random_images(2, (3, 4, 5))
    assert (pixels(images)[0] == images).all()
    assert pixels(random_images(2, (4, 5)))[0].shape == (2, 1, 4, 5)
    assert pixels(random_images(2, (4, 5, 1)))[0].shape == (2, 1, 4, 5)


def test_transparency_is_dropped() -> None:
    images = random_images(2, (8, 9, 4))
    assert (pixels(images)[0] == images[..., :3].transpose(0, 3, 1, 2)).all()


FAULTS = [
    (np.full((1, 2, 2), 255.5), r"array 0 must lie in 0\.\.255.*got 255\.5\.\.255\.5.*before any normalisation"),
    (np.full((1, 2, 2), -0.1), r"got -0\.1"),
    (np.full((1, 2, 2), np.nan), r"got nan"),
    (np.array([[[0.5, np.inf]]]), r"got 0\.5\.\.inf"),
    (np.full((1, 2, 2), 256, dtype=np.int16), r"got 256\.\.256"),
    (np.full((1, 2, 2), -1, dtype=np.int16), r"got -1"),
    (np.zeros((4, 4), np.uint8), r"\(samples, height, width\).*got shape \(4, 4\)"),
    (np.zeros((2, 5, 5, 2), np.uint8), r"1, 3 or 4 channels.*\(2, 5, 5, 2\), where neither is"),
    (np.zeros((2, 3, 5, 3), np.uint8), r"where both could be"),
    (np.zeros((2, 0, 5), np.uint8), r"must not be empty, got shape \(2, 0, 5\)"),
    (np.zeros((0, 4, 4), np.uint8), r"must not be empty"),
    (np.zeros((2, 4, 4), complex), r"must be numbers, got values of type complex128"),
    (np.full((2, 4, 4), "a"), r"must be numbers"),
]


@pytest.mark.parametrize(("images", "message"), FAULTS)
def test_what_is_no_image_array_is_refused(images: NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        pixels(images)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(st.one_of(hnp.scalar_dtypes(), hnp.unicode_string_dtypes()), hnp.array_shapes(max_dims=5, max_side=4))
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_array_becomes_pixels_or_is_refused(values: Any) -> None:
    try:
        (result,) = pixels(values)
    except DataError:
        return
    assert result.dtype == np.uint8
    assert result.ndim == 4
    assert result.shape[1] in (1, 3)
    assert len(result) == len(values)


def part(role: Role, *shape: int) -> RawPart:
    return RawPart(role, f"{role}.file", random_images(2, shape), np.array([0, 1]))


def test_a_grey_part_beside_a_colour_part_becomes_colour() -> None:
    grey, colour = part("train", 1, 4, 5), part("test", 3, 4, 5)
    first, second = same_shape([grey, colour], None)
    assert first.shape == (2, 3, 4, 5)
    assert (first[:, 2] == grey.samples[:, 0]).all()
    assert second is colour.samples


def test_parts_of_different_sizes_are_refused_or_resized() -> None:
    parts = [part("train", 3, 4, 5), part("test", 3, 6, 6)]
    with pytest.raises(DataError, match=r"4x5 in 'train\.file', 6x6 in 'test\.file'.*image_size"):
        same_shape(parts, None)
    assert [images.shape for images in same_shape(parts, 8)] == [(2, 3, 8, 8)] * 2
