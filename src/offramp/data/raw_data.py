"""What a data reader returns, and how the reader for a path is found."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.data.array_cache import ArrayCache
from offramp.data.sample_kinds import InputKind, Samples
from offramp.data.sound.feature_settings import SoundFeatures, SoundRequest
from offramp.data.sound.windows import LongSounds
from offramp.errors import DataError
from offramp.progress import Reporter
from offramp.registry import CALLABLE, Registry, object_like, unknown_name_message

Role = Literal["train", "validation", "test"]

ROLE_OF_WORD: dict[str, Role] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of parts in files, folders and arrays."""


def role_of_file(name: str) -> Role | None:
    """Find which part of a data set a file or folder is, from the words of its name.

    Args:
        name: The name without suffix, such as ``train``, ``train-00000-of-00001`` or ``GunPoint_TEST``.

    Returns:
        The part; None where no word or several words name one.
    """
    found = {ROLE_OF_WORD[word] for word in re.split(r"[^a-z]+", name.lower()) if word in ROLE_OF_WORD}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class ReadOptions:
    """Settings of a reader.

    Attributes:
        image_column: Column or array of the images; None: found by the reader.
        label_column: Column or array of the labels; None: found by the reader.
        image_size: Height and width of all images in pixels; None: unchanged.
        cache: Stores decoded pixels.
        reporter: Shows progress.
        long_sounds: Which part is taken of a sound that is longer than a window.
        sound: Settings of the features of sounds; those that are None follow from the data.
        label_pattern: Regular expression whose one group is the class in the name of a file; None: classes are folders.
        kind: What the numbers of arrays are; None: decided from their type and number of axes.
        group_column: Column or array that names the group of each sample; None: no groups are read.
        id_column: Column that says which series a row of a table is a step of; None: found by its name.
        window: Time steps of the windows that recordings are cut into; None: they are not cut.
        hop: Time steps from one window to the next; None: half a window.
    """

    image_column: str | None
    label_column: str | None
    image_size: int | None
    cache: ArrayCache
    reporter: Reporter
    long_sounds: LongSounds = "loudest"
    sound: SoundRequest | SoundFeatures = field(default_factory=SoundRequest)
    label_pattern: str | None = None
    kind: InputKind | None = None
    group_column: str | None = None
    id_column: str | None = None
    window: int | None = None
    hop: int | None = None


@dataclass(frozen=True, eq=False)
class RawPart:
    """One part of a data set as it was read.

    Attributes:
        role: Purpose of the part.
        source: File or folder, for messages.
        samples: (samples, channels, height, width): bytes of images with 1 or 3 channels, bytes of features, or floats.
            Only floats of series may be NaN: at the end of a series that is shorter than others.
        labels: Numbers or class names as in the file, one per sample.
        names: File name of each sample, where it has one; else empty.
        groups: Name of the group of each sample, such as a speaker, (samples,); None: not known.
    """

    role: Role
    source: str
    samples: Samples
    labels: NDArray[Any]
    names: tuple[str, ...] = ()
    groups: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        if len(self.samples) == 0:
            raise DataError(f"{self.source!r} must hold samples, but it has none.")
        if self.labels.ndim >= 1 and len(self.labels) != len(self.samples):
            raise DataError(
                f"{self.source!r} must have one label per sample, got {len(self.samples)} samples "
                f"and {len(self.labels)} labels."
            )


@dataclass(frozen=True, eq=False)
class RawDataset:
    """A data set as it was read.

    Attributes:
        name: Name in reports and bundles.
        parts: A part to train on, and parts for validation and test if the data has them.
        class_names: Names of the classes in the order of their numbers; None if the data does not state them.
        input_kind: What the numbers of a sample are.
        notes: Sentences on what the reader decided or ignored, for the user.
        sound: How windows of sound became samples; None where they are no sounds, or those of MLPerf Tiny (``mfcc``).
    """

    name: str
    parts: tuple[RawPart, ...]
    class_names: tuple[str, ...] | None = None
    input_kind: InputKind = "pixels"
    notes: tuple[str, ...] = ()
    sound: SoundFeatures | None = None

    def __post_init__(self) -> None:
        roles = [part.role for part in self.parts]
        if "train" not in roles:
            found = ", ".join(f"{part.role} ({part.source!r})" for part in self.parts) or "nothing"
            raise DataError(f"Data set {self.name!r} must have a part to train on, found only: {found}.")
        if len(set(roles)) < len(roles):
            sources = ", ".join(repr(part.source) for part in self.parts)
            raise DataError(f"Data set {self.name!r} must have each part once, got {', '.join(roles)} from {sources}.")

    @property
    def train(self) -> RawPart:
        """The part to train on."""
        return next(part for part in self.parts if part.role == "train")


class Reader(Protocol):
    """Reads one data format.

    A reader is an object that is registered in `READERS`, by a file in ``offramp.data.readers`` or by an entry point of
    another package. `offramp.testing.reader_conformance` checks one.

    Attributes:
        description: What the format looks like on disk, for the message that lists the formats.
    """

    description: str

    def claims(self, path: Path) -> bool:
        """Check by names alone whether a path looks like this format.

        Args:
            path: A file or folder that exists.

        Returns:
            True for a path of this format. Exactly one reader may claim a path.
        """
        ...

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        """Read a data set.

        Args:
            path: A path that the reader claims.
            options: Settings of the user.

        Returns:
            The parts as they were read.

        Raises:
            DataError: The data is invalid.
            OSError: A file cannot be opened.
        """
        ...


READERS: Registry[Reader] = Registry(
    "data format", "offramp.data.readers", entry_points="offramp.data_readers", expects=object_like(Reader)
)
DATA_SETS: Registry[Callable[[], RawDataset]] = Registry(
    "data set", "offramp.data.readers", entry_points="offramp.data_sets", expects=CALLABLE
)
"""Functions that return data sets without a path, by name."""


def read_raw(source: str, options: ReadOptions) -> RawDataset:
    """Read a data set.

    Args:
        source: Name of a data set that comes with offramp, or a path.
        options: Settings of the user.

    Returns:
        The data set as the reader that claims the path returns it.

    Raises:
        DataError: There is no such data set, no reader or several readers claim the path, or the data is invalid.
    """
    if source in DATA_SETS:
        return DATA_SETS.get(source)()
    try:
        path = Path(source).expanduser()
        if not source.strip() or not path.exists():
            raise DataError(
                f"{unknown_name_message('data set', source, list(DATA_SETS))} "
                f"There is no file or folder of that name either (looked at {str(path.absolute())!r})."
            )
        return _the_reader(path).read(path, options)
    except (OSError, RuntimeError) as exc:
        # RuntimeError: a home folder that cannot be found, a loop of links.
        raise DataError(f"Data set {source!r} cannot be read: {str(exc).rstrip('.')}.") from exc


def _the_reader(path: Path) -> Reader:
    claiming = [name for name in READERS if READERS.get(name).claims(path)]
    if not claiming:
        kinds = "; ".join(READERS.get(name).description for name in READERS)
        what = "folder holds no data" if path.is_dir() else "file is not"
        raise DataError(f"{str(path)!r}: this {what} in a format that offramp reads. It reads: {kinds}.")
    if len(claiming) > 1:
        raise DataError(
            f"{str(path)!r} must hold one data set, but it looks like {' and like '.join(claiming)}. "
            "Name one file in it, or put each data set into a folder of its own."
        )
    return READERS.get(claiming[0])
