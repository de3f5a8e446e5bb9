"""What a data reader returns, and how the reader for a path is found."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.data.array_cache import ArrayCache
from offramp.data.sound.sound_features import InputKind
from offramp.errors import DataError
from offramp.progress import Reporter
from offramp.registry import Registry, unknown_name_message

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
"""What files, folders and arrays call their parts."""


@dataclass(frozen=True)
class ReadOptions:
    """What a reader may have to know beyond the path."""

    image_column: str | None
    label_column: str | None
    image_size: int | None
    cache: ArrayCache
    reporter: Reporter


@dataclass(frozen=True, eq=False)
class RawPart:
    """One part of a data set as it was found.

    ``images``: uint8 (samples, channels, height, width), 1 or 3 channels. ``labels``: numbers or class names as
    they stand in the file. ``source``: the file or folder, for error messages.
    """

    role: Role
    source: str
    images: NDArray[np.uint8]
    labels: NDArray[Any]

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise DataError(f"{self.source!r} must hold images, but it has none.")
        if self.labels.ndim >= 1 and len(self.labels) != len(self.images):
            raise DataError(
                f"{self.source!r} must have one label per image, got {len(self.images)} images "
                f"and {len(self.labels)} labels."
            )


@dataclass(frozen=True, eq=False)
class RawDataset:
    """A data set as it was found; ``class_names`` is None where the data do not say."""

    name: str
    parts: tuple[RawPart, ...]
    class_names: tuple[str, ...] | None = None
    input_kind: InputKind = "pixels"

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
        return next(part for part in self.parts if part.role == "train")


class Reader(Protocol):
    """Reads one data format; registered in READERS by a file in ``offramp.data.readers``.

    A reader raises DataError for whatever is wrong with the data, and OSError for what cannot be opened.
    """

    description: str
    """What the format looks like on disk, for the message that lists the formats."""

    def claims(self, path: Path) -> bool:
        """Whether an existing path looks like this format, judged by names alone."""
        ...

    def read(self, path: Path, options: ReadOptions) -> RawDataset: ...


READERS: Registry[Reader] = Registry("data format", "offramp.data.readers", entry_points="offramp.data_readers")
BUILTIN: Registry[Callable[[], RawDataset]] = Registry(
    "data set", "offramp.data.readers", entry_points="offramp.data_sets"
)


def read_raw(source: str, options: ReadOptions) -> RawDataset:
    """Read a built-in data set by name, or a path with the one reader that claims it."""
    if source in BUILTIN:
        return BUILTIN.get(source)()
    try:
        path = Path(source).expanduser()
        if not source.strip() or not path.exists():
            raise DataError(
                f"{unknown_name_message('data set', source, list(BUILTIN))} "
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
