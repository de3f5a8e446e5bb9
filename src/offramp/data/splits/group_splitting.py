"""Splitting of samples so that no group, such as a speaker, a patient or a recording, is in two parts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.data.splits.splitting import SplitIndices
from offramp.errors import ConfigError, DataError
from offramp.jsonio import shortened

_MAX_NAMED = 5
_ORDERS = 64
_MISSING_CLASS = 100.0

_Counts = NDArray[np.float64]


@dataclass(frozen=True)
class GroupSplit:
    """Groups of samples in disjoint parts.

    Attributes:
        indices: The samples of each part.
        notes: Sentences on what each part holds, for the user.
    """

    indices: SplitIndices
    notes: tuple[str, ...]


def split_by_groups(
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    class_names: tuple[str, ...],
    *,
    seed: int,
    validation_share: float,
    test_share: float,
    where: str,
) -> GroupSplit:
    """Split whole groups of samples, with shares of every class as near to the wanted ones as possible.

    Groups are dealt one by one, large ones first, to the part that they bring nearest to its share of each class. This
    is done for many orders of equally large groups, and the best result is taken. The same seed gives the same split.

    Args:
        labels: Class numbers, (samples,).
        groups: Name of the group of each sample, (samples,).
        class_names: Names of the classes.
        seed: Seed of the split.
        validation_share: Share of the validation part, 0 to 1; 0: no such part.
        test_share: Share of the test part, 0 to 1; 0: no such part.
        where: Name of the data set in messages.

    Returns:
        The parts.

    Raises:
        ConfigError: The shares leave nothing to train on.
        DataError: There are fewer groups than parts, or the training part would lack a class.
    """
    if validation_share + test_share >= 1.0:
        raise ConfigError(
            "`validation_share` + `test_share` must leave something to train on (sum below 1), "
            f"got {validation_share} + {test_share}."
        )
    shares = np.array([1.0 - validation_share - test_share, validation_share, test_share])
    used = np.flatnonzero(shares > 0)
    names, numbers = np.unique(groups, return_inverse=True)
    if len(names) < len(used):
        raise DataError(
            f"{where!r} must have at least {len(used)} groups, one for each part it is split into, but it has "
            f"{len(names)}: {', '.join(map(repr, names.tolist()))}. Give a validation or test part of your own, or "
            "leave the groups out (data.group_column, data.group_pattern)."
        )
    counts = np.zeros((len(names), len(class_names)))
    np.add.at(counts, (numbers, labels), 1.0)
    part_of = _best_parts(counts, shares[used], np.random.default_rng(seed))
    _check_training_classes(counts, part_of, class_names, names, where)
    chosen = used[part_of]
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(chosen[numbers] == part)).astype(np.int64) for part in range(3)]
    return GroupSplit(SplitIndices(*rows), _notes(counts, chosen, class_names, names, where))


def _best_parts(counts: _Counts, shares: _Counts, rng: np.random.Generator) -> NDArray[np.intp]:
    """The part of each group; the first of ``shares`` is the training part."""
    wanted = shares[:, None] * counts.sum(axis=0)
    best, lowest = np.zeros(len(counts), dtype=np.intp), np.inf
    sizes = counts.sum(axis=1)
    # A set with thousands of groups needs no search over their order.
    for _ in range(max(1, min(_ORDERS, 200_000 // len(counts)))):
        order = rng.permutation(len(counts))
        order = order[np.argsort(-sizes[order], kind="stable")]
        found = _dealt(counts, wanted, order, rng.permutation(len(shares)))
        cost = _cost(counts, wanted, found)
        if cost < lowest - 1e-9:
            best, lowest = found, cost
    return best


def _dealt(counts: _Counts, wanted: _Counts, order: NDArray[np.intp], parts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Deal groups to parts; while there are just enough left, to those that are empty. Ties go by ``parts``."""
    held = np.zeros_like(wanted)
    found = np.zeros(len(counts), dtype=np.intp)
    scale = np.maximum(wanted, 1e-9)
    empty = set(parts.tolist())
    for number, group in enumerate(order.tolist()):
        among = [part for part in parts.tolist() if part in empty or len(order) - number > len(empty)]
        # How much nearer to its shares, relative to their size, the group brings each part.
        gains = [
            float((((wanted[p] - held[p]) ** 2 - (wanted[p] - held[p] - counts[group]) ** 2) / scale[p] ** 1.5).sum())
            for p in among
        ]
        part = among[int(np.argmax(gains))]
        held[part] += counts[group]
        found[group] = part
        empty.discard(part)
    return found


def _cost(counts: _Counts, wanted: _Counts, part_of: NDArray[np.intp]) -> float:
    """Sum of squared relative deviations from the wanted counts; a part without a class costs most."""
    held = np.zeros_like(wanted)
    np.add.at(held, part_of, counts)
    deviations = ((held - wanted) / np.maximum(wanted, 1.0)) ** 2
    missing = (held == 0) & (wanted > 0)
    missing_in_training = float(missing[0].sum()) * _MISSING_CLASS**2
    return float(deviations.sum()) + _MISSING_CLASS * float(missing.sum()) + missing_in_training


def _check_training_classes(
    counts: _Counts, part_of: NDArray[np.intp], class_names: tuple[str, ...], names: NDArray[np.str_], where: str
) -> None:
    absent = np.flatnonzero(counts[part_of == 0].sum(axis=0) == 0)
    if absent.size:
        owners = names[counts[:, absent[0]] > 0].tolist()
        raise DataError(
            f"Each class of {where!r} must be in the groups that are trained on, but class "
            f"{class_names[absent[0]]!r} is in group {_listed(owners)} alone. Check that groups are right "
            "(data.group_column, data.group_pattern): a group that is a class cannot be kept apart."
        )


def _notes(
    counts: _Counts, part_of: NDArray[np.intp], class_names: tuple[str, ...], names: NDArray[np.str_], where: str
) -> tuple[str, ...]:
    words = ("training", "validation", "test")
    held = [(word, part_of == part) for part, word in enumerate(words) if (part_of == part).any()]
    described = "; ".join(f"{word}: {_listed(names[rows].tolist())}" for word, rows in held)
    notes = [f"{len(names)} groups of {where!r} are kept apart, none is in two splits: {described}."]
    for word, rows in held:
        lacking = [class_names[number] for number in np.flatnonzero(counts[rows].sum(axis=0) == 0).tolist()]
        if lacking:
            notes.append(
                f"The {word} split has no samples of {_listed(lacking)}, because of the groups: figures say nothing "
                "about these classes."
            )
    return tuple(notes)


def check_groups_apart(groups_of_parts: Sequence[tuple[str, NDArray[np.str_]]]) -> None:
    """Check that parts that the data come with share no group.

    Args:
        groups_of_parts: Name of each part, and the groups of its samples.

    Raises:
        DataError: A group is in two parts.
    """
    seen: dict[str, str] = {}
    for part, groups in groups_of_parts:
        for group in np.unique(groups).tolist():
            if group in seen:
                raise DataError(
                    f"Group {shortened(repr(group))} must be in one part, but it is in {seen[group]!r} and in "
                    f"{part!r}. Join the parts, so that they are split by groups, or leave the groups out "
                    "(data.group_column, data.group_pattern)."
                )
            seen[group] = part


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{', '.join(shortened(repr(name)) for name in names[:_MAX_NAMED])}{more}"
