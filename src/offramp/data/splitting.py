"""Splitting of labelled samples into disjoint parts that contain every class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ConfigError, DataError

_MAX_NAMED = 5

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SplitIndices:
    """Positions of the samples of each part, in random order; a part that was not asked for is empty."""

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
    """Give each part its share of every class, at least one sample of each; share 0 asks for no such part.

    scikit-learn's stratified split is not used here: it may leave a part without any sample of a small class.
    Raises ConfigError for impossible shares and DataError for a class with fewer samples than parts.
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
    """``share`` of ``count`` samples, rounded, at least one where a part is wanted and at ``most`` that many."""
    return 0 if share == 0 else min(max(round(count * share), 1), most)


def _check_counts(counts: NDArray[np.intp], class_names: tuple[str, ...], num_parts: int, where: str) -> None:
    short = [f"{class_names[label]!r} has {count}" for label, count in enumerate(counts.tolist()) if count < num_parts]
    if short:
        more = f" and {len(short) - _MAX_NAMED} more" if len(short) > _MAX_NAMED else ""
        raise DataError(
            f"Every class of {where!r} must have at least {num_parts} images, one for each part it is split into, "
            f"but class {', '.join(short[:_MAX_NAMED])}{more}. Add images of it, or leave the class out."
        )
