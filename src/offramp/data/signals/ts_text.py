"""The text format ``.ts`` of the UCR and UEA archives: a header of ``@`` lines, then one series a line.

Format: a line is ``1,2,3:4,5,6:label``: the values of each channel, channels separated by colons, the label last. ``?``
is a missing value. Source: the description of the format by the archive (timeseriesclassification.com).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.data.signals.csv_table import MAX_TABLE_BYTES
from offramp.errors import DataError
from offramp.files.safe_files import read_file
from offramp.jsonio import shortened

_MOST_VALUES = 2**31


@dataclass(frozen=True, eq=False)
class TsSeries:
    """Series of one file.

    Attributes:
        values: (samples, channels, time), NaN where values are missing and at the end of short series.
        labels: Class names, (samples,).
    """

    values: NDArray[np.float64]
    labels: NDArray[np.str_]


def parse_ts(path: Path) -> TsSeries:
    """Read a file.

    Args:
        path: A ``.ts`` file.

    Returns:
        Its series.

    Raises:
        DataError: The file is no such text, has time stamps, or series that differ in their channels.
        OSError: The file cannot be opened.
    """
    where = repr(str(path))
    try:
        lines = read_file(path, limit=MAX_TABLE_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as exc:
        raise DataError(f"{where} must be text in UTF-8, but byte {exc.start} is not.") from exc
    start = next((number for number, line in enumerate(lines) if line.strip().lower() == "@data"), None)
    if start is None:
        raise DataError(
            f"{where} must have a line @data before its series, but it has none: it is cut short, or no .ts file."
        )
    header = _header(lines[:start])
    if header.get("timestamps", "false") == "true":
        raise DataError(f"{where} has time stamps (@timeStamps true), which are not read. Save the values alone.")
    if header.get("classlabel", "true").split()[0:1] == ["false"] or header.get("targetlabel", "").startswith("true"):
        raise DataError(f"{where} must have class labels (@classLabel true ...), but it says that it has none.")
    numbered = enumerate(lines[start + 1 :], start + 2)
    rows = [(number, line) for number, line in numbered if line.strip() and not line.lstrip().startswith("#")]
    if not rows:
        raise DataError(f"{where} must hold series after @data, but it has none.")
    series, labels = [], []
    for number, line in rows:
        *channels, label = line.strip().split(":")
        if not channels or not label.strip():
            raise DataError(f"Line {number} of {where} must be values and a label, separated by colons, but it is not.")
        series.append([_values(text, number, where) for text in channels])
        labels.append(label.strip())
    _check_labels(header, labels, where)
    return TsSeries(_array(series, [number for number, _ in rows], where), np.array(labels))


def _header(lines: list[str]) -> dict[str, str]:
    entries = (line.strip()[1:].partition(" ") for line in lines if line.strip().startswith("@"))
    return {name.lower(): value.strip().lower() for name, _, value in entries}


def _values(text: str, number: int, where: str) -> NDArray[np.float64]:
    try:
        return np.array([np.nan if value.strip() == "?" else float(value) for value in text.split(",")])
    except ValueError as exc:
        raise DataError(f"Line {number} of {where} must hold numbers, but it does not: {str(exc)[:80]}.") from exc


def _check_labels(header: dict[str, str], labels: list[str], where: str) -> None:
    known = header.get("classlabel", "").split()[1:]
    unknown = sorted({label for label in labels if label.lower() not in known}) if known else []
    if unknown:
        raise DataError(
            f"Labels of {where} must be those of its line @classLabel, but {shortened(unknown[0])!r} is not among them."
        )


def _array(series: list[list[NDArray[np.float64]]], numbers: list[int], where: str) -> NDArray[np.float64]:
    channels = len(series[0])
    longest = max(len(values) for own in series for values in own)
    if len(series) * channels * longest > _MOST_VALUES:
        raise DataError(f"{where} must hold at most {_MOST_VALUES} values once its series have one length.")
    array = np.full((len(series), channels, longest), np.nan)
    for row, own in enumerate(series):
        lengths = {len(values) for values in own}
        if len(own) != channels or len(lengths) > 1:
            raise DataError(
                f"Line {numbers[row]} of {where} must have {channels} channels of one length, got {len(own)} with "
                f"{' and '.join(map(str, sorted(lengths)))} values."
            )
        array[row, :, : len(own[0])] = np.stack(own)
    return array
