"""What offramp writes into a run folder, by name. Nothing else in a run folder is ever removed."""

import re
from pathlib import Path

from offramp.errors import RunError
from offramp.files.safe_files import irregular_entries, kind_of, remove
from offramp.records.folder_lock import LOCK_FILE
from offramp.records.record_database import DATABASE_FILE, JOURNAL_FILE
from offramp.records.run_record import SETTINGS_FILE

START_FILES = (LOCK_FILE, SETTINGS_FILE, DATABASE_FILE, JOURNAL_FILE)
"""Files that a start leaves which was killed before its record was created; they hold no results."""
_UNFINISHED = r"\.[^/]+\.(part|old)"
_PARTS = re.compile(rf"{_UNFINISHED}|\.workers\.part")
_BUNDLE_FILE = r"manifest\.json|LICENCE\.txt|[\w-]+\.onnx"
_MOST_NAMED = 10


def foreign_entries(folder: Path, targets: tuple[str, ...]) -> list[str]:
    """Find the files in a run folder that offramp has not written.

    Args:
        folder: The run folder.
        targets: Names of the deployment targets of the run; each has a folder for itself in that of a network.

    Returns:
        Their paths, relative to the folder, sorted; links, pipes and devices are among them.

    Raises:
        OSError: The folder cannot be read.
    """
    top = "|".join(re.escape(name) for name in (*START_FILES, "supernet.safetensors", "summary.json", "report.html"))
    others = "|".join(re.escape(name) for name in targets if name not in ("", ".", "..", "onnx", "bundle"))
    ours = re.compile(
        rf"(?:{top})"
        rf"|(?:[^/]+/)*{_UNFINISHED}"  # a file that was not finished
        rf"|{_UNFINISHED}/.*|chosen/[^/]+/{_UNFINISHED}/.*"  # a folder that was not finished
        r"|tensorboard/events\.out\.tfevents\.[^/]+"
        r"|chosen/[^/]+/(?:weights\.safetensors|network\.json)"
        rf"|chosen/[^/]+/(?:bundle|int8)/(?:{_BUNDLE_FILE})" + (rf"|chosen/[^/]+/(?:{others})/.*" if others else ""),
        re.DOTALL,
    )
    files = (str(path.relative_to(folder)) for path in folder.rglob("*") if kind_of(path) == "a file")
    return sorted([*(name for name in files if not ours.fullmatch(name)), *irregular_entries(folder)])


def remove_run(folder: Path, targets: tuple[str, ...]) -> None:
    """Remove everything in a run folder except its lock.

    Args:
        folder: The run folder, locked by this process.
        targets: Names of the deployment targets of the run.

    Raises:
        RunError: There is something in it that offramp has not written; nothing is removed then.
        OSError: Something cannot be removed.
    """
    foreign = foreign_entries(folder, targets)
    if foreign:
        more = "" if len(foreign) <= _MOST_NAMED else f" and {len(foreign) - _MOST_NAMED} more"
        raise RunError(
            f"Run folder {str(folder)!r} must hold only what offramp wrote before it is replaced, but it also holds "
            f"{', '.join(map(repr, foreign[:_MOST_NAMED]))}{more}. Move that away, or choose another folder with --run."
        )
    for entry in folder.iterdir():
        if entry.name != LOCK_FILE:
            remove(entry)


def remove_unfinished(folder: Path) -> None:
    """Remove what a kill has left of files and folders that were being written.

    Args:
        folder: The run folder, locked by this process.

    Raises:
        RunError: There is a link, a pipe or a device in it, which offramp never makes.
        OSError: Something cannot be removed.
    """
    for path in sorted(folder.rglob(".*")):
        if _PARTS.fullmatch(path.name):
            remove(path)
    irregular = irregular_entries(folder)
    if irregular:
        raise RunError(
            f"Run folder {str(folder)!r} must hold only files and folders, but it also holds "
            f"{', '.join(map(repr, irregular[:_MOST_NAMED]))}. Remove that, or start a new run."
        )
