"""Samples of floats from files of NumPy arrays, for networks that read series, feature maps or vectors."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.sample_kinds import axes_of
from offramp.data.signals.array_file import load_archive, load_array
from offramp.deploy.bundle.manifest_records import Preprocessing
from offramp.errors import InputError

ARRAY_SUFFIXES = (".npy", ".npz")

# Names that an archive may use for what is to be classified; the test part of a data set comes first.
_NAMES = ("x_test", "x", "samples", "data")
_LENGTHS = {"x_test": "lengths_test", "x": "lengths", "samples": "lengths", "data": "lengths"}


def read_samples(path: Path, preprocessing: Preprocessing) -> tuple[NDArray[np.float32], ...]:
    """Read the samples of an array file.

    Args:
        path: An ``.npy`` file with one sample or several, or an ``.npz`` file with an array ``x_test``, ``x``,
            ``samples`` or ``data``, or a single array. An array ``lengths_test`` or ``lengths`` says how many steps of
            each series count.
        preprocessing: The preprocessing that the manifest states.

    Returns:
        The samples, each of the shape that the manifest states; shorter ones for a padded network.

    Raises:
        DataError: The file is damaged.
        InputError: It is of another kind, or holds no array of this shape.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return tuple(_split(load_array(path), f"{str(path)!r}", preprocessing))
    if suffix != ".npz":
        raise InputError(
            f"This network reads {preprocessing.input_kind.replace('_', ' ')} {axes_of(preprocessing.input_kind)} from "
            f".npy and .npz files, got {str(path)!r}."
        )
    arrays = load_archive(path)
    name = next((name for name in _NAMES if name in arrays), next(iter(arrays), "") if len(arrays) == 1 else "")
    if not name:
        raise InputError(
            f"{str(path)!r} must hold an array {', '.join(_NAMES[:-1])} or {_NAMES[-1]}, or a single array; it holds "
            f"{', '.join(sorted(arrays)) or 'nothing'}."
        )
    where = f"{str(path)!r} ({name})"
    samples = _split(arrays[name], where, preprocessing)
    lengths = arrays.get(_LENGTHS.get(name, ""))
    if lengths is None:
        return tuple(samples)
    if lengths.shape != (len(samples),) or lengths.dtype.kind not in "iu" or (len(lengths) and lengths.min() < 1):
        raise InputError(f"Lengths in {where} must be one whole number above 0 per sample ({len(samples)}).")
    if not preprocessing.padded:
        raise InputError(f"{where} has lengths, but this network reads series of one length only.")
    outside = [row for row, sample in enumerate(samples) if lengths[row] > sample.shape[-1]]
    if outside:
        raise InputError(
            f"Lengths in {where} must be at most the steps that are there ({samples[outside[0]].shape[-1]}), got "
            f"{lengths[outside[0]]} for sample {outside[0]}."
        )
    return tuple(sample[..., : int(length)] for sample, length in zip(samples, lengths, strict=True))


def _split(array: NDArray[Any], where: str, preprocessing: Preprocessing) -> list[NDArray[np.float32]]:
    shape = preprocessing.shape
    if array.dtype.kind not in "iuf":
        raise InputError(f"Samples in {where} must be numbers, got {array.dtype}.")
    if len(shape) == 2 and shape[0] == 1 and array.ndim in (1, 2):
        # Series of one channel, with or without an axis for it.
        array = array.reshape(-1, 1, array.shape[-1]) if array.size else array
    elif array.ndim == len(shape):
        array = array[None]
    fits = array.ndim == len(shape) + 1 and _fits(array.shape[1:], preprocessing)
    if not fits:
        raise InputError(
            f"Samples in {where} must have shape ({', '.join(map(str, shape))}), alone or with an axis of samples "
            f"before it: {axes_of(preprocessing.input_kind)}; got {array.shape}."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        return list(array.astype(np.float32))


def _fits(found: tuple[int, ...], preprocessing: Preprocessing) -> bool:
    shape = preprocessing.shape
    return found == shape or (preprocessing.padded and found[0] == shape[0] and 1 <= found[1] <= shape[1])
