"""Whether a run has learned so little that its figures mean little, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEAR_CHANCE = 0.25
"""Share of the way from the most frequent class alone to all samples right, below which little is learned."""
STILL_FALLING = 0.03
"""A loss that falls by a larger share of itself per epoch at the end of training has not settled."""
FAR_BELOW = 0.15
"""Accuracy by which candidates with inherited weights lie far below themselves after fine-tuning, a share."""
FEW_EPOCHS = 0.5
"""Share of the epochs without a time budget below which a budget allowed few."""


@dataclass(frozen=True)
class TrainedModel:
    """How long a network was trained, and how its loss went.

    Attributes:
        name: What sentences call it.
        losses: Mean training loss of each epoch, in order.
        planned_epochs: Epochs that it is trained for without a time budget.
    """

    name: str
    losses: tuple[float, ...]
    planned_epochs: int


@dataclass(frozen=True)
class Learning:
    """What a run has learned.

    Attributes:
        accuracy: Validation accuracy of the most accurate network that was trained to its end, a share; None = there is
            no such network.
        chance: Share of the validation samples that are of the most frequent class.
        supernet: The training of the supernet.
        finished: The trainings of the finished networks, the recommended one first.
        inherited: Validation accuracies of the chosen candidates with the weights of the supernet, shares.
        fine_tuned: Those of the same networks after fine-tuning.
        has_time_budget: Whether the time of the run was limited.
    """

    accuracy: float | None
    chance: float
    supernet: TrainedModel
    finished: tuple[TrainedModel, ...] = ()
    inherited: tuple[float, ...] = ()
    fine_tuned: tuple[float, ...] = ()
    has_time_budget: bool = False


def learning_alerts(learning: Learning) -> tuple[str, ...]:
    """Name the signs that a run has learned too little.

    Args:
        learning: What the run has learned.

    Returns:
        One sentence for each sign, and one that says what to do; nothing where there is no sign.
    """
    signs = [*_near_chance(learning), *_few_epochs(learning), *_unsettled(learning), *_far_below(learning)]
    if not signs:
        return ()
    return (*signs, _remedy(learning))


def _near_chance(learning: Learning) -> list[str]:
    if learning.accuracy is None:
        return []
    room = 1.0 - learning.chance
    if room <= 0.0 or learning.accuracy - learning.chance >= NEAR_CHANCE * room:
        return []
    return [
        f"The networks have learned little: the best one is right for {learning.accuracy:.1%} of the validation "
        f"samples, where always answering the most frequent class is right for {learning.chance:.1%}. Gains between "
        "such networks mean nothing."
    ]


def _few_epochs(learning: Learning) -> list[str]:
    if not learning.has_time_budget:
        return []
    # Networks after the recommended one have less time, and stand in the tables with what they reached.
    short = [
        f"{model.name} for {len(model.losses)} of {model.planned_epochs}"
        for model in (learning.supernet, *learning.finished[:1])
        if len(model.losses) < FEW_EPOCHS * model.planned_epochs
    ]
    if not short:
        return []
    return [f"The time budget ended the training early: epochs without a budget were cut ({'; '.join(short)})."]


def _unsettled(learning: Learning) -> list[str]:
    falling = [
        f"{model.name} by {slope:.0%}"
        for model in (learning.supernet, *learning.finished)
        if (slope := fall_per_epoch(model.losses)) > STILL_FALLING
    ]
    if not falling:
        return []
    return [
        f"Training ended while the loss still fell ({', '.join(falling)} per epoch): longer training gives more "
        "accurate networks, and perhaps others."
    ]


def _far_below(learning: Learning) -> list[str]:
    gaps = [after - before for before, after in zip(learning.inherited, learning.fine_tuned, strict=True)]
    if not gaps or float(np.median(gaps)) <= FAR_BELOW:
        return []
    before, after = float(np.median(learning.inherited)), float(np.median(learning.fine_tuned))
    return [
        f"The search compared networks by weights with which the chosen ones are right for {before:.1%} of the "
        f"validation samples, and for {after:.1%} once fine-tuned: its ranking of networks may be far off."
    ]


def _remedy(learning: Learning) -> str:
    if learning.has_time_budget:
        return (
            "What to do: give more time (--budget), or leave the budget out; the supernet is then trained for "
            f"{learning.supernet.planned_epochs} epochs."
        )
    epochs = max(2 * learning.supernet.planned_epochs, 1)
    return (
        f"What to do: train longer (--set train.epochs={epochs} doubles it), check that the labels of the data are "
        "right, or try another learning rate (train.learning_rate)."
    )


def fall_per_epoch(losses: Sequence[float]) -> float:
    """Measure how fast a loss falls at the end of its training.

    A line is fitted to the last third of the epochs, of at least three, by least squares.

    Args:
        losses: Mean training loss of each epoch, in order.

    Returns:
        The fall per epoch as a share of the last value on the line; 0 where the loss does not fall by three
        times as much as it scatters, or there are fewer than three epochs.
    """
    count = max(3, len(losses) // 3)
    if len(losses) < count:
        return 0.0
    values = np.asarray(losses[-count:], dtype=np.float64)
    epochs = np.arange(count)
    slope, start = np.polyfit(epochs, values, 1)
    line = start + slope * epochs
    # Of a line through three points, two have no freedom.
    scatter = float(np.sqrt(np.sum((values - line) ** 2) / (count - 2)))
    fall = -float(slope) * (count - 1)
    if line[-1] <= 0.0 or fall <= 3.0 * scatter:
        return 0.0
    return max(0.0, -float(slope) / float(line[-1]))
