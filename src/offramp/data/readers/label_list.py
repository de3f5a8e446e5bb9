"""Lists of files and labels, as the folders of Hugging Face have them: metadata.csv or metadata.jsonl."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from offramp.data.class_folders import FileKind, visible_folders
from offramp.data.raw_data import ROLE_OF_WORD, Role
from offramp.errors import DataError
from offramp.files.safe_files import read_file
from offramp.jsonio import shortened

LABEL_LISTS = ("metadata.csv", "metadata.jsonl")
_FILE_COLUMN = "file_name"
_LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "y")
_PART_COLUMNS = ("split", "part", "fold", "subset")
_MAX_LIST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class LabelledFiles:
    """Files of a part with their labels.

    Attributes:
        folder: Folder of the list.
        paths: The files, in the order of the list.
        labels: Their labels as text.
        groups: Their groups; empty where no column of groups is named.
    """

    folder: Path
    paths: list[Path]
    labels: list[str]
    groups: list[str]


def label_lists(root: Path) -> dict[Path, Role]:
    """Find the lists of a folder.

    Args:
        root: The folder.

    Returns:
        The list of each part: that of the folder itself for training, or those of folders such as train/ and test/.
    """
    own = next((root / name for name in LABEL_LISTS if (root / name).is_file()), None)
    if own is not None:
        return {own: "train"}
    folders = [folder for folder in visible_folders(root) if folder.name.lower() in ROLE_OF_WORD]
    lists = {
        folder: next((folder / name for name in LABEL_LISTS if (folder / name).is_file()), None) for folder in folders
    }
    return {path: ROLE_OF_WORD[folder.name.lower()] for folder, path in lists.items() if path is not None}


def read_label_list(
    root: Path, label_column: str | None, group_column: str | None, kind: FileKind
) -> dict[Role, LabelledFiles]:
    """Read the lists of a folder.

    In a list for the whole folder, the files may lie in folders such as train/ and test/, which are then the parts.

    Args:
        root: The folder.
        label_column: Column of the labels; None: one with a usual name, or the only one beside file_name.
        group_column: Column of the groups; None: there are none.
        kind: The wanted files.

    Returns:
        The files of each part.

    Raises:
        DataError: A list is damaged, lacks a column, or names a file that is not there or outside.
    """
    found: dict[Role, LabelledFiles] = {}
    for path, role in label_lists(root).items():
        rows = list(_rows(path))
        if not rows:
            raise DataError(f"{str(path)!r} must name sounds with their labels, but it is empty.")
        column = _label_column(path, rows[0], label_column)
        _check_rows(path, rows)
        for number, row in enumerate(rows, start=1):
            name, label = row.get(_FILE_COLUMN), row.get(column)
            if not name or label in (None, ""):
                raise DataError(
                    f"Row {number} of {str(path)!r} must have a file_name and a {shortened(column)}, but one is empty."
                )
            file = _file(path, name, kind)
            first = PurePosixPath(name).parts[0].lower()
            own = ROLE_OF_WORD.get(first, role) if path.parent == root else role
            listing = found.setdefault(own, LabelledFiles(path.parent, [], [], []))
            listing.paths.append(file)
            listing.labels.append(str(label))
            if group_column is not None:
                listing.groups.append(_group(path, number, row, group_column))
    return found


def _check_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Each file has one row, of as many values as there are columns; no column names the parts of files."""
    parts = [name for name in rows[0] if isinstance(name, str) and name.lower() in _PART_COLUMNS]
    if parts:
        raise DataError(
            f"Column {shortened(repr(parts[0]))} of {str(path)!r} seems to name the part of each file, which is not "
            "read. Put files and lists into folders such as train and test, or remove the column."
        )
    first: dict[PurePosixPath, int] = {}
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise DataError(
                f"Row {number} of {str(path)!r} has more values than columns: a text with a comma lacks quotes."
            )
        file = PurePosixPath(row.get(_FILE_COLUMN) or "")
        if first.setdefault(file, number) != number:
            raise DataError(
                f"{str(path)!r} must name each file once, but {shortened(repr(str(file)))} is in rows "
                f"{first[file]} and {number}. Remove one."
            )


def _group(path: Path, number: int, row: dict[str, str], column: str) -> str:
    group = row.get(column)
    if not group:
        raise DataError(f"Row {number} of {str(path)!r} must have a group in column {column!r} (data.group_column).")
    return group


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        text = read_file(path, limit=_MAX_LIST_BYTES).decode("utf-8-sig")
        if path.suffix == ".csv":
            for read in csv.DictReader(io.StringIO(text), strict=True):
                # Too long rows have a list, too short ones None.
                yield {name: value.strip() if isinstance(value, str) else value for name, value in read.items()}
            return
        for line in text.splitlines():
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("a line is no object")
                if any(isinstance(row.get(name), list | dict) for name in (_FILE_COLUMN, *_LABEL_COLUMNS)):
                    raise ValueError("a label or name of a file is a list or an object")
                yield {str(name): "" if value is None else str(value).strip() for name, value in row.items()}
    except PermissionError:
        raise
    except OSError as exc:
        raise DataError(f"{str(path)!r} cannot be read: {exc.strerror or exc}.") from exc
    except (ValueError, csv.Error, RecursionError) as exc:
        kind = "a table with commas" if path.suffix == ".csv" else "one JSON object a line"
        raise DataError(f"{str(path)!r} must be {kind} in UTF-8, but: {shortened(str(exc))}.") from exc


def _label_column(path: Path, row: dict[str, str], given: str | None) -> str:
    names = [name for name in row if isinstance(name, str)]
    if _FILE_COLUMN not in names:
        raise DataError(
            f"{str(path)!r} must have a column {_FILE_COLUMN}, got {shortened(', '.join(names)) or 'none'}."
        )
    others = [name for name in names if name != _FILE_COLUMN]
    usual = [name for name in others if name.lower() in _LABEL_COLUMNS]
    fitting = [given] if given is not None else usual if usual else others
    if len(fitting) != 1 or fitting[0] not in others:
        raise DataError(
            f"{str(path)!r} must have one column of labels, got {shortened(', '.join(others)) or 'none'}. Name it with "
            "data.label_column."
        )
    return fitting[0]


def _file(path: Path, name: str, kind: FileKind) -> Path:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts or "\0" in name:
        raise DataError(f"{str(path)!r} must name files in its own folder, got {shortened(repr(name))}.")
    file = path.parent / inside
    try:
        there = kind.fits(file)
    except (OSError, ValueError):  # a name that the file system does not take
        there = False
    if not there:
        raise DataError(
            f"{str(path)!r} names {shortened(repr(name))}, but there is no such file of {kind.name} "
            f"({', '.join(sorted(kind.suffixes))})."
        )
    return file
