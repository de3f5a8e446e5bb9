from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.data.labelled_data import Dataset, Preprocessing, Split, Splits
from offramp.data.mini_batches import Augmentation, Batch, augment, batches, default_augmentation, to_tensor
from tests.data.samples import random_images

PLAIN = Preprocessing(mean=(0.0,), std=(1.0,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def toy(count: int = 10, channels: int = 1, size: int = 4) -> Split:
    """Image k is filled with k and has label k."""
    numbers = np.arange(count)
    images = np.broadcast_to(numbers[:, None, None, None], (count, channels, size, size)).astype(np.uint8)
    return Split(np.ascontiguousarray(images), numbers.astype(np.int64))


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
    result = augment(images, Augmentation(padding, flip), generator(seed))
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
    centre = augment(image, Augmentation(1, False), generator())[:, 0, 1, 1]
    counts = torch.bincount(centre.long(), minlength=10)[1:]
    # 9 crops, 2,000 of each expected; the standard deviation of each count is 42.
    assert counts.sum() == 18_000
    assert ((counts - 2000).abs() < 5 * 42).all()
    flipped = augment(image, Augmentation(0, True), generator())[:, 0, 0, 0] == 3
    assert abs(int(flipped.sum()) - 9000) < 5 * 67


def test_images_are_changed_one_by_one_and_by_the_seed() -> None:
    images = torch.from_numpy(random_images(1, (3, 8, 8))).expand(64, 3, 8, 8)
    first, again, other = (augment(images, Augmentation(2, True), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) > 20


def test_no_augmentation_changes_nothing() -> None:
    images = torch.randn(3, 2, 4, 4)
    assert torch.equal(augment(images, Augmentation(0, False), generator()), images)


def test_normalised_images_are_padded_with_the_mean() -> None:
    corner = augment(torch.full((200, 1, 4, 4), 7.0), Augmentation(4, False), generator())
    assert set(corner.unique().tolist()) == {0.0, 7.0}


def test_what_augmentation_does_not_take() -> None:
    with pytest.raises(ValueError, match="`crop_padding` must be 0 pixels or more, got -1"):
        Augmentation(-1, False)
    with pytest.raises(ValueError, match=r"4 axes .* got \(3, 4, 4\)"):
        augment(torch.zeros(3, 4, 4), Augmentation(1, True), generator())


@pytest.mark.parametrize(
    ("names", "channels", "size", "expected"),
    [
        (("cat", "dog"), 3, 32, Augmentation(4, True)),
        (("cat", "dog"), 1, 28, Augmentation(4, False)),
        (("0", "1"), 1, 8, Augmentation(0, False)),
        (("0", "10"), 3, 32, Augmentation(4, False)),
        (("a", "b"), 3, 64, Augmentation(8, False)),
        (("00014", "00015"), 3, 32, Augmentation(4, False)),
        (("cat", "dog"), 3, 2, Augmentation(0, True)),
    ],
)
def test_defaults_by_size_colour_and_class_names(
    names: tuple[str, ...], channels: int, size: int, expected: Augmentation
) -> None:
    split = toy(2, channels, size)
    assert default_augmentation(Dataset("toy", names, Splits(split, split, split), PLAIN)) == expected


def test_normalisation_worked_out_by_hand() -> None:
    images = np.zeros((1, 2, 1, 2), dtype=np.uint8)
    images[0, 0, 0] = (0, 255)
    images[0, 1, 0] = (51, 102)
    result = to_tensor(images, Preprocessing(mean=(0.5, 0.2), std=(0.25, 0.1)))
    assert result.dtype == torch.float32
    assert result.flatten().tolist() == pytest.approx([-2.0, 2.0, 0.0, 2.0], abs=1e-5)


def test_normalisation_needs_bytes_of_the_right_channels() -> None:
    with pytest.raises(ValueError, match=r"uint8 of 4 axes, got torch\.float32"):
        to_tensor(torch.zeros(1, 1, 2, 2), PLAIN)
    with pytest.raises(ValueError, match="uint8 of 4 axes"):
        to_tensor(np.zeros((2, 2), np.uint8), PLAIN)
    with pytest.raises(ValueError, match="must have 1 channels, as `preprocessing` has, got 3"):
        to_tensor(np.zeros((1, 3, 2, 2), np.uint8), PLAIN)


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_batches_in_the_order_of_the_split(drop_last: bool, sizes: list[int]) -> None:
    found = list(batches(toy(), PLAIN, batch_size=4, drop_last=drop_last))
    assert [len(batch.labels) for batch in found] == sizes
    assert torch.cat([labels for _, labels in found]).tolist() == list(range(sum(sizes)))
    for images, labels in found:
        assert images.shape == (len(labels), 1, 4, 4)
        assert torch.allclose(images[:, 0, 0, 0] * 255, labels.float())


def test_shuffled_batches_hold_every_image_once_with_its_label() -> None:
    def run(seed: int) -> list[Batch]:
        return list(batches(toy(50), PLAIN, batch_size=8, generator=generator(seed), shuffle=True))

    first = run(0)
    labels = torch.cat([batch.labels for batch in first]).tolist()
    assert sorted(labels) == list(range(50))
    assert labels != list(range(50))
    assert all(torch.allclose(images[:, 0, 0, 0] * 255, numbers.float()) for images, numbers in first)
    assert labels == torch.cat([batch.labels for batch in run(0)]).tolist()
    assert labels != torch.cat([batch.labels for batch in run(1)]).tolist()


def test_one_generator_gives_each_epoch_an_order_of_its_own() -> None:
    shared = generator()
    epochs = [
        torch.cat([batch.labels for batch in batches(toy(50), PLAIN, batch_size=8, generator=shared, shuffle=True)])
        for _ in range(2)
    ]
    assert not torch.equal(epochs[0], epochs[1])


def test_augmented_batches_leave_the_stored_images_alone() -> None:
    split = toy(50, size=8)
    before = split.images.copy()
    plain = torch.cat([batch.images for batch in batches(split, PLAIN, batch_size=8)])
    changed = torch.cat(
        [
            b.images
            for b in batches(split, PLAIN, batch_size=8, generator=generator(), augmentation=Augmentation(2, True))
        ]
    )
    assert not torch.equal(plain, changed)
    assert (split.images == before).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be 1 or more, got 0"),
        ({"batch_size": 2, "shuffle": True}, "`generator` must be given"),
        ({"batch_size": 2, "augmentation": Augmentation(1, True)}, "`generator` must be given"),
    ],
)
def test_what_batches_do_not_take(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(batches(toy(), PLAIN, **arguments))


def test_batches_larger_than_the_split() -> None:
    assert [len(batch.labels) for batch in batches(toy(3), PLAIN, batch_size=100)] == [3]
