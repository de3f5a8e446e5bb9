"""A data set as one file, for other processes and machines: arrays, and what else the data set states."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from offramp.data.labelled_data import Dataset, Preprocessing, Split, Splits
from offramp.data.sample_kinds import InputKind, Samples
from offramp.data.sound.feature_settings import SoundFeatures
from offramp.data.stored_samples import StoredSamples
from offramp.errors import DataError
from offramp.jsonio import from_data, to_data

_MOST_BYTES_COPIED = 256 * 2**20
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class _Header:
    """All fields of a data set but the arrays."""

    name: str
    class_names: tuple[str, ...]
    fingerprint: str
    label_fingerprint: str
    preprocessing: Preprocessing
    input_kind: InputKind
    padded: bool
    notes: tuple[str, ...]
    sound: SoundFeatures | None = None
    paths: dict[str, str] = field(default_factory=dict)


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Write a data set to a safetensors file.

    Of large samples that are stored on disk, the path and the rows are written in place of the samples: whoever reads
    the data set needs that file too, at the same path.

    Args:
        dataset: The data set; splits may be empty.
        path: The file to write; an existing one is replaced.
    """
    paths: dict[str, str] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for name in _SPLITS:
        split: Split = getattr(dataset.splits, name)
        if isinstance(split.samples, StoredSamples) and split.samples.nbytes > _MOST_BYTES_COPIED:
            paths[name] = str(split.samples.path.absolute())
            arrays[f"{name}.rows"] = split.samples.rows_in_file
        else:
            arrays[f"{name}.samples"] = np.ascontiguousarray(split.samples[:])
        arrays[f"{name}.labels"] = np.ascontiguousarray(split.labels)
    header = _Header(
        dataset.name,
        dataset.class_names,
        dataset.fingerprint,
        dataset.label_fingerprint,
        dataset.preprocessing,
        dataset.input_kind,
        dataset.padded,
        dataset.notes,
        dataset.sound,
        paths,
    )
    save_file(arrays, path, metadata={"dataset": json.dumps(to_data(header))})


def read_dataset(path: Path) -> Dataset:
    """Read a data set that `save_dataset` wrote.

    Args:
        path: The file.

    Returns:
        A data set equal to the one that was saved.

    Raises:
        DataError: Samples that are stored on disk are not at their path.
    """
    arrays = load_file(path)
    with safe_open(path, framework="numpy") as file:
        header = from_data(_Header, json.loads(file.metadata()["dataset"]))
    return Dataset(
        name=header.name,
        class_names=header.class_names,
        splits=Splits(*(Split(_samples(name, arrays, header), arrays[f"{name}.labels"]) for name in _SPLITS)),
        preprocessing=header.preprocessing,
        fingerprint=header.fingerprint,
        label_fingerprint=header.label_fingerprint,
        input_kind=header.input_kind,
        padded=header.padded,
        notes=header.notes,
        sound=header.sound,
    )


def _samples(name: str, arrays: dict[str, NDArray[Any]], header: _Header) -> Samples:
    path = header.paths.get(name)
    if path is None:
        samples: Samples = arrays[f"{name}.samples"]
        return samples
    try:
        return StoredSamples(Path(path), arrays[f"{name}.rows"])
    except (OSError, ValueError) as exc:
        raise DataError(
            f"The samples of {header.name!r} are read from {path!r}, where workers on other machines must find them "
            f"too, but: {exc}. Put the cache (OFFRAMP_CACHE) on a disk that all machines share."
        ) from exc
