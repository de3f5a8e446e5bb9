"""A folder of images per class, with or without a folder for each part above them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from offramp.data.array_cache import listing_key
from offramp.data.image_files import IMAGE_SUFFIXES, EncodedImage, decode_images, in_chunks
from offramp.data.raw_data import READERS, ROLE_OF_WORD, RawDataset, RawPart, ReadOptions, Role
from offramp.errors import DataError

_MAX_FILE_BYTES = 256 * 2**20


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
        parts = tuple(_read_part(folder, role, options) for folder, role in part_folders.items())
        return RawDataset(path.resolve().name, parts)


READERS.add("image_folder", ImageFolderReader())


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        # For example lost+found on a mounted disk, which is not data of the user.
        return []


def _folders(path: Path) -> list[Path]:
    return [child for child in _children(path) if child.is_dir() and not child.name.startswith(".")]


def _is_part(folder: Path) -> bool:
    # A class may be called "test" too: a part is what holds folders.
    return folder.name.lower() in ROLE_OF_WORD and bool(_folders(folder))


def _images_below(folder: Path) -> Iterator[Path]:
    return filter(_is_image, folder.rglob("*"))


def _holds_image(folder: Path) -> bool:
    # Subfolders are not searched: that would take long at the root of a disk.
    return any(map(_is_image, _children(folder)))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read_part(folder: Path, role: Role, options: ReadOptions) -> RawPart:
    paths: list[Path] = []
    labels: list[str] = []
    for class_folder in _folders(folder):
        found = sorted(_images_below(class_folder))
        if not found:
            raise DataError(
                f"Every class must have images, but the folder {str(class_folder)!r} has none "
                f"({', '.join(sorted(IMAGE_SUFFIXES))}). Add images, or remove the folder."
            )
        paths += found
        labels += [class_folder.name] * len(found)
    source = str(folder)
    key = listing_key(folder, paths, options.image_size)

    def decode() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        encoded = (EncodedImage(repr(str(path)), _bytes_of(path)) for path in paths)
        with options.reporter.task(f"Decoding {folder.name}") as task:
            return decode_images(
                in_chunks(encoded), len(paths), source=source, image_size=options.image_size, task=task
            )

    return RawPart(role, source, options.cache.get(key, decode), np.array(labels))


def _bytes_of(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise DataError(f"Image {str(path)!r} must have at most {_MAX_FILE_BYTES} bytes. Scale it down or remove it.")
    return path.read_bytes()
