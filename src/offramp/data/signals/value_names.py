"""Values of columns and arrays as names: of groups and of classes."""

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError


def as_names(values: NDArray[Any]) -> NDArray[np.str_]:
    """Write values of a column as text, whole numbers without a point.

    Args:
        values: Numbers or text.

    Returns:
        The text of each.
    """
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace")
    whole = values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.floor(values)).all()
    return (values.astype(np.int64) if whole and np.abs(values).max(initial=0) < 2**53 else values).astype(np.str_)


def as_labels(values: NDArray[Any]) -> NDArray[Any]:
    """Take whole numbers as names, so that classes may be counted from 1, or be -1 and 1.

    Args:
        values: Labels of a column.

    Returns:
        Names, or numbers as they are where they are not whole.
    """
    names = as_names(values)
    whole = all(name.removeprefix("-").isdigit() for name in names.tolist())
    return values if values.dtype.kind == "f" and not whole else names


def as_groups(values: NDArray[Any], where: str) -> NDArray[np.str_]:
    """Write groups as text that is the same in every part: whole numbers without a point, text without outer spaces.

    Args:
        values: Numbers or text, (samples,).
        where: Name of the groups in messages.

    Returns:
        The name of each group.

    Raises:
        DataError: A group is missing: an empty text, or NaN.
    """
    names = [unicodedata.normalize("NFC", name).strip() for name in as_names(values).tolist()]
    lost = np.isnan(values) if values.dtype.kind == "f" else np.array([not name for name in names], dtype=bool)
    if lost.any():
        raise DataError(
            f"Every sample must have a group in {where}, but {int(lost.sum())} of {len(names)} have none, the first is "
            f"sample {int(np.flatnonzero(lost)[0])}. Samples of an unknown group may be in two splits: name their "
            "groups, or leave them out."
        )
    return np.array(names, dtype=np.str_)
