"""A folder of images per class, with or without a folder for each part above them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offramp.data.array_cache import listing_key
from offramp.data.file_listing import FileListing, is_leftover, list_files
from offramp.data.images.image_decoding import read_image_file
from offramp.data.images.image_files import IMAGE_SUFFIXES, decode_images, in_chunks
from offramp.data.raw_data import READERS, ROLE_OF_WORD, RawDataset, RawPart, ReadOptions, Role
from offramp.errors import DataError


class ImageFolderReader:
    """Reads a folder of images per class."""

    description = "a folder of images per class (cat/1.png, dog/2.png, ...), if wanted below train/, validation/, test/"

    def claims(self, path: Path) -> bool:
        if not path.is_dir():
            return False
        return any(_holds_image(child) for folder in (path, *_folders(path)) for child in _folders(folder))

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        part_folders = {child: ROLE_OF_WORD[child.name.lower()] for child in _folders(path) if _is_part(child)}
        if part_folders and len(part_folders) < len(_folders(path)):
            others = ", ".join(child.name for child in _folders(path) if child not in part_folders)
            raise DataError(
                f"{str(path)!r} must hold either parts (train, validation, test) or classes, but beside "
                f"{', '.join(child.name for child in part_folders)} there is {others}. Move it elsewhere."
            )
        if not part_folders:
            part_folders = {path: "train"}
        listings = {folder: _list_classes(folder) for folder in part_folders}
        parts = tuple(_read_part(listings[folder], role, options) for folder, role in part_folders.items())
        return RawDataset(path.resolve().name, parts, notes=_notes(path, list(listings.values())))


READERS.add("image_folder", ImageFolderReader())


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        # For example lost+found on a mounted disk, which is not data of the user.
        return []


def _folders(path: Path) -> list[Path]:
    return [child for child in _children(path) if child.is_dir() and not is_leftover(child.name)]


def _is_part(folder: Path) -> bool:
    # A class may be called "test" too: a part is what holds folders.
    return folder.name.lower() in ROLE_OF_WORD and bool(_folders(folder))


def _holds_image(folder: Path) -> bool:
    # Subfolders are not searched: that would take long at the root of a disk.
    return any(_is_image(child) and not is_leftover(child.name) for child in _children(folder))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


@dataclass(frozen=True)
class _PartListing:
    """The images of one part: those of each class by its name, and what lies beside the class folders."""

    folder: Path
    classes: dict[str, FileListing]
    hidden: FileListing
    beside: tuple[Path, ...]


def _list_classes(folder: Path) -> _PartListing:
    classes = {}
    for class_folder in _folders(folder):
        listing = list_files(class_folder, IMAGE_SUFFIXES)
        if not listing.files:
            raise DataError(
                f"Every class must have images, but the folder {str(class_folder)!r} has none "
                f"({', '.join(sorted(IMAGE_SUFFIXES))}). Add images, or remove the folder."
            )
        classes[class_folder.name] = listing
    children = _children(folder)
    hidden = [list_files(child, IMAGE_SUFFIXES) for child in children if child.is_dir() and is_leftover(child.name)]
    beside = tuple(child for child in children if _is_image(child) and not is_leftover(child.name))
    return _PartListing(folder, classes, FileListing(leftovers=_all_files(hidden)), beside)


def _all_files(listings: list[FileListing]) -> tuple[Path, ...]:
    return tuple(path for listing in listings for path in (*listing.files, *listing.leftovers))


def _notes(root: Path, parts: list[_PartListing]) -> tuple[str, ...]:
    """What is in the folder and not read."""
    total = FileListing()
    for part in parts:
        for listing in (*part.classes.values(), part.hidden):
            total += listing
    notes = total.notes(root, "images")
    beside = [path for part in parts for path in part.beside]
    if beside:
        notes += (
            f"Ignored in {str(root)!r}: {len(beside)} images beside the class folders, which have no class, such as "
            f"{beside[0].name!r}.",
        )
    return notes


def _read_part(listing: _PartListing, role: Role, options: ReadOptions) -> RawPart:
    paths = [path for files in listing.classes.values() for path in files.files]
    labels = [name for name, files in listing.classes.items() for _ in files.files]
    source = str(listing.folder)
    key = listing_key(listing.folder, paths, options.image_size)

    def decode() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        encoded = map(read_image_file, paths)
        with options.reporter.task(f"Decoding {listing.folder.name}") as task:
            return decode_images(
                in_chunks(encoded), len(paths), source=source, image_size=options.image_size, task=task
            )

    names = tuple(path.name for path in paths)
    return RawPart(role, source, options.cache.get(key, decode), np.array(labels), names)
