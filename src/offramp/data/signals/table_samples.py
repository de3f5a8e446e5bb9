"""Tables of numbers to samples: one row a sample, or one row a step of a series that an id column names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.images.pixel_units import NamedArray
from offramp.data.raw_data import RawPart, ReadOptions, Role
from offramp.data.sample_kinds import FloatKind, InputKind
from offramp.data.signals.float_arrays import float_samples
from offramp.data.signals.recordings import WindowSize, cut_windows
from offramp.data.signals.value_names import as_groups, as_labels
from offramp.errors import DataError
from offramp.jsonio import shortened

Columns = Mapping[str, NDArray[Any]]
"""Columns of a table by their names: numbers, or text."""

_LABEL_WORDS = ("label", "labels", "class", "target", "activity")
_WEAK_LABEL_WORD = "y"
_ID_WORDS = ("series_id", "sample_id", "recording_id", "series", "sample", "recording", "id")
_TIME_WORDS = ("time", "timestamp", "t", "step", "time_s", "dim_time")
_INDEX_WORDS = ("index", "row", "__index_level_0__")
_UNNAMED = re.compile(r"(Unnamed: \d+)?")
_NUMBERED = re.compile(r"(.*?)(\d+)")
_EXACT = 2.0**53
_FEWEST_STEPS = 8
_WHOLE = "(all rows)"
_MAX_NAMED = 6


@dataclass(frozen=True, eq=False)
class TablePart:
    """A table as a part of a data set.

    Attributes:
        part: The samples.
        kind: What they are.
        notes: Sentences on what was decided.
    """

    part: RawPart
    kind: InputKind
    notes: tuple[str, ...]


def part_of_table(role: Role, where: str, columns: Columns, options: ReadOptions) -> TablePart:
    """Make samples of a table.

    The label column has a usual name (``label``, ``class``, ``target``, ``y``) or that of the settings. If an id column
    says the same in several rows, these rows are the steps of one series; else each row is a sample. Columns of a row
    whose names are numbered (``t0``, ``t1``, ...) are the steps of a series, with one channel for each name before the
    numbers; other columns are the features of a vector.

    Args:
        role: Purpose of the part.
        where: Name of the table in messages.
        columns: The columns.
        options: Settings of the user, which may name columns.

    Returns:
        The samples.

    Raises:
        DataError: A column is missing, ambiguous, or holds no numbers; or labels change within a series.
    """
    label = _label_column(where, columns, options)
    group = _given_column(where, columns, options.group_column, "group_column")
    owner = _id_column(where, columns, label, options)
    others = [name for name in columns if name not in (label, group, owner)]
    if owner is None and options.window is not None:
        # Rows without an id are the steps of one recording, or of one for each group.
        owner = _WHOLE
        columns = {**columns, owner: np.zeros(len(columns[label])) if group is None else _groups(where, columns, group)}
    if owner is not None:
        return _long_form(role, where, columns, (label, group, owner), others, options)
    if options.kind is None:
        _check_no_recording(where, columns, others)
    counters = _row_numbers(columns, others)
    others = [name for name in others if name not in counters]
    _check_numbers(where, columns, others)
    kind, values, note = _rows(where, columns, others, options.kind)
    notes = [note]
    if counters:
        notes.append(
            f"{where}: columns that number the rows are no measurements, and are left out: {_listed(counters)}."
        )
    found = float_samples(NamedArray(where, values), kind)
    groups = None if group is None else _groups(where, columns, group)
    part = RawPart(role, where, found.samples, as_labels(columns[label]), groups=groups)
    return TablePart(part, kind, (*notes, *found.notes))


def _label_column(where: str, columns: Columns, options: ReadOptions) -> str:
    given = _given_column(where, columns, options.label_column, "label_column")
    if given is not None:
        return given
    found = [name for name in columns if name.strip().lower() in _LABEL_WORDS]
    # Beside a column that is called label, y is a coordinate.
    found = found or [name for name in columns if name.strip().lower() == _WEAK_LABEL_WORD]
    if len(found) != 1:
        problem = f"{_listed(found)} could be" if found else "no column is called label, class, target or y"
        raise DataError(
            f"{where} must have a column of labels, but {problem}. It has {_listed(list(columns))}. Set "
            "data.label_column."
        )
    return found[0]


def _given_column(where: str, columns: Columns, name: str | None, setting: str) -> str | None:
    if name is not None and name not in columns:
        raise DataError(
            f"{where} must have a column {name!r}, as data.{setting} says; it has {_listed(list(columns))}."
        )
    return name


def _id_column(where: str, columns: Columns, label: str, options: ReadOptions) -> str | None:
    """The column that says which series a row is a step of; a running number of rows is none."""
    given = _given_column(where, columns, options.id_column, "id_column")
    if given is not None:
        return given
    # With times, the rows are steps even where each series is a group of its own.
    timed = any(name.strip().lower() in _TIME_WORDS for name in columns)
    for word in _ID_WORDS:
        for name, values in columns.items():
            repeated = name.strip().lower() == word and len(np.unique(values)) < len(values)
            if repeated and name != label and (timed or name != options.group_column):
                return name
    return None


def _groups(where: str, columns: Columns, group: str) -> NDArray[np.str_]:
    return as_groups(columns[group], f"column {group!r} of {where}")


def _floats(where: str, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """A column in float64, unless that makes whole numbers equal that are not."""
    floats = values.astype(np.float64)
    if np.abs(floats).max(initial=0.0) >= _EXACT and len(np.unique(floats)) < len(np.unique(values)):
        raise DataError(
            f"Column {shortened(repr(name))} of {where} must keep its differences as floats, but its whole numbers are "
            "too large. Subtract an offset first, such as the first time of a series of times, or leave it out."
        )
    return floats


def _check_no_recording(where: str, columns: Columns, names: list[str]) -> None:
    """Refuse times that rise from row to row: the rows are the steps of a recording, and times tell their class."""
    for name in names:
        values = columns[name]
        timed = name.strip().lower() in _TIME_WORDS and values.dtype.kind in "iuf" and len(values) > 1
        if timed and (values[1:] > values[:-1]).all():
            raise DataError(
                f"Rows of {where} may be the steps of one recording, since column {name!r} rises from row to row. "
                "Set data.window to cut windows from it, or data.id_column if a column says of which series each row "
                f"is; set data.kind=vectors if {name!r} is a feature of samples, or leave it out."
            )


def _row_numbers(columns: Columns, names: list[str]) -> list[str]:
    """Columns that count or name the rows, such as the index that pandas writes: they tell nothing of a sample."""
    found = []
    for name in names:
        values = columns[name]
        counts = values.dtype.kind != "f" or bool((values == np.floor(values)).all())
        named = name.strip().lower() in (*_ID_WORDS, *_INDEX_WORDS) or _UNNAMED.fullmatch(name.strip()) is not None
        if named and counts and len(np.unique(values)) == len(values):
            found.append(name)
    return found


def _check_numbers(where: str, columns: Columns, names: list[str]) -> None:
    if not names:
        raise DataError(f"{where} must have columns of numbers beside the labels, but it has none.")
    texts = [name for name in names if columns[name].dtype.kind not in "iufb"]
    if texts:
        example = columns[texts[0]][0]
        raise DataError(
            f"Columns of {where} must be numbers, but {_listed(texts)} hold text such as {str(example)[:40]!r}. Leave "
            "them out, or say what they are: data.label_column, data.group_column, data.id_column."
        )


def _rows(
    where: str, columns: Columns, names: list[str], given: InputKind | None
) -> tuple[FloatKind, NDArray[np.float64], str]:
    """One sample a row: series where columns are numbered, else vectors."""
    values = np.column_stack([_floats(where, name, columns[name]) for name in names])
    channels = _numbered(names)
    if given == "vectors" or (given is None and channels is None):
        note = f"{where}: each row is taken as a vector of {len(names)} features; data.kind=series says otherwise."
        return "vectors", values, note if given is None else f"{where}: {len(names)} columns are features."
    if given not in (None, "series"):
        raise DataError(f"Rows of {where} must be series or vectors (data.kind), got {given}.")
    if channels is None:
        return "series", values[:, None], f"{where}: {len(names)} columns are the steps of series of one channel."
    series = np.stack([values[:, [names.index(name) for name in steps]] for steps in channels.values()], axis=1)
    named = _listed([name or "(no name)" for name in channels])
    note = f"{where}: numbered columns are {series.shape[2]} steps of series with the channels {named}."
    return "series", series, note


def _numbered(names: list[str]) -> dict[str, list[str]] | None:
    """Columns by what stands before their number, in the order of the numbers; None where they are not numbered so."""
    found: dict[str, dict[int, str]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(name.strip())
        if match is None:
            return None
        found.setdefault(match[1], {})[int(match[2])] = name
    lengths = {len(steps) for steps in found.values()}
    consecutive = all(max(steps) - min(steps) == len(steps) - 1 for steps in found.values())
    if len(lengths) != 1 or min(lengths) < _FEWEST_STEPS or not consecutive or len(names) != lengths.pop() * len(found):
        return None
    return {prefix: [steps[number] for number in sorted(steps)] for prefix, steps in found.items()}


def _long_form(
    role: Role,
    where: str,
    columns: Columns,
    special: tuple[str, str | None, str],
    others: list[str],
    options: ReadOptions,
) -> TablePart:
    label, group, owner = special
    if options.kind not in (None, "series"):
        raise DataError(f"{where} has several rows for one {owner!r}: these are series, not {options.kind}.")
    times = [name for name in others if name.strip().lower() in _TIME_WORDS]
    channels = [name for name in others if name not in times]
    _check_numbers(where, columns, channels)
    if options.id_column is None and owner != _WHOLE and not times and _numbered(channels) is not None:
        raise DataError(
            f"{where} has several rows for one {owner!r}, and columns that are numbered as the steps of a series, such "
            f"as {_listed(channels[:2])}. Say which it is: data.id_column={owner} where the rows of one {owner!r} are "
            f"one series, data.group_column={owner} where each row is a series."
        )
    if len(times) > 1:
        raise DataError(f"{where} must have one column of time at most, got {_listed(times)}. Leave out one.")
    _check_given(where, columns, owner, "the series of each row")
    owners, first, numbers = np.unique(columns[owner], return_index=True, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    if times:
        _check_numbers(where, columns, times)
        _check_given(where, columns, times[0], "the time of each row")
        in_rows, order = order, np.lexsort((columns[times[0]], numbers))
        _check_times(where, columns, (owner, times[0]), order, in_rows)
    lengths = np.bincount(numbers)
    steps = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values = np.full((len(owners), len(channels), int(lengths.max())), np.nan)
    for channel, name in enumerate(channels):
        column = _floats(where, name, columns[name])
        broken = np.flatnonzero(~np.isfinite(column))
        if broken.size:
            raise DataError(
                f"Column {shortened(name)!r} of {where} must be finite numbers, but row {broken[0] + 1} is not."
            )
        values[numbers[order], channel, steps] = column[order]
    _check_same(where, columns, [] if group is None else [group], owner, first[numbers])
    if options.window is None:
        _check_same(where, columns, [label], owner, first[numbers])
    found = float_samples(NamedArray(where, values), "series", NamedArray(where, lengths))
    groups = None if group is None else _groups(where, columns, group)[first]
    by = f"ordered by {times[0]!r}" if times else "in the order of the rows"
    note = f"{where}: rows of one {owner!r} are the steps of a series, {by}; its channels are {_listed(channels)}."
    labels = as_labels(columns[label])
    if options.window is None:
        return TablePart(RawPart(role, where, found.samples, labels[first], groups=groups), "series", (note,))
    each = np.zeros((len(owners), values.shape[2]), dtype=labels.dtype)
    each[numbers[order], steps] = labels[order]
    size = WindowSize(options.window, options.hop or max(options.window // 2, 1))
    cut = cut_windows(found.samples, each, size, role=role, where=where, groups=groups)
    part = RawPart(role, where, cut.samples, cut.labels, groups=cut.groups)
    return TablePart(part, "series", (note, *cut.notes))


def _check_given(where: str, columns: Columns, name: str, what: str) -> None:
    values = columns[name]
    lost = np.flatnonzero(np.isnan(values) if values.dtype.kind == "f" else values.astype(np.str_) == "")
    if lost.size:
        raise DataError(
            f"Column {name!r} of {where} must say {what}, but it is empty in row {lost[0] + 1} ({lost.size} such rows "
            "in all). Fill it in, or leave these rows out."
        )


def _check_times(
    where: str, columns: Columns, names: tuple[str, str], order: NDArray[np.intp], in_rows: NDArray[np.intp]
) -> None:
    """Refuse times that stand twice in a series whose rows they put into another order: they are of two recordings."""
    owner, time = (columns[name] for name in names)
    twice = (owner[order][1:] == owner[order][:-1]) & (time[order][1:] == time[order][:-1])
    moved = np.unique(owner[order[order != in_rows]])
    mixed = np.flatnonzero(twice & np.isin(owner[order][1:], moved))
    if mixed.size:
        row = order[mixed[0]]
        raise DataError(
            f"Times in column {names[1]!r} of {where} must differ within a series, but series "
            f"{shortened(repr(str(owner[row])))} has {shortened(str(time[row]))} several times, in rows that are not "
            f"in order: column {names[0]!r} may name several recordings alike. Give each a name of its own."
        )


def _check_same(where: str, columns: Columns, names: list[str], owner: str, first: NDArray[np.intp]) -> None:
    """Check that columns are the same in all rows of one series; ``first`` is the first row of each row's series."""
    for name in names:
        changed = np.flatnonzero(columns[name] != columns[name][first])
        if changed.size:
            raise DataError(
                f"Column {name!r} of {where} must be the same in all rows of one series, but series "
                f"{shortened(repr(str(columns[owner][changed[0]])))} has several. To cut windows from series whose "
                "labels change in time, set data.window."
            )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{', '.join(shortened(repr(name)) for name in names[:_MAX_NAMED])}{more}"
