"""Arrays of all parts of one data set to samples, whatever their kind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offramp.data.images.pixel_arrays import pixels_from_arrays
from offramp.data.images.pixel_units import NamedArray
from offramp.data.sample_kinds import InputKind, Samples
from offramp.data.signals.array_kinds import kind_of_arrays
from offramp.data.signals.float_arrays import float_samples
from offramp.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class ArraySamples:
    """Samples of all parts of one data set.

    Attributes:
        kind: What the numbers are.
        samples: Samples of each part, (samples, channels, height, width).
        notes: Sentences on what was decided.
    """

    kind: InputKind
    samples: tuple[Samples, ...]
    notes: tuple[str, ...]


def samples_from_arrays(
    arrays: Sequence[NamedArray], kind: InputKind | None, *, lengths: Sequence[NamedArray | None] = ()
) -> ArraySamples:
    """Convert the arrays of all parts of one data set.

    Args:
        arrays: The samples of each part, as a user gives them.
        kind: What the user says they are; None: it is decided, see `kind_of_arrays`.
        lengths: The number of steps of each series of each part; None: all count.

    Returns:
        The samples, and what was decided.

    Raises:
        DataError: An array does not fit, its kind cannot be decided, or lengths are missing or without effect.
        ConfigError: Arrays are said to be the features of sounds.
    """
    if kind == "mfcc":
        raise ConfigError("Arrays cannot be the features of sounds of one second: give them as feature_maps.")
    decided = kind_of_arrays(arrays, kind)
    known = lengths or [None] * len(arrays)
    _check_lengths(arrays, known, decided.kind)
    if decided.kind == "pixels" or decided.kind == "mfcc":
        found = pixels_from_arrays(arrays)
        return ArraySamples(decided.kind, found.images, (*decided.notes, *found.notes))
    parts = [float_samples(array, decided.kind, own) for array, own in zip(arrays, known, strict=True)]
    notes = tuple(note for part in parts for note in part.notes)
    return ArraySamples(decided.kind, tuple(part.samples for part in parts), (*decided.notes, *notes))


def _check_lengths(arrays: Sequence[NamedArray], lengths: Sequence[NamedArray | None], kind: InputKind) -> None:
    """Lengths must have an effect, and no part may count padding that others leave out."""
    given = next((own for own in lengths if own is not None), None)
    if given is None:
        return
    if kind != "series":
        raise DataError(
            f"{given.where} says how long series are, but the samples are {kind.replace('_', ' ')}. Leave it out, or "
            "set data.kind=series."
        )
    for array, own in zip(arrays, lengths, strict=True):
        marked = array.values.dtype.kind == "f" and bool(np.isnan(array.values[..., -1]).any())
        if own is None and not marked:
            raise DataError(
                f"Each part must have its lengths, since {given.where} has, but {array.where} has none: its padding "
                "would be taken for measurements. Add them, such as lengths_test; where no series is padded, they all "
                f"are {array.values.shape[-1]}."
            )
