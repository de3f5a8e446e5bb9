"""A folder of files per class, with or without a folder for each part above them: shared by images and sounds."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from offramp.data.file_listing import FileListing, is_leftover, list_files
from offramp.data.raw_data import ROLE_OF_WORD, Role
from offramp.errors import DataError


@dataclass(frozen=True)
class FileKind:
    """The wanted files.

    Attributes:
        name: What they are, in the plural, such as ``images``.
        suffixes: Their suffixes in lower case, such as ``.png``.
    """

    name: str
    suffixes: Collection[str]

    def fits(self, path: Path) -> bool:
        """Check whether a path is such a file, and not hidden.

        Args:
            path: Any path.

        Returns:
            True for a file with one of the suffixes.
        """
        return path.suffix.lower() in self.suffixes and not is_leftover(path.name) and path.is_file()


@dataclass(frozen=True)
class PartListing:
    """The files of one part.

    Attributes:
        role: Purpose of the part.
        folder: Its folder.
        classes: The files of each class by its name.
        hidden: Files in hidden folders beside the class folders.
        beside: Files beside the class folders, which have no class.
    """

    role: Role
    folder: Path
    classes: dict[str, FileListing]
    hidden: FileListing
    beside: tuple[Path, ...]

    @property
    def files(self) -> list[Path]:
        """All files, class by class."""
        return [path for listing in self.classes.values() for path in listing.files]

    @property
    def labels(self) -> list[str]:
        """The class name of each file."""
        return [name for name, listing in self.classes.items() for _ in listing.files]


def holds_class_folders(path: Path, kind: FileKind) -> bool:
    """Check whether a folder, or a folder in it, has folders with files of a kind directly in them.

    Deeper folders are not searched: that would take long at the root of a disk.

    Args:
        path: A file or folder.
        kind: The wanted files.

    Returns:
        True where such a folder is found.
    """
    if not path.is_dir():
        return False
    return any(
        any(kind.fits(file) for file in children_of(child))
        for folder in (path, *visible_folders(path))
        for child in visible_folders(folder)
    )


def list_class_folders(path: Path, kind: FileKind) -> tuple[PartListing, ...]:
    """List the files of each class of each part.

    Args:
        path: The folder of the data set.
        kind: The wanted files.

    Returns:
        The parts; one to train on where there are no folders of parts.

    Raises:
        DataError: There are class folders beside those of parts, or a class has no files.
    """
    folders = visible_folders(path)
    # A class may be called "test" too: a part is what holds folders.
    parts = {c: ROLE_OF_WORD[c.name.lower()] for c in folders if c.name.lower() in ROLE_OF_WORD and visible_folders(c)}
    if parts and len(parts) < len(folders):
        others = ", ".join(child.name for child in folders if child not in parts)
        raise DataError(
            f"{str(path)!r} must hold either parts (train, validation, test) or classes, but beside "
            f"{', '.join(child.name for child in parts)} there is {others}. Move it elsewhere."
        )
    found: dict[Path, Role] = parts or {path: "train"}
    return tuple(_list_classes(folder, role, kind) for folder, role in found.items())


def notes_on_ignored(root: Path, parts: Collection[PartListing], kind: FileKind) -> tuple[str, ...]:
    """Say what is in a folder and not read.

    Args:
        root: Folder of the data set.
        parts: Its parts.
        kind: The wanted files.

    Returns:
        One sentence for each sort of ignored files.
    """
    total = FileListing()
    for part in parts:
        for listing in (*part.classes.values(), part.hidden):
            total += listing
    notes = total.notes(root, kind.name)
    beside = [path for part in parts for path in part.beside]
    if beside:
        notes += (
            f"Ignored in {str(root)!r}: {len(beside)} {kind.name} beside the class folders, which have no class, such "
            f"as {beside[0].name!r}.",
        )
    return notes


def children_of(folder: Path) -> list[Path]:
    """List what is in a folder.

    Args:
        folder: The folder.

    Returns:
        Its files and folders, sorted; none where it may not be read, such as lost+found on a mounted disk.
    """
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        return []


def visible_folders(path: Path) -> list[Path]:
    """List the folders in a folder.

    Args:
        path: The folder.

    Returns:
        The folders that are neither hidden nor left by a system, sorted.
    """
    return [child for child in children_of(path) if child.is_dir() and not is_leftover(child.name)]


def _list_classes(folder: Path, role: Role, kind: FileKind) -> PartListing:
    classes = {}
    for class_folder in visible_folders(folder):
        listing = list_files(class_folder, kind.suffixes)
        if not listing.files:
            raise DataError(
                f"Every class must have {kind.name}, but the folder {str(class_folder)!r} has none "
                f"({', '.join(sorted(kind.suffixes))}). Add {kind.name}, or remove the folder."
            )
        classes[class_folder.name] = listing
    children = children_of(folder)
    hidden = [list_files(child, kind.suffixes) for child in children if child.is_dir() and is_leftover(child.name)]
    leftovers = tuple(path for listing in hidden for path in (*listing.files, *listing.leftovers))
    beside = tuple(child for child in children if kind.fits(child))
    return PartListing(role, folder, classes, FileListing(leftovers=leftovers), beside)
