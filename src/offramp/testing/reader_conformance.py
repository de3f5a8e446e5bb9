"""What every data reader must do, as checks that raise AssertionError with a sentence."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from offramp.data.array_cache import ArrayCache
from offramp.data.dataset_loading import load_dataset
from offramp.data.raw_data import READERS, RawDataset, ReadOptions, read_raw
from offramp.data.sample_kinds import dtype_of
from offramp.errors import DataError
from offramp.progress import SilentReporter

MOST_FILES = 8
"""So many files of a sample are damaged."""


def check_claims(name: str, sample: Path, scratch: Path) -> None:
    """Check that a reader describes its format, claims a sample of it, and neither an empty folder nor any text.

    Args:
        name: The registered name of the reader.
        sample: A small data set in its format: a file or a folder.
        scratch: An empty folder that the check may write to.

    Raises:
        AssertionError: The reader lacks a description, or claims too little or too much.
    """
    reader = READERS.get(name)
    _require(bool(reader.description.strip()), f"reader {name!r} must describe its format")
    claiming = [other for other in READERS if READERS.get(other).claims(sample)]
    _require(claiming == [name], f"reader {name!r} alone must claim {str(sample)!r}; claimed by: {claiming}")
    folder, text = scratch / "folder", scratch / "notes.txt"
    folder.mkdir()
    text.write_text("no data set")
    for other in (folder, text):
        _require(not reader.claims(other), f"reader {name!r} must not claim {other.name!r}, which is no data set")


def check_parts(name: str, sample: Path, scratch: Path) -> None:
    """Check that a sample is read: bytes or floats, a label for each, in range where the classes have names.

    The sample is also read as a search reads it, until each sample is in one of three splits.

    Args:
        name: The registered name of the reader.
        sample: A small data set in its format, with enough samples per class for three splits.
        scratch: An empty folder that the check may write to.

    Raises:
        AssertionError: A part is not as described, or two readings differ.
    """
    raw, again = _read(sample, scratch / "cache"), _read(sample, scratch / "other cache")
    for part, same in zip(raw.parts, again.parts, strict=True):
        what = f"the {part.role} part of reader {name!r}"
        right = part.samples.dtype == dtype_of(raw.input_kind) and part.samples.ndim == 4
        _require(right, f"{what} must have {dtype_of(raw.input_kind)} of four axes, as {raw.input_kind} have")
        _require(len(part.labels) == len(part.samples), f"{what} must have one label per sample")
        _require(bool(part.source), f"{what} must name its source, for error messages")
        if raw.class_names is not None and part.labels.dtype.kind in "iu":
            in_range = part.labels.min() >= 0 and part.labels.max() < len(raw.class_names)
            _require(bool(in_range), f"labels of {what} must be below the number of classes ({len(raw.class_names)})")
        equal = np.array_equal(part.samples, same.samples) and np.array_equal(part.labels, same.labels)
        _require(equal, f"{what} must be the same whenever it is read")
    dataset = load_dataset(str(sample), seed=0, cache_dir=scratch / "cache")
    for split in (dataset.splits.train, dataset.splits.validation, dataset.splits.test):
        _require(len(split.labels) > 0, f"each split of the sample of reader {name!r} must have samples")
        in_range = split.labels.min() >= 0 and split.labels.max() < dataset.num_classes
        _require(bool(in_range), f"labels of reader {name!r} must be below the number of classes")


def check_damage(name: str, sample: Path, scratch: Path) -> None:
    """Check that damaged files end in a sentence, not in a traceback.

    Up to `MOST_FILES` files of the sample are cut to half their length, emptied and overwritten in turn. Damage to the
    largest file must be noticed where it is cut or emptied; damage to others may be harmless.

    Args:
        name: The registered name of the reader.
        sample: A small data set in its format.
        scratch: An empty folder that the check may write to.

    Raises:
        AssertionError: A damaged file was read as if nothing were wrong, or raised another error than DataError.
    """
    files = [sample] if sample.is_file() else sorted(path for path in sample.rglob("*") if path.is_file())
    largest = max(files, key=lambda path: path.stat().st_size)
    places = np.unique(np.linspace(0, len(files) - 1, MOST_FILES).round().astype(int)).tolist()
    files = [largest, *(files[place] for place in places if files[place] != largest)][:MOST_FILES]
    noise = np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8).tobytes()
    damages: dict[str, Callable[[bytes], bytes]] = {
        "cut to half its length": lambda data: data[: (len(data) - 1) // 2],
        "emptied": lambda data: b"",
        "overwritten": lambda data: (noise * (len(data) // len(noise) + 1))[: len(data)],
    }
    for number, file in enumerate(files):
        for kind, damage in damages.items():
            copy = scratch / f"{number} {kind}" / sample.name
            copy.parent.mkdir()
            (shutil.copyfile if sample.is_file() else shutil.copytree)(sample, copy)
            broken = copy if sample.is_file() else copy / file.relative_to(sample)
            broken.write_bytes(damage(file.read_bytes()))
            what = f"reader {name!r}, file {file.name!r} {kind}"
            message = _error(copy, scratch / "cache", what)
            if file == largest and kind != "overwritten":
                _require(message is not None, f"{what}: it must not be read as if nothing were wrong")


def _error(path: Path, cache: Path, what: str) -> str | None:
    """The message that a user sees; None where the data were read."""
    try:
        _read(path, cache)
    except DataError as exc:
        message = str(exc)
        _require(message.endswith(".") and str(path.name) in message, f"{what}: the message must name it: {message}")
        return message
    except Exception as exc:
        raise AssertionError(f"{what}: it must raise DataError, got {type(exc).__name__}: {exc}") from exc
    return None


def _read(path: Path, cache: Path) -> RawDataset:
    return read_raw(str(path), ReadOptions(None, None, None, ArrayCache(cache), SilentReporter()))


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


CHECKS = (check_claims, check_parts, check_damage)
