"""Splitting of labelled samples into disjoint parts that contain every class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ConfigError, DataError

_MAX_NAMED = 5

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SplitIndices:
    """Indices of the samples of each part, in random order; a part with share 0 is empty.

    Attributes:
        train: Samples to train on.
        validation: Samples for validation.
        test: Samples for the test.
    """

    train: Indices
    validation: Indices
    test: Indices


def stratified_split(
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    *,
    seed: int,
    validation_share: float,
    test_share: float,
    where: str,
) -> SplitIndices:
    """Split samples so that each part gets its share of every class, at least one sample of each.

    scikit-learn's stratified split is not used, because it may leave a part without any sample of a small class.

    Args:
        labels: Class numbers, (samples,).
        class_names: Names of the classes.
        seed: Seed of the split.
        validation_share: Share of the validation part, 0 to 1; 0: no such part.
        test_share: Share of the test part, 0 to 1; 0: no such part.
        where: Name of the data set in messages.

    Returns:
        The indices of each part.

    Raises:
        ConfigError: The shares leave nothing to train on.
        DataError: A class has fewer samples than there are parts.
    """
    if validation_share + test_share >= 1.0:
        raise ConfigError(
            "`validation_share` + `test_share` must leave something to train on (sum below 1), "
            f"got {validation_share} + {test_share}."
        )
    num_parts = 1 + (validation_share > 0) + (test_share > 0)
    counts = np.bincount(labels, minlength=len(class_names))
    _check_counts(counts, class_names, num_parts, where)
    rng = np.random.default_rng(seed)
    of_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    train, validation, test = [], [], []
    for members in of_class:
        count, order = len(members), rng.permutation(members)
        num_test = _part_size(count, test_share, most=count - num_parts + 1)
        num_validation = _part_size(count, validation_share, most=count - num_test - 1)
        test.append(order[:num_test])
        validation.append(order[num_test : num_test + num_validation])
        train.append(order[num_test + num_validation :])
    return SplitIndices(*(rng.permutation(np.concatenate(part)) for part in (train, validation, test)))


def _part_size(count: int, share: float, *, most: int) -> int:
    """``share`` of ``count`` samples, rounded, at least one if the share is not 0, and at most ``most``."""
    return 0 if share == 0 else min(max(round(count * share), 1), most)


def _check_counts(counts: NDArray[np.intp], class_names: tuple[str, ...], num_parts: int, where: str) -> None:
    short = [f"{class_names[label]!r} has {count}" for label, count in enumerate(counts.tolist()) if count < num_parts]
    if short:
        more = f" and {len(short) - _MAX_NAMED} more" if len(short) > _MAX_NAMED else ""
        raise DataError(
            f"Every class of {where!r} must have at least {num_parts} samples, one for each part it is split into, "
            f"but class {', '.join(short[:_MAX_NAMED])}{more}. Add samples of it, or leave the class out."
        )
