"""Samples that are equal, bit for bit, in two splits: what was learned would then be measured as if it were new."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offramp.data.sample_kinds import Samples

DuplicatePolicy = Literal["remove", "keep"]
"""What is done with samples of the training split that are also in another one."""


@dataclass(frozen=True, eq=False)
class Overlap:
    """Samples of one split that are also in others.

    Attributes:
        rows: Whether each sample is in another split, (samples,).
        num_relabelled: Number of such samples that have another label there.
    """

    rows: NDArray[np.bool_]
    num_relabelled: int

    @property
    def count(self) -> int:
        """Number of samples that are also in others."""
        return int(self.rows.sum())


@dataclass(frozen=True, eq=False)
class SampleSet:
    """Samples with their labels.

    Attributes:
        samples: Bytes or floats, (samples, channels, height, width).
        labels: Class numbers, (samples,).
    """

    samples: Samples
    labels: NDArray[np.int64]


def find_overlap(own: SampleSet, others: Sequence[SampleSet]) -> Overlap:
    """Find the samples of one split that are also in others, by a hash of their bytes.

    Args:
        own: The split.
        others: The other splits, with samples of the same shape.

    Returns:
        The samples in common.
    """
    labels_of: dict[bytes, set[int]] = {}
    for other in others:
        for sample, label in zip(other.samples, other.labels.tolist(), strict=True):
            labels_of.setdefault(_digest(sample), set()).add(label)
    rows = np.zeros(len(own.labels), dtype=bool)
    relabelled = 0
    for row, (sample, label) in enumerate(zip(own.samples, own.labels.tolist(), strict=True)):
        elsewhere = labels_of.get(_digest(sample))
        if elsewhere is not None:
            rows[row] = True
            relabelled += label not in elsewhere
    return Overlap(rows, relabelled)


def _digest(sample: Samples) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(sample).data, digest_size=16).digest()
