"""What each class gets from an exit policy: where its samples leave, and how often they are right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.exits.exit_rule import ExitRule, answers_at
from offramp.exits.quality.quality_measures import confusion_matrix

_MOST_CLASSES_OF_A_MATRIX = 100


@dataclass(frozen=True)
class ClassProfile:
    """What one class gets from a policy.

    Attributes:
        num_samples: Number of its samples.
        recall: Share of its samples that is right, each at the exit where it left; None without samples.
        precision: Share of the answers of this class that is right; None without such answers.
        f1: Its F1 score; None with neither samples nor answers.
        rates: Share of its samples that left at each exit; empty without samples.
        recalls: Share of those that is right; 0 where none left.
        full_recalls: Share of its samples that is right if all leave at this exit.
    """

    num_samples: int
    recall: float | None
    precision: float | None
    f1: float | None
    rates: tuple[float, ...] = ()
    recalls: tuple[float, ...] = ()
    full_recalls: tuple[float, ...] = ()


@dataclass(frozen=True)
class ClassProfiles:
    """What every class gets from a policy.

    Attributes:
        classes: One profile per class, in the order of the labels.
        balanced_accuracy: The mean recall of the classes that have samples.
        macro_f1: The mean F1 score of the classes that have samples or answers.
        confusion: How many samples of each class (rows) were answered with each class (columns); empty for more than
            100 classes.
    """

    classes: tuple[ClassProfile, ...]
    balanced_accuracy: float
    macro_f1: float
    confusion: tuple[tuple[int, ...], ...] = ()


def class_profiles(
    logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer], policy: ExitRule
) -> ClassProfiles:
    """Apply an exit rule to cached logits and look at each class.

    Args:
        logits: Logits (samples, classes) per exit, the final one last.
        labels: Classes, (samples,).
        policy: The rule.

    Returns:
        What every class gets.
    """
    left = policy.decide(logits)
    answers = np.stack([item.argmax(axis=1) for item in logits])
    correct = answers == labels
    taken = correct[left, np.arange(len(labels))]
    num_classes = logits[-1].shape[1]
    matrix = confusion_matrix(labels, answers_at(logits, left), num_classes)
    precisions, scores = matrix.precisions, matrix.f1_scores
    profiles = []
    for label in range(num_classes):
        rows = labels == label
        count = int(rows.sum())
        of_exits = [rows & (left == index) for index in range(len(logits))]
        profiles.append(
            ClassProfile(
                num_samples=count,
                recall=float(taken[rows].mean()) if count else None,
                precision=_known(precisions[label]),
                f1=_known(scores[label]),
                rates=tuple(float(here.sum()) / count for here in of_exits) if count else (),
                recalls=tuple(float(taken[here].mean()) if here.any() else 0.0 for here in of_exits) if count else (),
                full_recalls=tuple(float(exit_correct[rows].mean()) for exit_correct in correct) if count else (),
            )
        )
    counts = matrix.counts.tolist() if num_classes <= _MOST_CLASSES_OF_A_MATRIX else []
    return ClassProfiles(
        tuple(profiles), matrix.balanced_accuracy, matrix.macro_f1, tuple(tuple(map(int, row)) for row in counts)
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
