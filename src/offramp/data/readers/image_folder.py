"""A folder of images per class, with or without a folder for each part above them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.data.array_cache import listing_key
from offramp.data.class_folders import FileKind, PartListing, holds_class_folders, list_class_folders, notes_on_ignored
from offramp.data.images.image_decoding import read_image_file
from offramp.data.images.image_files import IMAGE_SUFFIXES, decode_images, in_chunks
from offramp.data.raw_data import READERS, RawDataset, RawPart, ReadOptions
from offramp.data.stored_samples import StoredSamples

_IMAGES = FileKind("images", IMAGE_SUFFIXES)


class ImageFolderReader:
    """Reads a folder of images per class."""

    description = "a folder of images per class (cat/1.png, dog/2.png, ...), if wanted below train/, validation/, test/"

    def claims(self, path: Path) -> bool:
        return holds_class_folders(path, _IMAGES)

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        listings = list_class_folders(path, _IMAGES)
        parts = tuple(_read_part(listing, options) for listing in listings)
        return RawDataset(path.resolve().name, parts, notes=notes_on_ignored(path, listings, _IMAGES))


READERS.add("image_folder", ImageFolderReader())


def _read_part(listing: PartListing, options: ReadOptions) -> RawPart:
    paths = listing.files
    source = str(listing.folder)
    key = listing_key(listing.folder, paths, options.image_size)

    def decode() -> NDArray[np.uint8] | StoredSamples:
        encoded = map(read_image_file, paths)
        with options.reporter.task(f"Decoding {listing.folder.name}") as task:
            return decode_images(
                in_chunks(encoded),
                len(paths),
                source=source,
                image_size=options.image_size,
                task=task,
                place=options.cache.place,
            )

    names = tuple(path.name for path in paths)
    return RawPart(listing.role, source, options.cache.get_bytes(key, decode), np.array(listing.labels), names)
