"""Batch size and epochs by default: enough steps for small data sets, few epochs for large ones."""

import pytest

from offramp.run.defaults.training_length import LEAST_STEPS, training_length


@pytest.mark.parametrize(
    ("count", "batch", "epochs", "steps"),
    [
        (32, 16, 160, 320),  # 2 batches of 16
        (216, 16, 40, 520),  # 216 / 8 = 27, so 16; 13 batches, 40 epochs
        (1079, 128, 40, 320),  # 8 batches: the digits, as before
        (1920, 128, 40, 600),  # 15 batches: the spoken digits
        (40_000, 128, 30, 9_360),  # 1.2 million / 40,000 = 30 epochs of 312
        (200_000, 128, 10, 15_620),
        (9, 16, 320, 320),  # one batch of all 9
    ],
)
def test_batch_size_and_epochs_follow_from_the_number_of_samples(
    count: int, batch: int, epochs: int, steps: int
) -> None:
    length = training_length(count)
    assert (length.batch_size, length.epochs, length.steps) == (batch, epochs, steps)


@pytest.mark.parametrize("count", [2, 15, 40, 63, 64, 127, 128, 300, 1000, 1023, 1024])
def test_no_training_has_fewer_steps_than_the_least(count: int) -> None:
    assert training_length(count).steps >= LEAST_STEPS


def test_what_is_given_holds() -> None:
    assert training_length(300, batch_size=128).epochs == 160  # 2 batches
    assert training_length(300, epochs=3).steps == 3 * 9  # batches of 32
    given = training_length(300, batch_size=100, epochs=2)
    assert (given.batch_size, given.epochs, given.steps) == (100, 2, 6)


def test_the_length_is_said_in_words() -> None:
    assert training_length(32).sentence == (
        "Training takes 320 steps: 160 epochs of 2 batches of 16 of the 32 training samples."
    )
    assert training_length(9, epochs=1).sentence == (
        "Training takes 1 step: 1 epoch of 1 batch of 9 of the 9 training samples."
    )
