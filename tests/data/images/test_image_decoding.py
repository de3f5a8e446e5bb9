"""Every format, colour mode and orientation ends as the same pixels, whoever reads the file."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from offramp.data.images.image_decoding import (
    EncodedImage,
    ImageForm,
    decode_image,
    orientation_of,
    read_image_file,
    upright_size,
)
from offramp.errors import DataError
from tests.data.images import image_samples
from tests.data.images.image_samples import Sample


def pixels_as_stored(data: bytes) -> NDArray[Any]:
    """The bands of a file without a tag, by rules of their own: alpha away, palette looked up, upper 8 of 16 bits."""
    with Image.open(io.BytesIO(data)) as image:
        values = np.asarray(image)
        if image.mode == "1":
            return values.astype(np.uint8)[..., None] * np.uint8(255)
        if image.mode in ("P", "PA"):
            palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
            return palette[values if image.mode == "P" else values[..., 0]]
        if image.mode.startswith("I;16"):
            return (values >> 8).astype(np.uint8)[..., None]
        if image.mode == "CMYK":
            light = 255 - values.astype(int)
            return np.rint(light[..., :3] * light[..., 3:] / 255).astype(np.uint8)
        return values[..., None] if values.ndim == 2 else values[..., : values.shape[2] - (values.shape[2] in (2, 4))]


def plain_of(sample: Sample) -> bytes:
    data = image_samples.encode(image_samples.image_of(sample.mode), sample.kind, "none", 1)
    assert data is not None
    return data


SAMPLES = image_samples.samples()


def test_the_samples_cover_the_formats_modes_and_tags() -> None:
    assert {sample.kind for sample in SAMPLES} == set(image_samples.FORMATS)
    assert {sample.mode for sample in SAMPLES} == set(image_samples.MODES)
    turned = {(sample.kind, sample.tag) for sample in SAMPLES if sample.orientation == 6}
    assert turned == {(kind, tag) for kind in ("PNG", "JPEG", "WEBP", "TIFF") for tag in ("exif", "xmp")}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_pixels_stand_upright_in_every_format_mode_and_tag(sample: Sample) -> None:
    expected = image_samples.upright_of(pixels_as_stored(plain_of(sample)), sample.orientation)
    encoded = EncodedImage(sample.name, sample.data)
    found = decode_image(encoded).pixels
    assert found.shape == expected.shape
    # The formula of CMYK rounds; all other steps are exact.
    assert np.abs(found.astype(int) - expected).max() <= (1 if sample.mode == "CMYK" else 0)
    assert upright_size(encoded) == expected.shape[:2]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_colour_mode_that_is_asked_for_is_given(mode: Any) -> None:
    for sample in SAMPLES:
        if sample.tag == "none":
            found = decode_image(EncodedImage(sample.name, sample.data), ImageForm((5, 7), mode)).pixels
            assert found.shape == (5, 7, 1 if mode == "L" else 3)


def test_grey_is_repeated_as_colour() -> None:
    data = plain_of(next(sample for sample in SAMPLES if sample.mode == "L"))
    grey, colour = (decode_image(EncodedImage("x", data), ImageForm((3, 3), mode)).pixels for mode in ("L", "RGB"))
    assert (colour == grey).all()


def test_exif_comes_before_xmp_and_unknown_numbers_mean_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    for number, expected in ((3, 3), (0, 1), (9, 1)):
        exif[0x0112] = number
        buffer = io.BytesIO()
        image_samples.image_of("RGB").save(buffer, "JPEG", exif=exif, xmp=image_samples.XMP.format(6).encode())
        with Image.open(buffer) as image:
            assert orientation_of(image) == expected


@pytest.mark.parametrize("text", ["tiff:Orientation='8'", "<tiff:Orientation>8</tiff:Orientation>"])
def test_xmp_is_read_in_each_way_it_is_written(text: str) -> None:
    buffer = io.BytesIO()
    image_samples.image_of("RGB").save(buffer, "WEBP", xmp=text.encode())
    with Image.open(buffer) as image:
        assert orientation_of(image) == 8


def test_the_bits_of_the_file_are_told() -> None:
    for mode, bits in (("L", 8), ("I;16", 16)):
        data = image_samples.encode(image_samples.image_of(mode), "PNG", "none", 1)
        assert data is not None
        assert decode_image(EncodedImage("x", data)).bits == bits


def test_a_pipe_in_place_of_an_image_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="is a pipe"):
        read_image_file(tmp_path / "pipe.png")
