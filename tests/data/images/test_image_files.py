import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from offramp.data.images import image_files
from offramp.data.images.image_decoding import EncodedImage, ImageForm, decode_image
from offramp.data.images.image_files import decode_images, in_chunks, resize
from offramp.errors import DataError
from offramp.progress import SilentReporter
from tests.data.samples import encoded, huge_png, random_images

COLOUR = random_images(1, (4, 5, 3))[0]
GREY = random_images(1, (4, 5))[0]


def decode(data: bytes, image_size: int | None = None) -> NDArray[np.uint8]:
    form = ImageForm(None if image_size is None else (image_size, image_size))
    return decode_image(EncodedImage("'x.png'", data), form).pixels


def decode_all(data: list[bytes], image_size: int | None = None, total: int | None = None) -> NDArray[np.uint8]:
    images = [EncodedImage(f"image {number}", entry) for number, entry in enumerate(data)]
    with SilentReporter().task("decoding") as task:
        return decode_images(
            in_chunks(images, 3), len(images) if total is None else total, source="s", image_size=image_size, task=task
        )


def saved(image: Image.Image, kind: str = "PNG", exif: Image.Exif | None = None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"exif": exif} if exif else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_give_the_pixels_back(kind: str) -> None:
    assert (decode(encoded(COLOUR, kind)) == COLOUR).all()
    assert (decode(encoded(GREY, kind)) == GREY[:, :, None]).all()


def test_every_colour_mode_ends_as_grey_or_rgb() -> None:
    image = Image.fromarray(COLOUR)
    for mode in ("RGBA", "P", "CMYK", "YCbCr"):
        kind = "PNG" if mode in ("RGBA", "P") else "TIFF"
        assert decode(saved(image.convert(mode), kind)).shape == (4, 5, 3)
    for mode in ("L", "LA", "1"):
        assert decode(saved(image.convert(mode))).shape == (4, 5, 1)


def test_transparent_pixels_keep_their_colour() -> None:
    transparent = np.dstack([COLOUR, np.zeros((4, 5), np.uint8)])
    assert (decode(encoded(transparent)) == COLOUR).all()


def test_16_bits_are_scaled_not_clipped_and_32_bits_are_refused() -> None:
    levels = np.array([[0, 255, 256, 65535]], dtype=np.uint16)
    assert decode(encoded(levels)).reshape(-1).tolist() == [0, 0, 1, 255]
    with pytest.raises(DataError, match=r"'x\.png' must have 8 or 16 bits per pixel.*Convert"):
        decode(encoded(levels.astype(np.float32), "TIFF"))


def test_a_photo_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(saved(Image.fromarray(COLOUR), "PNG", exif))
    assert (turned == np.rot90(COLOUR, -1)).all()


def test_size_can_be_asked_for() -> None:
    assert decode(encoded(COLOUR), 8).shape == (8, 8, 3)
    large = saved(Image.fromarray(np.full((400, 300, 3), 77, np.uint8)), "JPEG")
    assert (decode(large, 16) == 77).all()
    assert (decode(encoded(np.full((6, 9), 5, np.uint8)), 3) == 5).all()


FAULTS = [
    (b"", "no known image format"),
    (b"text", "no known image format"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "no known image format"),
    (encoded(random_images(1, (64, 64, 3))[0])[:5000], "damaged"),
    (encoded(random_images(1, (64, 64, 3))[0], "JPEG")[:2000], "damaged"),
    (huge_png(), "must have at most 50000000 pixels.*Scale it down"),
    (huge_png(9000, 9000), "must have at most 50000000 pixels: it has 9000x9000"),
]


@pytest.mark.parametrize(("data", "message"), FAULTS)
def test_what_cannot_be_decoded_is_named(data: bytes, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=rf"Image 'x\.png'.*{message}"):
            decode(data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]), st.data())
