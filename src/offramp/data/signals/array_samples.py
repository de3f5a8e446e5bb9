"""Arrays of all parts of one data set to samples, whatever their kind."""

from collections.abc import Sequence
from dataclasses import dataclass

from offramp.data.images.pixel_arrays import pixels_from_arrays
from offramp.data.images.pixel_units import NamedArray
from offramp.data.sample_kinds import InputKind, Samples
from offramp.data.signals.array_kinds import kind_of_arrays
from offramp.data.signals.float_arrays import float_samples
from offramp.errors import ConfigError


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
        DataError: An array does not fit, or its kind cannot be decided.
        ConfigError: Arrays are said to be the features of sounds.
    """
    if kind == "mfcc":
        raise ConfigError("Arrays cannot be the features of sounds of one second: give them as feature_maps.")
    decided = kind_of_arrays(arrays, kind)
    if decided.kind == "pixels" or decided.kind == "mfcc":
        found = pixels_from_arrays(arrays)
        return ArraySamples(decided.kind, found.images, (*decided.notes, *found.notes))
    known = lengths or [None] * len(arrays)
    parts = [float_samples(array, decided.kind, own) for array, own in zip(arrays, known, strict=True)]
    notes = tuple(note for part in parts for note in part.notes)
    return ArraySamples(decided.kind, tuple(part.samples for part in parts), (*decided.notes, *notes))
