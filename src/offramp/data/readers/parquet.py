"""Parquet files: encoded images in one column and labels in another, or tables of numbers; one or more files a part."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.array_cache import content_key, derived_key
from offramp.data.file_listing import is_leftover
from offramp.data.images.image_decoding import EncodedImage
from offramp.data.images.image_files import decode_images
from offramp.data.raw_data import READERS, ROLE_OF_WORD, RawDataset, RawPart, ReadOptions, Role
from offramp.data.readers.parquet_columns import Columns, find_columns, is_image
from offramp.data.readers.sound_clips import SoundPart, sound_dataset
from offramp.data.signals.parquet_table import read_parquet_table
from offramp.data.signals.table_parts import dataset_of_tables
from offramp.data.sound.parquet_sounds import ParquetSounds, holds_sounds
from offramp.data.statistics import fingerprint_of
from offramp.data.stored_samples import SampleWriter, StoragePlace, StoredSamples
from offramp.errors import DataError

_ROWS_AT_ONCE = 512
_PART_NAME = re.compile(rf"({'|'.join(sorted(ROLE_OF_WORD, key=len, reverse=True))})(?![a-z])", re.IGNORECASE)


class ParquetReader:
    """Reads parquet files of Hugging Face with images or sounds, and tables of series or vectors."""

    description = (
        "parquet of Hugging Face images or sounds, or of numbers: a file, or a folder with train*.parquet, "
        "test*.parquet"
    )

    def claims(self, path: Path) -> bool:
        return path.suffix.lower() == ".parquet" if path.is_file() else bool(_files_below(path))

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        files: dict[Role, list[Path]] = {"train": [path]} if path.is_file() else _files_by_role(path)
        _check_installed(path)
        every = [file for group in files.values() for file in group]
        if options.image_column is None and not any(map(_has_images, every)):
            return _of_tables(path, files, options)
        columns = {file: _columns_of(file, options) for group in files.values() for file in group}
        if any(holds_sounds(file, columns[file].image) for file in files["train"][:1]):
            sounds = [_sound_part(role, group, columns) for role, group in files.items()]
            return sound_dataset(
                path.resolve().stem, sounds, options, class_names=columns[files["train"][0]].class_names
            )
        parts = tuple(_read_part(role, group, columns, options) for role, group in files.items())
        return RawDataset(path.resolve().stem, parts, columns[files["train"][0]].class_names)


READERS.add("parquet", ParquetReader())


def _files_below(path: Path) -> list[Path]:
    return _visible(path, "*.parquet") or _visible(path, "*/*.parquet")


def _visible(path: Path, pattern: str) -> list[Path]:
    return sorted(file for file in path.glob(pattern) if not any(map(is_leftover, file.relative_to(path).parts)))


def _files_by_role(path: Path) -> dict[Role, list[Path]]:
    files = _files_below(path)
    folders = sorted({file.parent for file in files})
    if len(folders) > 1:
        named = ", ".join(repr(str(folder)) for folder in folders)
        raise DataError(
            f"{str(path)!r} must hold one data set, but there are parquet files in {named}. Name one of them."
        )
    groups: dict[Role, list[Path]] = {}
    for file in files:
        match = _PART_NAME.match(file.name)
        if match:
            groups.setdefault(ROLE_OF_WORD[match[1].lower()], []).append(file)
    if not groups:
        groups["train"] = files
    if "train" not in groups:
        found = ", ".join(file.name for file in files)
        raise DataError(
            f"{str(path)!r} must hold train*.parquet, found only {found}. Add it, or name the one file to use."
        )
    return groups


def _check_installed(path: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as exc:
        raise DataError(
            f'{str(path)!r} is a parquet file, and reading it needs pyarrow: pip install "offramp[parquet]".'
        ) from exc


@contextmanager
def _parquet_errors(file: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except PermissionError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise DataError(
            f"{str(file)!r} cannot be read ({reason}): it is damaged, cut short or no parquet file. Download it again."
        ) from exc


def _has_images(file: Path) -> bool:
    import pyarrow.parquet

    with _parquet_errors(file), pyarrow.parquet.ParquetFile(file) as parquet:
        return any(is_image(field.type) for field in parquet.schema_arrow)


def _of_tables(path: Path, files: dict[Role, list[Path]], options: ReadOptions) -> RawDataset:
    tables = []
    for role, group in files.items():
        with _parquet_errors(group[0]):
            tables.append((role, repr(str(group[0])), read_parquet_table(group)))
    return dataset_of_tables(path.resolve().stem, tables, options)


def _columns_of(file: Path, options: ReadOptions) -> Columns:
    import pyarrow.parquet

    with _parquet_errors(file), pyarrow.parquet.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
    return find_columns(schema, str(file), options.image_column, options.label_column)


def _sound_part(role: Role, files: list[Path], columns: dict[Path, Columns]) -> SoundPart:
    labels = np.concatenate([_labels(file, columns[file].label) for file in files])
    names = [columns[file].image for file in files]
    key = derived_key("sounds", [content_key(file, name) for file, name in zip(files, names, strict=True)])
    return SoundPart(role, str(files[0]), ParquetSounds(files, names), labels, key)


def _read_part(role: Role, files: list[Path], columns: dict[Path, Columns], options: ReadOptions) -> RawPart:
    labels = [_labels(file, columns[file].label) for file in files]
    images = [_images(file, columns[file].image, options, len(files)) for file in files]
    source = str(files[0]) if len(files) == 1 else f"{files[0].parent} ({files[0].name} and {len(files) - 1} more)"
    if len({array.dtype.kind in "US" for array in labels}) > 1:
        raise DataError(
            f"All files of {source!r} must have labels of one kind, but some are numbers and some are names."
        )
    return RawPart(role, source, _joined(images, source, options), np.concatenate(labels))


def _joined(
    images: list[NDArray[np.uint8] | StoredSamples], source: str, options: ReadOptions
) -> NDArray[np.uint8] | StoredSamples:
    if len(images) == 1:
        return images[0]
    sizes = sorted({array.shape[2:] for array in images})
    if len(sizes) > 1:
        named = ", ".join(f"{height}x{width}" for height, width in sizes)
        raise DataError(
            f"All images of {source!r} must have one size (height x width), got {named} in different files. "
            "Give `image_size` (such as 32) to resize them."
        )
    channels = max(array.shape[1] for array in images)
    total, shape = sum(map(len, images)), (channels, *sizes[0])

    def join() -> NDArray[np.uint8] | StoredSamples:
        writer = SampleWriter(total, (channels, *sizes[0]), np.uint8, options.cache.place)
        try:
            for part in images:
                for chunk in part.chunks() if isinstance(part, StoredSamples) else (part,):
                    writer.add(np.repeat(chunk, 3, axis=1) if chunk.shape[1] < channels else chunk)
        except BaseException:
            writer.discard()
            raise
        found: NDArray[np.uint8] | StoredSamples = writer.finish()
        return found

    if total * math.prod(shape) <= options.cache.place.most_bytes_in_memory:
        return join()
    # The files on disk are named by their content.
    names = [
        part.path.stem if isinstance(part, StoredSamples) else fingerprint_of([part], [np.zeros(0, dtype=np.int64)], ())
        for part in images
    ]
    return options.cache.get_bytes(derived_key("joined", names, shape), join)


def _labels(file: Path, column: str) -> NDArray[Any]:
    import pyarrow
    import pyarrow.parquet

    with _parquet_errors(file):
        values = pyarrow.parquet.read_table(file, columns=[column]).column(0)
        if pyarrow.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if values.null_count:
            raise DataError(
                f"Every image of {str(file)!r} must have a label, but {values.null_count} rows have none in column "
                f"{column!r}. Remove these rows."
            )
        array: NDArray[Any] = values.to_numpy()
    return array.astype(str) if array.dtype.kind == "O" else array


def _images(file: Path, column: str, options: ReadOptions, num_files: int) -> NDArray[np.uint8] | StoredSamples:
    import pyarrow.parquet

    # All files of a part share the memory.
    place = StoragePlace(options.cache.place.folder, options.cache.place.most_bytes_in_memory // num_files)

    def decode() -> NDArray[np.uint8] | StoredSamples:
        with (
            _parquet_errors(file),
            pyarrow.parquet.ParquetFile(file) as parquet,
            options.reporter.task(f"Decoding {file.name}") as task,
        ):
            total = parquet.metadata.num_rows
            return decode_images(
                _chunks(parquet, file, column),
                total,
                source=str(file),
                image_size=options.image_size,
                task=task,
                place=place,
            )

    return options.cache.get_bytes(content_key(file, column, options.image_size), decode, num_files)


def _chunks(parquet: Any, file: Path, column: str) -> Iterator[list[EncodedImage]]:
    import pyarrow
    import pyarrow.compute

    row = 0
    for batch in parquet.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[column]):
        values = batch.column(0)
        if pyarrow.types.is_struct(values.type):
            values = pyarrow.compute.struct_field(values, "bytes")
        chunk = []
        for data in values.to_pylist():
            where = f"in row {row} of {str(file)!r} (column {column!r})"
            if data is None:
                raise DataError(
                    f"Image {where} must be stored in the file as bytes, but there are none; paths to other files "
                    "are not followed. Embed the images, or use a folder of images per class."
                )
            chunk.append(EncodedImage(where, data))
            row += 1
        yield chunk
