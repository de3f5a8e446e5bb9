"""Signs of a run that learned too little, on made curves."""

import numpy as np
import pytest

from offramp.run.checks.learning import Learning, TrainedModel, fall_per_epoch, learning_alerts


def settled(epochs: int = 40, planned: int | None = None, name: str = "the supernet") -> TrainedModel:
    """A loss that falls from 2.3 to 0.3 and stays there, with some scatter."""
    steps = np.arange(epochs)
    scatter = 0.01 * (-1.0) ** steps
    losses = 0.3 + 2.0 * np.exp(-12.0 * steps / epochs) + scatter
    return TrainedModel(name, tuple(losses.tolist()), planned or epochs)


def falling(epochs: int, planned: int, name: str = "the supernet") -> TrainedModel:
    """A loss that falls by a tenth of itself per epoch to the end."""
    return TrainedModel(name, tuple((2.3 * 0.9 ** np.arange(epochs)).tolist()), planned)


def good() -> Learning:
    return Learning(0.98, 0.1, settled(), (settled(20, name="knee"),), (0.93,), (0.97,))


def test_a_run_that_has_learned_is_not_warned_about() -> None:
    assert learning_alerts(good()) == ()
    assert learning_alerts(Learning(0.98, 0.1, settled(40, planned=60), has_time_budget=True)) == ()


def test_five_epochs_of_spoken_digits_under_a_budget_are_warned_about() -> None:
    """18.7 % right among ten classes, 5 of 60 epochs, a loss that still falls."""
    found = learning_alerts(Learning(0.187, 0.1, falling(5, 60), (falling(4, 60, "knee"),), has_time_budget=True))
    assert len(found) == 4
    assert "right for 18.7% of the validation samples" in found[0]
    assert "most frequent class is right for 10.0%" in found[0]
    assert "the supernet for 5 of 60; knee for 4 of 60" in found[1]
    # 0.1 / 0.9 of the last value, by a line through three points: 2.3 * (0.81 - 0.6561) / 2 / 1.4886 = 12 %.
    assert "the supernet by 12%" in found[2]
    assert "--budget" in found[3]
    assert "60 epochs" in found[3]


@pytest.mark.parametrize(
    ("accuracy", "chance", "warned"),
    [
        (0.30, 0.10, True),  # 0.2 of 0.9
        (0.33, 0.10, False),  # 0.23 of 0.9 is above a quarter
        (0.92, 0.90, True),  # a rare class: 0.02 of 0.1
        (0.95, 0.90, False),
        (0.05, 0.10, True),
        (None, 0.10, False),
        (1.0, 1.0, False),
    ],
)
def test_the_best_network_near_chance(accuracy: float | None, chance: float, warned: bool) -> None:
    found = learning_alerts(Learning(accuracy, chance, settled()))
    assert any("learned little" in sentence for sentence in found) is warned


def test_candidates_far_below_fine_tuned_ones() -> None:
    """A supernet at 43 % whose networks reach 81 %, 70 % and 90 %: in the middle 38 points."""
    far = Learning(0.9, 0.1, settled(), (), (0.43, 0.43, 0.43), (0.81, 0.70, 0.90))
    (sign, remedy) = learning_alerts(far)
    assert "right for 43.0%" in sign
    assert "for 81.0% once fine-tuned" in sign
    assert "train.epochs=80" in remedy
    assert learning_alerts(Learning(0.9, 0.1, settled(), (), (0.75, 0.5), (0.80, 0.60))) == ()


def test_few_epochs_matter_under_a_time_budget_alone() -> None:
    few = settled(10, planned=60)
    assert learning_alerts(Learning(0.98, 0.1, few)) == ()
    (sign, remedy) = learning_alerts(Learning(0.98, 0.1, few, has_time_budget=True))
    assert "the supernet for 10 of 60" in sign
    assert "60 epochs" in remedy


def test_a_network_that_was_not_fine_tuned_at_all() -> None:
    """Fine-tuned for 0 s."""
    untouched = TrainedModel("knee", (), 20)
    (sign, _) = learning_alerts(Learning(0.9, 0.1, settled(), (untouched,), has_time_budget=True))
    assert "knee for 0 of 20" in sign


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((), 0.0),
        ((2.0,), 0.0),
        ((2.0, 1.0), 0.0),
        ((3.0, 2.0, 1.0), 1.0),  # a straight line: 1 per epoch, of 1 at its end
        ((1.0, 2.0, 3.0), 0.0),
        ((1.0, 1.0, 1.0), 0.0),
        ((9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 1.2, 1.1, 1.0), 0.1),
        ((1.0, 0.8, 1.0, 0.8, 1.0, 0.8, 0.8, 1.0, 0.79), 0.0),  # scatter
    ],
)
def test_the_fall_of_a_loss_per_epoch_by_hand(losses: tuple[float, ...], expected: float) -> None:
    assert fall_per_epoch(losses) == pytest.approx(expected)


def test_the_end_of_a_cosine_schedule_is_no_fall() -> None:
    """Fine-tuning of the digits, its last seven of 20 epochs: about 2 % per epoch."""
    losses = (
        0.605,
        0.538,
        0.487,
        0.392,
        *[0.3] * 6,
        0.236,
        0.236,
        0.232,
        0.229,
        0.231,
        0.212,
        0.208,
        0.216,
        0.206,
        0.204,
    )
    assert 0.01 < fall_per_epoch(losses) < 0.03
