"""Groups from file names: by a pattern of the user, and a hint where names show that there are some."""

import re
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from offramp.errors import ConfigError, DataError

_SEPARATOR = re.compile(r"[_\-]")
_FEWEST_GROUPS, _FEWEST_SAMPLES = 2, 2
_MAX_NAMED = 4


def groups_of_names(names: Sequence[str], pattern: str, where: str) -> NDArray[np.str_]:
    """Take the group of each sample from the name of its file.

    Args:
        names: File names, with or without folders and suffixes.
        pattern: Regular expression that is searched in the name without folder and suffix; what stands in its
            parentheses is the group.
        where: Name of the part in messages.

    Returns:
        The groups, (samples,).

    Raises:
        ConfigError: The pattern is no regular expression, or has no parentheses.
        DataError: A name does not contain the pattern, or the parentheses are empty.
    """
    compiled = compiled_pattern(pattern)
    groups = []
    for name in names:
        found = compiled.search(PurePath(name).stem)
        if found is None:
            raise DataError(
                f"Every file name of {where!r} must contain data.group_pattern {pattern!r}, but {name!r} does not."
            )
        if not any(found.groups()):
            raise DataError(
                f"data.group_pattern {pattern!r} must find a group in every file name of {where!r}, but its "
                f"parentheses are empty for {name!r}."
            )
        groups.append("/".join(part or "" for part in found.groups()))
    return np.array(groups)


def compiled_pattern(pattern: str) -> re.Pattern[str]:
    """Read a pattern.

    Args:
        pattern: Regular expression with parentheses around the group.

    Returns:
        The compiled expression.

    Raises:
        ConfigError: The pattern is no regular expression, or has no parentheses.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as exc:
        raise ConfigError(f"data.group_pattern must be a regular expression, got {pattern!r}: {exc}.") from exc
    if not compiled.groups:
        raise ConfigError(
            f"data.group_pattern must have parentheses around what names the group, such as '_(.*)_', got {pattern!r}."
        )
    return compiled


def group_hint(names: Sequence[str], labels: NDArray[np.int64]) -> str | None:
    """Find a part of file names that names a speaker, a patient or the like: the same words in several classes.

    Args:
        names: File names, with or without folders and suffixes.
        labels: Class numbers, (samples,).

    Returns:
        A sentence with the pattern to set; None where names show no groups.
    """
    words = [_SEPARATOR.split(PurePath(name).stem) for name in names]
    if not words or len({len(own) for own in words}) != 1 or len(words[0]) < 2:
        return None
    for position in range(len(words[0])):
        column = np.array([own[position] for own in words])
        values, numbers, counts = np.unique(column, return_inverse=True, return_counts=True)
        # A word that is no number, several times each; else it may be a counter or a running name.
        wordy = all(any(letter.isalpha() for letter in value) for value in values.tolist())
        if not wordy or len(values) < _FEWEST_GROUPS or counts.min() < _FEWEST_SAMPLES:
            continue
        pairs = len(np.unique(np.stack([numbers, labels]), axis=1).T)
        # A group has samples of several classes; a word that goes with the class alone is the class.
        if pairs < 2 * len(values):
            continue
        shown = ", ".join(map(repr, values.tolist()[:_MAX_NAMED])) + (", ..." if len(values) > _MAX_NAMED else "")
        pattern = _pattern(position, len(words[0]), names)
        return (
            f"File names such as {PurePath(names[0]).name!r} seem to say who or what was recorded ({shown}; "
            f"{len(values)} in all). If accuracies are to hold for others than these, keep them apart: "
            f"data.group_pattern='{pattern}'."
        )
    return None


def _pattern(position: int, count: int, names: Sequence[str]) -> str:
    """A pattern for one of the words of all names."""
    if (position, count) == (1, 3) and not any("-" in PurePath(name).stem for name in names):
        return "_(.*)_"
    return f"^(?:[^_-]*[_-]){{{position}}}([^_-]*)" if position else "^([^_-]*)"
