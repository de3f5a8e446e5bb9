"""Labelled data sets with separate training, validation and test splits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offramp.data.array_cache import ArrayCache, default_cache_dir
from offramp.data.class_labels import EncodedLabels, encode_labels
from offramp.data.duplicates import DuplicatePolicy, SampleSet, find_overlap
from offramp.data.pixel_arrays import same_shape
from offramp.data.raw_data import RawDataset, ReadOptions, read_raw
from offramp.data.sound.sound_features import InputKind
from offramp.data.sound.windows import LongSounds
from offramp.data.splitting import stratified_split
from offramp.data.statistics import channel_statistics, fingerprint_of
from offramp.errors import ConfigError, DataError
from offramp.progress import Reporter, SilentReporter

_BYTES_TO_TELL = 2**30


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become inputs of a network: (pixel / 255 - mean) / std.

    Attributes:
        mean: Mean of each channel, of pixels scaled to 0..1.
        std: Standard deviation of each channel, of pixels scaled to 0..1; above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> "Preprocessing":
        """Compute the statistics of a set of images.

        Args:
            images: Pixels of the training split, (samples, channels, height, width).

        Returns:
            Their channel statistics.
        """
        statistics = channel_statistics(images)
        return cls(mean=statistics.mean, std=statistics.std)

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(f"`mean` and `std` must have one value per channel, got {self.mean} and {self.std}.")
        if not all(math.isfinite(value) for value in self.mean + self.std) or min(self.std) <= 0:
            raise ValueError(f"`mean` and `std` must be finite and `std` > 0, got {self.mean} and {self.std}.")


@dataclass(frozen=True, eq=False)
class Split:
    """Images with labels.

    Attributes:
        images: Pixels, uint8, (samples, channels, height, width).
        labels: Class numbers, int64, (samples,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"`images` must be uint8 of 4 axes, got {self.images.dtype} of {self.images.shape}.")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            raise ValueError(
                f"`labels` must be int64, one per image ({len(self.images)}), "
                f"got {self.labels.dtype} of {self.labels.shape}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, count: int, seed: int) -> "Split":
        """Draw samples without replacement.

        Args:
            count: Number of samples.
            seed: Seed of the draw.

        Returns:
            The drawn samples; the split itself if it has no more than ``count``.
        """
        if count >= len(self):
            return self
        chosen = self.subset_rows(count, seed)
        return Split(self.images[chosen], self.labels[chosen])

    def subset_rows(self, count: int, seed: int) -> NDArray[np.intp]:
        """Find the samples that `subset` draws.

        Args:
            count: Number of samples.
            seed: Seed of the draw.

        Returns:
            Their indices, increasing.
        """
        if count >= len(self):
            return np.arange(len(self))
        return np.sort(np.random.default_rng(seed).choice(len(self), size=count, replace=False))


@dataclass(frozen=True, eq=False)
class Splits:
    """The three parts of a data set.

    Attributes:
        train: Samples to train on.
        validation: Samples for choices, such as thresholds.
        test: Samples for the final measurement.
    """

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set for classification.

    Attributes:
        name: Name in reports and bundles.
        class_names: Names of the classes, in the order of their labels.
        splits: The samples.
        preprocessing: Channel statistics of all training images, even if ``splits`` holds only a part of them.
        fingerprint: Hash of the content, independent of the split.
        label_fingerprint: Hash of the labels alone, in the order of the data.
        input_kind: Whether the pixels are those of images or features of sounds.
        notes: Sentences on what was decided, ignored or removed when the data was read, for the user.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Splits
    preprocessing: Preprocessing
    fingerprint: str = ""
    label_fingerprint: str = ""
    input_kind: InputKind = "pixels"
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a sample."""
        channels, height, width = self.splits.train.images.shape[1:]
        return channels, height, width


def load_dataset(
    source: str,
    *,
    seed: int,
    validation_share: float = 0.2,
    test_share: float = 0.2,
    image_column: str | None = None,
    label_column: str | None = None,
    image_size: int | None = None,
    duplicates: DuplicatePolicy = "remove",
    long_sounds: LongSounds = "loudest",
    cache_dir: Path | None = None,
    reporter: Reporter | None = None,
) -> Dataset:
    """Read a data set and split it.

    Validation and test parts in the data are kept. Missing ones are cut from the training part, stratified by class.

    Args:
        source: Name of a data set that comes with offramp, such as ``"digits"``, or a path.
        seed: Seed of the split, at least 0.
        validation_share: Share of the training part for validation, above 0 and below 1.
        test_share: Share of the training part for the test, above 0 and below 1.
        image_column: Column (parquet) or array (npz) of the images; None: found by type.
        label_column: Column (parquet), array (npz) or kind of label (CIFAR-100: ``fine``, ``coarse``); None: found by
            type.
        image_size: Height and width of all images in pixels, 1 to 4096; None: unchanged.
        duplicates: Whether samples that are also in another split are removed from training and validation.
        long_sounds: Which part is taken of a sound that is longer than a second: the loudest second, the first one, or
            one every half second.
        cache_dir: Folder of the cache; None: `default_cache_dir`.
        reporter: Shows progress; None: no output.

    Returns:
        The data set.

    Raises:
        DataError: The data is missing or invalid.
        ConfigError: A setting is out of range.
    """
    _check_settings(seed, {"validation_share": validation_share, "test_share": test_share}, image_size)
    options = ReadOptions(
        image_column=image_column,
        label_column=label_column,
        image_size=image_size,
        cache=ArrayCache(cache_dir or default_cache_dir()),
        reporter=reporter or SilentReporter(),
        long_sounds=long_sounds,
    )
    raw = read_raw(source, options)
    dataset = _assemble(raw, seed, validation_share, test_share, image_size, duplicates, options.reporter)
    for note in dataset.notes:
        options.reporter.say(note)
    return dataset


def _assemble(
    raw: RawDataset,
    seed: int,
    validation_share: float,
    test_share: float,
    image_size: int | None,
    duplicates: DuplicatePolicy,
    reporter: Reporter,
) -> Dataset:
    encoded = encode_labels(raw.parts, raw.class_names)
    images = same_shape(raw.parts, image_size)
    parts = [Split(pixels, labels) for pixels, labels in zip(images, encoded.labels, strict=True)]
    named = dict(zip((part.role for part in raw.parts), parts, strict=True))
    separation = _Separation(raw, encoded.class_names, duplicates)
    test, validation = named.get("test"), named.get("validation")
    if test and validation:
        validation = separation.apart("validation", validation, (test,))
    # Before parts are cut from the training part: they must not hold what is in the others either.
    train = separation.apart("train", named["train"], [split for split in (validation, test) if split])
    indices = stratified_split(
        train.labels,
        encoded.class_names,
        seed=seed,
        validation_share=0.0 if validation else validation_share,
        test_share=0.0 if test else test_share,
        where=raw.train.source,
    )
    test = test or _take(train, indices.test)
    if not validation:
        validation = separation.apart("validation", _take(train, indices.validation), (test,))
    train = separation.apart("train", _take(train, indices.train), (validation, test))
    return Dataset(
        name=raw.name,
        class_names=encoded.class_names,
        splits=Splits(train, validation, test),
        preprocessing=Preprocessing.of(train.images),
        fingerprint=_fingerprint(images, encoded, reporter),
        label_fingerprint=fingerprint_of([labels[:, None] for labels in encoded.labels], encoded.labels, ()),
        input_kind=raw.input_kind,
        notes=(*raw.notes, *encoded.notes, *separation.notes),
    )


def _fingerprint(images: Sequence[NDArray[np.uint8]], encoded: EncodedLabels, reporter: Reporter) -> str:
    """Hash what was read, with progress where that takes more than a second."""
    if sum(pixels.nbytes for pixels in images) < _BYTES_TO_TELL:
        return fingerprint_of(images, encoded.labels, encoded.class_names)
    with reporter.task("Fingerprinting the data") as task:
        return fingerprint_of(images, encoded.labels, encoded.class_names, task)


class _Separation:
    """Takes out of a split what is also in another one, and notes how much that was."""

    def __init__(self, raw: RawDataset, class_names: tuple[str, ...], policy: DuplicatePolicy) -> None:
        self._name = raw.name
        self._kind = "images" if raw.input_kind == "pixels" else "sounds"
        self._class_names = class_names
        self._policy = policy
        self.notes: list[str] = []

    def apart(self, name: Literal["train", "validation"], own: Split, others: Sequence[Split]) -> Split:
        """A split without the samples that are also in others; with them where duplicates are kept."""
        overlap = find_overlap(SampleSet(own.images, own.labels), [SampleSet(o.images, o.labels) for o in others])
        if not overlap.count:
            return own
        word, elsewhere = ("training", "validation or test") if name == "train" else ("validation", "test")
        note = (
            f"{overlap.count} of {len(own)} {word} {self._kind} of {self._name!r} are also in the {elsewhere} split, "
            "equal to the bit"
        )
        note += f" ({overlap.num_relabelled} of them with another label)" if overlap.num_relabelled else ""
        if self._policy == "keep":
            self.notes.append(f"{note}; they were kept (data.duplicates: keep), so accuracies are too high.")
            return own
        kept = _take(own, np.flatnonzero(~overlap.rows))
        emptied = np.setdiff1d(own.labels, kept.labels)
        if emptied.size:
            raise DataError(
                f"{note}, and class {self._class_names[emptied[0]]!r} has no other {word} {self._kind}. Add some, "
                "remove the duplicates from the data, or keep them (data.duplicates: keep), with accuracies that are "
                "then too high."
            )
        self.notes.append(f"{note}; they were removed from the {word} split (data.duplicates: remove).")
        return kept


def _take(split: Split, indices: NDArray[np.int64]) -> Split:
    return Split(split.images[indices], split.labels[indices])


def _check_settings(seed: int, shares: Mapping[str, float], image_size: int | None) -> None:
    if seed < 0:
        raise ConfigError(f"`seed` must be 0 or more, got {seed}.")
    for name, share in shares.items():
        if not 0.0 < share < 1.0:
            raise ConfigError(f"`{name}` must lie between 0 and 1, both excluded, got {share}.")
    if image_size is not None and not 1 <= image_size <= 4096:
        raise ConfigError(f"`image_size` must be 1 to 4096 pixels, got {image_size}.")
