"""Measures of how good answers are: accuracy, balanced accuracy, macro F1 and the recall of a class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError

ACCURACY, BALANCED_ACCURACY, MACRO_F1, RECALL = "accuracy", "balanced_accuracy", "macro_f1", "recall:"
"""Names of the measures; that of a recall is followed by the name of the class."""


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """How often samples of each class were answered with each class.

    Attributes:
        counts: Numbers of samples, (true classes, answered classes).
    """

    counts: NDArray[np.int64]

    @property
    def supports(self) -> NDArray[np.int64]:
        """The number of samples of each class, (classes,)."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def recalls(self) -> NDArray[np.float64]:
        """The share of each class's samples that is right, (classes,); not a number for a class without samples."""
        return _ratio(np.diag(self.counts), self.supports)

    @property
    def precisions(self) -> NDArray[np.float64]:
        """The share of the answers of each class that is right, (classes,); not a number without such answers."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=0))

    @property
    def f1_scores(self) -> NDArray[np.float64]:
        """The F1 score of each class, (classes,); not a number for a class with neither samples nor answers."""
        return _ratio(2 * np.diag(self.counts), self.supports + self.counts.sum(axis=0))

    @property
    def accuracy(self) -> float:
        """The share of the samples that is right."""
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that have samples.

        Source: Brodersen, Ong, Stephan and Buhmann, "The balanced accuracy and its posterior distribution", 2010.
        """
        return float(np.nanmean(self.recalls))

    @property
    def macro_f1(self) -> float:
        """The mean F1 score of the classes that have samples or answers.

        Source: Opitz and Burst, "Macro F1 and Macro F1", 2019, the mean of F1 scores.
        """
        return float(np.nanmean(self.f1_scores))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return shares


def confusion_matrix(labels: NDArray[np.integer], answers: NDArray[np.integer], num_classes: int) -> ConfusionMatrix:
    """Count answers by class.

    Args:
        labels: The true classes, (samples,).
        answers: The answered classes, (samples,).
        num_classes: Number of classes.

    Returns:
        The counts.
    """
    pairs = np.bincount(labels.astype(np.int64) * num_classes + answers, minlength=num_classes**2)
    return ConfusionMatrix(pairs.reshape(num_classes, num_classes).astype(np.int64))


@dataclass(frozen=True)
class QualityMeasures:
    """The measures that a search uses.

    Attributes:
        chosen_by: The measure that thresholds are chosen by.
        bounded: Measures that constraints bound.
        class_names: Names of the classes, in the order of the labels; needed for recalls alone.
    """

    chosen_by: str = ACCURACY
    bounded: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The measures whose values are computed: those of all classes, and the recalls that are used."""
        return tuple(dict.fromkeys((ACCURACY, BALANCED_ACCURACY, MACRO_F1, self.chosen_by, *self.bounded)))

    def values(self, confusion: ConfusionMatrix) -> dict[str, float]:
        """Compute all measures.

        Args:
            confusion: How samples were answered.

        Returns:
            The value of each of ``names``, a share.
        """
        return {name: self.value(name, confusion) for name in self.names}

    def value(self, name: str, confusion: ConfusionMatrix) -> float:
        """Compute a measure.

        Args:
            name: Name of the measure.
            confusion: How samples were answered.

        Returns:
            Its value, a share.

        Raises:
            InputError: There is no such class, or no sample of it.
        """
        if name == BALANCED_ACCURACY:
            return confusion.balanced_accuracy
        if name == MACRO_F1:
            return confusion.macro_f1
        if name.startswith(RECALL):
            index = self.class_index(name)
            if not confusion.supports[index]:
                raise InputError(f"{name} needs samples of that class, but there are none.")
            return float(confusion.recalls[index])
        return confusion.accuracy

    def class_index(self, name: str) -> int:
        """Find the class of a recall.

        Args:
            name: Name of the measure, such as ``recall:cat``.

        Returns:
            The label of the class.

        Raises:
            InputError: There is no such class.
        """
        wanted = name.removeprefix(RECALL)
        if wanted not in self.class_names:
            known = ", ".join(map(repr, self.class_names[:20]))
            raise InputError(f"The class of {name!r} must be one of the data, got {wanted!r}. Classes: {known}.")
        return self.class_names.index(wanted)

    def sample_weights(self, name: str, labels: NDArray[np.integer]) -> NDArray[np.float64] | None:
        """What each sample counts, so that the mean of weight times correctness is the measure.

        Args:
            name: Name of the measure. Macro F1 is no such mean; the weights of balanced accuracy stand in for its.
            labels: The true classes, (samples,).

        Returns:
            Weights with the mean 1, (samples,); None where all are equal.
        """
        if name == ACCURACY:
            return None
        if name.startswith(RECALL):
            of_class = (labels == self.class_index(name)).astype(np.float64)
            return np.asarray(of_class / max(of_class.mean(), 1.0 / len(labels)))
        counts = np.bincount(labels)
        weights: NDArray[np.float64] = len(labels) / (np.count_nonzero(counts) * counts[labels].astype(np.float64))
        return weights
