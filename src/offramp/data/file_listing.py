"""Files of a folder at any depth, without hidden files and without what editors and systems leave behind."""

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

# Folders of macOS archives, Synology, Windows, ext file systems and Python; thumbnails and folder settings of Windows.
_LEFT_BY_SYSTEMS = frozenset(
    (
        "__macosx",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "__pycache__",
        "thumbs.db",
        "desktop.ini",
    )
)
_MAX_NAMED = 5


@dataclass(frozen=True)
class FileListing:
    """The files of a folder, at any depth.

    Attributes:
        files: Files with one of the wanted suffixes, sorted.
        leftovers: Files with one of the wanted suffixes that are hidden, or in a hidden folder, or left by a system.
        other_suffixes: Number of visible files with another suffix, by suffix.
    """

    files: tuple[Path, ...] = ()
    leftovers: tuple[Path, ...] = ()
    other_suffixes: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "FileListing") -> "FileListing":
        """The files of two folders together.

        Args:
            other: The other listing.

        Returns:
            The files of both, those of this one first.
        """
        return FileListing(
            self.files + other.files, self.leftovers + other.leftovers, self.other_suffixes + other.other_suffixes
        )

    def notes(self, root: Path, kind: str) -> tuple[str, ...]:
        """Say what is not read.

        Args:
            root: Folder of the data set, for the message.
            kind: What the wanted files are, such as ``images``.

        Returns:
            One sentence for each sort of ignored files.
        """
        notes = []
        if self.leftovers:
            example = os.path.relpath(self.leftovers[0], root)
            notes.append(
                f"Ignored in {str(root)!r}: {len(self.leftovers)} {kind} that are hidden, in hidden folders or left by "
                f"the system, such as {example!r}."
            )
        if self.other_suffixes:
            named = ", ".join(f"{count} {suffix}" for suffix, count in self.other_suffixes.most_common(_MAX_NAMED))
            more = " and others" if len(self.other_suffixes) > _MAX_NAMED else ""
            notes.append(f"Ignored in {str(root)!r}: files that are no {kind} offramp reads ({named}{more}).")
        return tuple(notes)


def is_leftover(name: str) -> bool:
    """Check whether a file or folder is hidden or left by an editor or a system.

    Args:
        name: Its name, without a path.

    Returns:
        True for names such as ``.ipynb_checkpoints``, ``._1.png``, ``__MACOSX`` and ``Thumbs.db``.
    """
    return name.startswith((".", "~$")) or name.lower() in _LEFT_BY_SYSTEMS


def list_files(folder: Path, suffixes: Collection[str]) -> FileListing:
    """List the files of a folder, at any depth.

    Links to folders are not followed. The name of the folder itself does not matter.

    Args:
        folder: The folder.
        suffixes: The wanted suffixes in lower case, such as ``.png``.

    Returns:
        The files.
    """
    files: list[Path] = []
    leftovers: list[Path] = []
    others: Counter[str] = Counter()
    for parent, _, names in os.walk(folder):
        inside = Path(parent).relative_to(folder)
        hidden = any(map(is_leftover, inside.parts))
        for name in names:
            path = Path(parent, name)
            leftover = hidden or is_leftover(name)
            if path.suffix.lower() not in suffixes:
                if not leftover:
                    others[path.suffix.lower() or "without suffix"] += 1
            elif path.is_file():
                (leftovers if leftover else files).append(path)
    return FileListing(tuple(sorted(files)), tuple(sorted(leftovers)), others)
