from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offramp.data import labelled_data as training
from offramp.data.images.image_decoding import decode_image, read_image_file
from offramp.data.mini_batches import to_tensor
from offramp.data.raw_data import read_raw
from offramp.data.statistics import channel_statistics
from offramp.deploy.bundle.manifest_records import Preprocessing
from offramp.deploy.runtime.sample_inputs import check_normalised, load_image, normalise
from offramp.errors import DataError, InputError
from tests.data.images import image_samples
from tests.data.samples import options

RGB = Preprocessing(4, 6, "RGB", (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
GREY = Preprocessing(4, 6, "L", (0.5,), (0.5,))


def test_normalise_by_hand() -> None:
    pixels = np.array([255, 0, 51], dtype=np.uint8).reshape(1, 3, 1, 1)
    assert normalise(pixels, RGB).ravel().tolist() == pytest.approx([1.0, -1.0, 0.2])
    assert normalise(pixels, RGB).dtype == np.float32


def test_floats_that_are_pixels_are_refused() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 6), dtype=np.uint8)
    check_normalised(normalise(pixels, RGB), RGB)
    check_normalised(3 * np.random.default_rng(0).normal(size=(50, 3, 4, 6)).astype(np.float32), RGB)
    # 0.75 / 0.25 is the largest value that a pixel can have.
    with pytest.raises(InputError, match="up to about 3, got 255"):
        check_normalised(np.full((1, 3, 4, 6), 255.0, np.float32), RGB)


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(load_image(tmp_path / "a.png", RGB), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("image_size", [None, 3, 9])
@pytest.mark.parametrize("grey", [False, True])
def test_training_and_prediction_make_the_same_input_of_every_file(
    tmp_path: Path, image_size: int | None, grey: bool
) -> None:
    """All formats, colour modes and orientations, stored so that all have one size once they stand upright."""
    files = image_samples.write(tmp_path / "files")
    named: dict[str, list[Path]] = {}
    for file in files:
        pixels = decode_image(read_image_file(file)).pixels
        if image_size is not None or pixels.shape[:2] == (4, 6):
            named.setdefault("grey" if pixels.shape[2] == 1 else "colour", []).append(file)
    chosen = named["grey"] if grey else named["grey"] + named["colour"]
    assert len(chosen) > 60
    for index, file in enumerate(chosen):
        folder = tmp_path / "data" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:04}{file.suffix}").write_bytes(file.read_bytes())
    raw = read_raw(str(tmp_path / "data"), options(tmp_path / "cache", image_size=image_size))
    statistics = channel_statistics(raw.train.samples)
    _, channels, height, width = raw.train.samples.shape
    assert channels == (1 if grey else 3)
    preprocessing = Preprocessing(height, width, "L" if grey else "RGB", statistics.mean, statistics.std)
    trained_on = to_tensor(raw.train.samples, training.Preprocessing(statistics.mean, statistics.std)).numpy()
    for trained, file in zip(trained_on, sorted((tmp_path / "data").rglob("*.*")), strict=True):
        predicted = normalise(load_image(file, preprocessing), preprocessing)
        assert np.array_equal(predicted, trained), file.name


def test_other_sizes_are_resized_bilinearly(tmp_path: Path) -> None:
    pixels = np.zeros((8, 12), dtype=np.uint8)
    pixels[:, 6:] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    small = load_image(tmp_path / "a.png", GREY)
    assert small.shape == (1, 4, 6)
    assert small[0, :, :2].max() == 0
    assert small[0, :, 4:].min() == 200
    # Halving by a triangle of width 4 spreads the edge: an eighth of the weight lies beyond it.
    assert small[0, 1, 2] == 25
    assert small[0, 1, 3] == 175


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK", "LA"])
def test_every_color_mode_is_converted(tmp_path: Path, mode: str) -> None:
    suffix = "tiff" if mode == "CMYK" else "png"
    Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(tmp_path / f"a.{suffix}")
    for preprocessing, channels in ((RGB, 3), (GREY, 1)):
        loaded = load_image(tmp_path / f"a.{suffix}", preprocessing)
        assert loaded.shape == (channels, 4, 6)
        assert loaded.min() >= 254


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6), 0x8000, dtype=np.uint16)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", GREY).max() == 0x80


def test_thirty_two_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 6), dtype=np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="8 or 16 bits"):
        load_image(tmp_path / "a.tiff", GREY)


def test_a_turned_photo_is_set_upright(tmp_path: Path) -> None:
    image = Image.new("L", (4, 6))
    image.putpixel((0, 5), 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    # Orientation 6: to be turned clockwise by 90 degrees, so the lower left corner becomes the upper left one.
    assert load_image(tmp_path / "a.png", GREY)[0, 0, 0] == 255


def test_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8))
    for name in ("whole.jpg", "whole.png"):
        noise.save(tmp_path / name)
        assert load_image(tmp_path / name, RGB).shape == (3, 4, 6)
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"cut_{name}").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    (tmp_path / "folder.png").mkdir()
    for name in ("cut_whole.jpg", "cut_whole.png", "text.png", "empty.png", "script.eps", "folder.png", "missing.png"):
        with pytest.raises(DataError, match=name):
            load_image(tmp_path / name, RGB)


def test_huge_images_are_refused_by_their_header(tmp_path: Path) -> None:
    # A bitmap's header alone: 60,000 x 1,000 pixels.
    header = b"BM" + (54).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    header += (60_000).to_bytes(4, "little") + (1_000).to_bytes(4, "little") + b"\x01\x00\x18\x00" + bytes(24)
    (tmp_path / "a.bmp").write_bytes(header)
    with pytest.raises(DataError, match="at most 50000000 pixels"):
        load_image(tmp_path / "a.bmp", RGB)


def test_networks_of_other_channel_counts_take_no_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 channels"):
        load_image(tmp_path / "a.png", Preprocessing(4, 6, None, (0.5, 0.5), (1.0, 1.0)))
