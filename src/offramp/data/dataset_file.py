"""A data set as one file, for other processes and machines: arrays, and what else the data set states."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from offramp.data.labelled_data import Dataset, Preprocessing, Split, Splits
from offramp.data.sample_kinds import InputKind
from offramp.data.sound.feature_settings import SoundFeatures
from offramp.jsonio import from_data, to_data

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


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Write a data set to a safetensors file.

    Args:
        dataset: The data set; splits may be empty.
        path: The file to write; an existing one is replaced.
    """
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
    )
    arrays: dict[str, NDArray[Any]] = {}
    for name in _SPLITS:
        split: Split = getattr(dataset.splits, name)
        arrays[f"{name}.samples"] = np.ascontiguousarray(split.samples)
        arrays[f"{name}.labels"] = np.ascontiguousarray(split.labels)
    save_file(arrays, path, metadata={"dataset": json.dumps(to_data(header))})


def read_dataset(path: Path) -> Dataset:
    """Read a data set that `save_dataset` wrote.

    Args:
        path: The file.

    Returns:
        A data set equal to the one that was saved.
    """
    arrays = load_file(path)
    with safe_open(path, framework="numpy") as file:
        header = from_data(_Header, json.loads(file.metadata()["dataset"]))
    return Dataset(
        name=header.name,
        class_names=header.class_names,
        splits=Splits(*(Split(arrays[f"{name}.samples"], arrays[f"{name}.labels"]) for name in _SPLITS)),
        preprocessing=header.preprocessing,
        fingerprint=header.fingerprint,
        label_fingerprint=header.label_fingerprint,
        input_kind=header.input_kind,
        padded=header.padded,
        notes=header.notes,
        sound=header.sound,
    )
