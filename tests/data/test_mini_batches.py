from typing import Any

import numpy as np
import pytest
import torch

from offramp.data.augmentation import ImageAugmentation, SignalAugmentation
from offramp.data.labelled_data import Preprocessing, Split
from offramp.data.mini_batches import Batch, batches, to_tensor

PLAIN = Preprocessing(mean=(0.0,), std=(1.0,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def toy(count: int = 10, channels: int = 1, size: int = 4) -> Split:
    """Image k is filled with k and has label k."""
    numbers = np.arange(count)
    images = np.broadcast_to(numbers[:, None, None, None], (count, channels, size, size)).astype(np.uint8)
    return Split(np.ascontiguousarray(images), numbers.astype(np.int64))


def test_normalisation_worked_out_by_hand() -> None:
    images = np.zeros((1, 2, 1, 2), dtype=np.uint8)
    images[0, 0, 0] = (0, 255)
    images[0, 1, 0] = (51, 102)
    result = to_tensor(images, Preprocessing(mean=(0.5, 0.2), std=(0.25, 0.1)))
    assert result.dtype == torch.float32
    assert result.flatten().tolist() == pytest.approx([-2.0, 2.0, 0.0, 2.0], abs=1e-5)


def test_floats_are_standardised_without_a_scale_and_are_not_changed_in_place() -> None:
    samples = np.array([[[[1.0, 3.0]], [[10.0, 30.0]]]], dtype=np.float32)
    kept = samples.copy()
    result = to_tensor(samples, Preprocessing((2.0, 20.0), (1.0, 5.0), "float32"))
    assert result.flatten().tolist() == [-1.0, 1.0, -2.0, 2.0]
    assert (samples == kept).all()


def test_signals_are_augmented_after_they_are_standardised() -> None:
    samples = np.full((4, 1, 1, 3), 1000.0, np.float32)
    samples[1] = 1002.0
    split = Split(samples, np.zeros(4, np.int64))
    # Standardised to 0 and 2, a gain leaves 0 where it is; of the raw values it would move it by hundreds.
    (batch,) = batches(
        split,
        Preprocessing((1000.0,), (1.0,), "float32"),
        batch_size=4,
        generator=generator(),
        augmentation=SignalAugmentation(0, 0.5, 0.0),
    )
    assert (batch.inputs[[0, 2, 3]] == 0).all()
    assert (batch.inputs[1] != 2).all()
    assert (samples[0] == 1000.0).all()


def test_normalisation_needs_samples_of_the_stated_type_and_the_right_channels() -> None:
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
    before = split.samples.copy()
    plain = torch.cat([batch.inputs for batch in batches(split, PLAIN, batch_size=8)])
    changed = torch.cat(
        [
            b.inputs
            for b in batches(split, PLAIN, batch_size=8, generator=generator(), augmentation=ImageAugmentation(2, True))
        ]
    )
    assert not torch.equal(plain, changed)
    assert (split.samples == before).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be 1 or more, got 0"),
        ({"batch_size": 2, "shuffle": True}, "`generator` must be given"),
        ({"batch_size": 2, "augmentation": ImageAugmentation(1, True)}, "`generator` must be given"),
    ],
)
def test_what_batches_do_not_take(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(batches(toy(), PLAIN, **arguments))


def test_batches_larger_than_the_split() -> None:
    assert [len(batch.labels) for batch in batches(toy(3), PLAIN, batch_size=100)] == [3]
