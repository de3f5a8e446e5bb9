import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.data.augmentation import (
    ImageAugmentation,
    SignalAugmentation,
    augment,
    default_augmentation,
)
from offramp.data.labelled_data import Dataset, Preprocessing, Split, Splits
from offramp.data.sample_kinds import InputKind
from tests.data.samples import random_images

PLAIN = Preprocessing(mean=(0.0,), std=(1.0,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 7),
    st.integers(1, 7),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 99),
)
def test_each_image_is_one_of_its_own_crops(
    batch: int, channels: int, height: int, width: int, padding: int, flip: bool, seed: int
) -> None:
    images = torch.from_numpy(random_images(batch, (channels, height, width), seed)) // 2 + 1
    result = augment(images, ImageAugmentation(padding, flip), generator(seed))
    assert result.shape == images.shape
    assert result.dtype == images.dtype
    for before, after in zip(images, result, strict=True):
        padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=torch.uint8)
        padded[:, padding : padding + height, padding : padding + width] = before
        crops = [
            padded[:, top : top + height, left : left + width]
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
        ]
        crops += [crop.flip(2) for crop in crops] if flip else []
        assert any(torch.equal(after, crop) for crop in crops)


def test_every_offset_and_both_sides_occur_equally_often() -> None:
    image = torch.arange(1, 10, dtype=torch.float32).view(1, 1, 3, 3).expand(18_000, 1, 3, 3)
    centre = augment(image, ImageAugmentation(1, False), generator())[:, 0, 1, 1]
    counts = torch.bincount(centre.long(), minlength=10)[1:]
    # 9 crops, 2,000 of each expected; the standard deviation of each count is 42.
    assert counts.sum() == 18_000
    assert ((counts - 2000).abs() < 5 * 42).all()
    flipped = augment(image, ImageAugmentation(0, True), generator())[:, 0, 0, 0] == 3
    assert abs(int(flipped.sum()) - 9000) < 5 * 67


def test_images_are_changed_one_by_one_and_by_the_seed() -> None:
    images = torch.from_numpy(random_images(1, (3, 8, 8))).expand(64, 3, 8, 8)
    first, again, other = (augment(images, ImageAugmentation(2, True), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) > 20


def test_no_augmentation_changes_nothing() -> None:
    images = torch.randn(3, 2, 4, 4)
    assert torch.equal(augment(images, ImageAugmentation(0, False), generator()), images)


def test_normalised_images_are_padded_with_the_mean() -> None:
    corner = augment(torch.full((200, 1, 4, 4), 7.0), ImageAugmentation(4, False), generator())
    assert set(corner.unique().tolist()) == {0.0, 7.0}


def test_what_augmentation_does_not_take() -> None:
    with pytest.raises(ValueError, match="`crop_padding` must be 0 pixels or more, got -1"):
        ImageAugmentation(-1, False)
    with pytest.raises(ValueError, match=r"4 axes .* got \(3, 4, 4\)"):
        augment(torch.zeros(3, 4, 4), ImageAugmentation(1, True), generator())


@pytest.mark.parametrize(
    ("names", "channels", "size", "expected"),
    [
        (("cat", "dog"), 3, 32, ImageAugmentation(4, True)),
        (("cat", "dog"), 1, 28, ImageAugmentation(4, False)),
        (("0", "1"), 1, 8, ImageAugmentation(0, False)),
        (("0", "10"), 3, 32, ImageAugmentation(4, False)),
        (("a", "b"), 3, 64, ImageAugmentation(8, False)),
        (("00014", "00015"), 3, 32, ImageAugmentation(4, False)),
        (("cat", "dog"), 3, 2, ImageAugmentation(0, True)),
    ],
)
def test_defaults_by_size_colour_and_class_names(
    names: tuple[str, ...], channels: int, size: int, expected: ImageAugmentation
) -> None:
    split = Split(np.zeros((2, channels, size, size), np.uint8), np.arange(2))
    assert default_augmentation(Dataset("toy", names, Splits(split, split, split), PLAIN)) == expected


@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        ("series", (6, 1, 100), SignalAugmentation(3, 0.1, 0.03)),
        ("series", (1, 1, 20), SignalAugmentation(0, 0.1, 0.03)),
        ("vectors", (13, 1, 1), SignalAugmentation(0, 0.0, 0.03)),
        ("feature_maps", (3, 40, 40), SignalAugmentation(0, 0.0, 0.03)),
    ],
)
def test_floats_are_neither_mirrored_nor_cropped(
    kind: InputKind, shape: tuple[int, ...], expected: SignalAugmentation
) -> None:
    split = Split(np.zeros((2, *shape), np.float32), np.arange(2))
    preprocessing = Preprocessing((0.0,) * shape[0], (1.0,) * shape[0], "float32")
    dataset = Dataset("toy", ("cat", "dog"), Splits(split, split, split), preprocessing, input_kind=kind)
    assert default_augmentation(dataset) == expected


def test_series_are_moved_in_time_with_all_channels_together_and_their_ends_repeated() -> None:
    steps = torch.arange(10, dtype=torch.float32)
    series = torch.stack([steps, steps + 100])[None, :, None].expand(500, 2, 1, 10)
    moved = augment(series, SignalAugmentation(3, 0.0, 0.0), generator())
    shifts = moved[:, 0, 0, 5] - 5
    assert set(shifts.tolist()) == {-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0}
    expected = (steps + shifts[:, None]).clamp(0, 9)
    assert torch.equal(moved[:, 0, 0], expected)
    assert torch.equal(moved[:, 1, 0], expected + 100)


def test_the_strength_of_a_sample_changes_as_a_whole_and_noise_value_by_value() -> None:
    ones = torch.ones(4000, 2, 1, 3)
    scaled = augment(ones, SignalAugmentation(0, 0.1, 0.0), generator())
    assert (scaled == scaled[:, :1, :, :1]).all()
    # The standard error of a deviation is its size divided by the root of twice the number.
    assert float(scaled[:, 0, 0, 0].std()) == pytest.approx(0.1, rel=5 / 8000**0.5)
    noisy = augment(ones, SignalAugmentation(0, 0.0, 0.5), generator()) - 1
    assert float(noisy.std()) == pytest.approx(0.5, rel=5 / 48000**0.5)
    assert abs(float((noisy[:, 0] * noisy[:, 1]).mean())) < 5 * 0.25 / 12000**0.5


def test_signal_augmentation_is_repeated_by_its_seed_and_checks_itself() -> None:
    series, change = torch.randn(3, 2, 1, 20), SignalAugmentation(2, 0.1, 0.1)
    assert torch.equal(augment(series, change, generator(1)), augment(series, change, generator(1)))
    with pytest.raises(ValueError, match="must be 0 or more"):
        SignalAugmentation(-1, 0.0, 0.0)
