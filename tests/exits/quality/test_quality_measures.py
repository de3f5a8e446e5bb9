"""Measures of classes, worked out by hand for three classes and seven samples."""

import math

import numpy as np
import pytest

from offramp.errors import InputError
from offramp.exits.quality.quality_measures import QualityMeasures, confusion_matrix

LABELS = np.array([0, 0, 0, 0, 1, 1, 2])
ANSWERS = np.array([0, 0, 0, 1, 1, 0, 0])
MATRIX = confusion_matrix(LABELS, ANSWERS, 3)


def test_counts_have_true_classes_in_rows() -> None:
    assert MATRIX.counts.tolist() == [[3, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert MATRIX.supports.tolist() == [4, 2, 1]


def test_measures_of_classes() -> None:
    assert MATRIX.recalls.tolist() == [0.75, 0.5, 0.0]
    assert MATRIX.precisions[:2].tolist() == [0.6, 0.5]
    assert math.isnan(MATRIX.precisions[2])
    # F1 = 2 * right / (samples + answers): 6 / 9, 2 / 4, 0 / 1.
    assert MATRIX.f1_scores.tolist() == pytest.approx([2 / 3, 0.5, 0.0])
    assert MATRIX.accuracy == pytest.approx(4 / 7)
    assert MATRIX.balanced_accuracy == pytest.approx(1.25 / 3)
    assert MATRIX.macro_f1 == pytest.approx((2 / 3 + 0.5) / 3)


def test_classes_without_samples_do_not_count() -> None:
    matrix = confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 4)
    assert matrix.balanced_accuracy == pytest.approx(0.75)
    assert matrix.macro_f1 == pytest.approx(2 / 3)  # 2/3 for both classes


def test_values_hold_the_recalls_that_are_used() -> None:
    measures = QualityMeasures("recall:b", ("recall:a", "accuracy"), ("a", "b", "c"))
    assert measures.values(MATRIX) == {
        "accuracy": pytest.approx(4 / 7),
        "balanced_accuracy": pytest.approx(1.25 / 3),
        "macro_f1": pytest.approx((2 / 3 + 0.5) / 3),
        "recall:b": 0.5,
        "recall:a": 0.75,
    }


@pytest.mark.parametrize("name", ["balanced_accuracy", "recall:a", "recall:c"])
def test_the_weighted_mean_of_right_answers_is_the_measure(name: str) -> None:
    measures = QualityMeasures(name, class_names=("a", "b", "c"))
    weights = measures.sample_weights(name, LABELS)
    assert weights is not None
    assert weights.mean() == pytest.approx(1.0)
    assert (weights * (LABELS == ANSWERS)).mean() == pytest.approx(measures.value(name, MATRIX))


def test_unknown_classes_and_classes_without_samples_are_errors() -> None:
    measures = QualityMeasures(class_names=("a", "b", "c"))
    with pytest.raises(InputError, match="must be one of the data, got 'd'"):
        measures.value("recall:d", MATRIX)
    with pytest.raises(InputError, match="needs samples of that class"):
        measures.value("recall:c", confusion_matrix(LABELS[:6], ANSWERS[:6], 3))