@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_gives_pixels_or_a_sentence(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(COLOUR, kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode(bytes(content), 4).shape in ((4, 4, 1), (4, 4, 3))
    except DataError as exc:
        assert "'x.png'" in str(exc)  # noqa: PT017 - either outcome is right


def test_images_are_stacked_in_order_over_chunks() -> None:
    images = random_images(7)
    assert (decode_all([encoded(pixels) for pixels in images]) == images.transpose(0, 3, 1, 2)).all()


def test_large_files_go_through_threads_with_the_same_result() -> None:
    images = random_images(5, (80, 90, 3))
    data = [encoded(pixels) for pixels in images]
    assert min(map(len, data)) > image_files._THREADING_BYTES
    assert (decode_all(data) == images.transpose(0, 3, 1, 2)).all()


@pytest.mark.parametrize("order", [(GREY, COLOUR, GREY), (COLOUR, GREY, GREY), (GREY, GREY, COLOUR)])
def test_grey_among_colour_becomes_colour(order: tuple[NDArray[np.uint8], ...]) -> None:
    stack = decode_all([encoded(pixels) for pixels in order])
    assert stack.shape == (3, 3, 4, 5)
    for pixels, result in zip(order, stack, strict=True):
        expected = np.repeat(pixels[None], 3, axis=0) if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        assert (result == expected).all()


def test_different_sizes_are_counted_most_common_first() -> None:
    data = [encoded(pixels) for shape in ((4, 5), (6, 6), (4, 5), (4, 5), (7, 7)) for pixels in random_images(2, shape)]
    with pytest.raises(DataError, match=r"4x5 \(6 images\), 6x6 \(2 images\), 7x7 \(2 images\)\. Give `image_size`"):
        decode_all(data)
    assert decode_all(data, image_size=6).shape == (10, 1, 6, 6)


def test_sizes_read_from_headers_count_turned_photos_as_decoding_does() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    turned = saved(Image.fromarray(COLOUR), "PNG", exif)
    data = [encoded(COLOUR), encoded(GREY.T), turned, turned, encoded(COLOUR)]
    with pytest.raises(DataError, match=r"5x4 \(3 images\), 4x5 \(2 images\)"):
        decode_all(data)
    with pytest.raises(DataError, match="image 4 cannot be decoded"):
        decode_all([*data[:4], b"text"])


def test_none_too_many_and_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="'s' must hold images, but it has none"):
        decode_all([])
    with pytest.raises(DataError, match="must hold 1 images, as it states, but there are more"):
        decode_all([encoded(GREY)] * 2, total=1)
    monkeypatch.setattr(image_files, "MAX_TOTAL_BYTES", 100)
    with pytest.raises(DataError, match=r"2 images of 4x5 need.*smaller `image_size`"):
        decode_all([encoded(COLOUR)] * 2)


def test_resizing_arrays_equals_resizing_files() -> None:
    images = random_images(3, (3, 9, 7))
    resized = resize(images, 4)
    for before, after in zip(images, resized, strict=True):
        assert (decode(encoded(before.transpose(1, 2, 0)), 4) == after.transpose(1, 2, 0)).all()
    assert resize(resized, 4) is resized


def test_chunks_hold_everything_once() -> None:
    images = [EncodedImage(str(number), b"") for number in range(7)]
    chunks = list(in_chunks(iter(images), 3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    assert [image for chunk in chunks for image in chunk] == images


def test_progress_is_told() -> None:
    told: list[float] = []

    class Task:
        def update(self, fraction: float, note: str = "") -> None:
            told.append(fraction)

    decode_images(in_chunks([EncodedImage("x", encoded(GREY))] * 4, 2), 4, source="s", image_size=None, task=Task())
    assert told == [0.5, 1.0]


def test_twelve_bits_in_sixteen_are_refused_where_no_image_uses_the_rest() -> None:
    dark = encoded((random_images(1, (4, 5))[0].astype(np.uint16) << 4) | 15)
    with pytest.raises(
        DataError, match=r"whole range 0\.\.65535, but all 2 of 's' lie in 0\.\.4095: as 8 bits, only 16"
    ):
        decode_all([dark, dark])
    bright = encoded(random_images(1, (4, 5))[0].astype(np.uint16) << 8)
    assert decode_all([dark, bright]).max() == random_images(1, (4, 5))[0].max()
