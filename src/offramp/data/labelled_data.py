"""Labelled data sets with separate training, validation and test splits."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.data.sample_kinds import InputKind, SampleDtype, Samples, dtype_of, sample_shape, scale_of
from offramp.data.sound.feature_settings import SoundFeatures
from offramp.data.statistics import channel_statistics
from offramp.data.stored_samples import StoredSamples


@dataclass(frozen=True)
class Preprocessing:
    """How stored samples become inputs of a network: (value / scale - mean) / std.

    Attributes:
        mean: Mean of each channel, of values divided by the scale.
        std: Standard deviation of each channel, of values divided by the scale; above 0.
        dtype: Type of the stored samples.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: SampleDtype = "uint8"

    @classmethod
    def of(cls, samples: Samples) -> "Preprocessing":
        """Compute the statistics of a set of samples.

        Args:
            samples: Samples of the training split, (samples, channels, height, width). NaN marks padding, which does
                not count.

        Returns:
            Their channel statistics.
        """
        statistics = channel_statistics(samples)
        dtype: SampleDtype = "uint8" if samples.dtype == np.uint8 else "float32"
        return cls(mean=statistics.mean, std=statistics.std, dtype=dtype)

    @property
    def scale(self) -> float:
        """What stored values are divided by: 255 for bytes, 1 for floats."""
        return scale_of(self.dtype)

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(f"`mean` and `std` must have one value per channel, got {self.mean} and {self.std}.")
        if not all(math.isfinite(value) for value in self.mean + self.std) or min(self.std) <= 0:
            raise ValueError(f"`mean` and `std` must be finite and `std` > 0, got {self.mean} and {self.std}.")


@dataclass(frozen=True, eq=False)
class Split:
    """Samples with labels.

    Attributes:
        samples: Bytes or floats, uint8 or float32, (samples, channels, height, width).
        labels: Class numbers, int64, (samples,).
    """

    samples: Samples
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.samples.ndim != 4 or self.samples.dtype not in (np.uint8, np.float32):
            raise ValueError(
                f"`samples` must be uint8 or float32 of 4 axes, got {self.samples.dtype} of {self.samples.shape}."
            )
        if self.labels.shape != self.samples.shape[:1] or self.labels.dtype != np.int64:
            raise ValueError(
                f"`labels` must be int64, one per sample ({len(self.samples)}), "
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
        return self.take(self.subset_rows(count, seed))

    def take(self, rows: NDArray[np.integer]) -> "Split":
        """Take some of the samples.

        Args:
            rows: Their indices.

        Returns:
            These samples, in this order.
        """
        samples = self.samples.take(rows) if isinstance(self.samples, StoredSamples) else self.samples[rows]
        return Split(samples, self.labels[rows])

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
        preprocessing: Channel statistics of all training samples, even if ``splits`` holds only a part of them.
        fingerprint: Hash of the content, independent of the split.
        label_fingerprint: Hash of the labels alone, in the order of the data.
        input_kind: What the numbers of a sample are.
        padded: Whether some series are shorter than others; they end with the mean of each channel.
        notes: Sentences on what was decided, ignored or removed when the data was read, for the user.
        sound: How windows of sound became samples; None where they are no sounds, or those of MLPerf Tiny (``mfcc``).
    """

    name: str
    class_names: tuple[str, ...]
    splits: Splits
    preprocessing: Preprocessing
    fingerprint: str = ""
    label_fingerprint: str = ""
    input_kind: InputKind = "pixels"
    padded: bool = False
    notes: tuple[str, ...] = ()
    sound: SoundFeatures | None = None

    def __post_init__(self) -> None:
        found = {str(split.samples.dtype) for split in (self.splits.train, self.splits.validation, self.splits.test)}
        if found | {self.preprocessing.dtype} != {dtype_of(self.input_kind)}:
            raise ValueError(
                f"Samples and preprocessing of {self.input_kind} must be {dtype_of(self.input_kind)}, got "
                f"{', '.join(sorted(found))} and {self.preprocessing.dtype}."
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a sample inside the pipeline."""
        channels, height, width = self.splits.train.samples.shape[1:]
        return channels, height, width

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a sample as users give it."""
        return sample_shape(self.input_kind, self.input_shape)
