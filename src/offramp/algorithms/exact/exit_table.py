"""ExitTable: cached outputs and costs of one backbone, from which all its early-exit networks are evaluated.

With a fixed backbone, the output of an exit depends neither on the other exits nor on thresholds. One pass over the
validation samples with a branch of every type at every tap is therefore enough for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.exits.confidence_measures import Measure
from offramp.objectives.evaluation import Evaluation
from offramp.space.architecture import Architecture, ExitChoice

COSTS = ("latency_cycles", "energy_pj", "macs")
"""Columns of the cost arrays."""


@dataclass(frozen=True, eq=False)
class ExitCosts:
    """Additive costs: leaving at exit i costs ``to_tap[i]`` plus ``branch[j]`` of each exit j up to and including i.

    Attributes:
        to_tap: Costs of the backbone up to the tap, (options + 1, costs) with columns `COSTS`; the last row is the
            final classifier.
        branch: Costs of the branch, of the same shape.
        first: Costs of leaving at each option where it is the first exit of the network, (options, costs); None = the
            sums. With the optimized mapping a stage costs what it costs alone, which sums over exits only estimate.
    """

    to_tap: NDArray[np.float64]
    branch: NDArray[np.float64]
    first: NDArray[np.float64] | None = None

    @property
    def to_first(self) -> NDArray[np.float64]:
        """Costs of leaving at each option where it is the first exit of the network, (options, costs)."""
        return self.to_tap[:-1] + self.branch[:-1] if self.first is None else self.first


@dataclass(frozen=True, eq=False)
class ExitTable:
    """Cached outputs and costs of all exits that a backbone may have.

    Attributes:
        backbone: The backbone, without early exits.
        options: The exits, in the order of their taps.
        correct: Correct answers, (options + 1, samples); the last row is the final classifier.
        scores: Confidences, 0 to 1, per measure (options, samples).
        thresholds: Thresholds to try, per measure and option, increasing.
        costs: Costs of options and final classifier.
        shared_threshold: Whether all exits of a network have the same threshold; all options then have the same list.
    """

    backbone: Architecture
    options: tuple[ExitChoice, ...]
    correct: NDArray[np.bool_]
    scores: dict[Measure, NDArray[np.float64]]
    thresholds: dict[Measure, tuple[NDArray[np.float64], ...]]
    costs: ExitCosts
    shared_threshold: bool = False

    @property
    def num_samples(self) -> int:
        """Number of samples."""
        return int(self.correct.shape[1])

    @property
    def taps(self) -> NDArray[np.int64]:
        """Tap of each option."""
        return np.asarray([option.tap for option in self.options], dtype=np.int64)


class ExitTables(Protocol):
    """Provides exit tables and evaluates candidates from them."""

    def table(self, backbone: Architecture) -> ExitTable | None:
        """Compute the table of a backbone.

        Args:
            backbone: The backbone, without early exits.

        Returns:
            The table; None if the backbone cannot be evaluated.
        """
        ...

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Evaluate a candidate from the table of its backbone.

        Args:
            architecture: The candidate.

        Returns:
            Its evaluation.
        """
        ...

    def static_candidates(self, backbone: Architecture) -> tuple[Evaluation, ...]:
        """Evaluate the static networks of a backbone: cut at every tap with every branch, and as it is.

        Args:
            backbone: The backbone, without early exits.

        Returns:
            Their evaluations; none if the backbone cannot be evaluated.
        """
        ...


def pack_bits(flags: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack flags into words.

    Args:
        flags: Flags, (rows, samples).

    Returns:
        Words of 64 bits, (rows, words); unused bits are 0.
    """
    octets = np.packbits(flags, axis=1)
    padding = -octets.shape[1] % 8
    return np.ascontiguousarray(np.pad(octets, ((0, 0), (0, padding)))).view(np.uint64)


def count_bits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Count the set bits.

    Args:
        words: Words, (..., words).

    Returns:
        Number of set bits, (...).
    """
    # numpy has `bitwise_count` from 2.0 on.
    counted = np.bitwise_count(words) if hasattr(np, "bitwise_count") else bits_of_words(words)
    bits: NDArray[np.int64] = counted.sum(axis=-1, dtype=np.int64)
    return bits


def bits_of_words(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Count the set bits of each word by sums of neighbouring fields (Warren, "Hacker's Delight", section 5-1).

    Args:
        words: Words, of any shape.

    Returns:
        Number of set bits of each.
    """
    pairs, nibbles, octets, ones = (
        np.uint64(mask) for mask in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F, 0x0101010101010101)
    )
    one, two, four, last = (np.uint64(shift) for shift in (1, 2, 4, 56))
    counts = words - ((words >> one) & pairs)
    counts = (counts & nibbles) + ((counts >> two) & nibbles)
    counts = (counts + (counts >> four)) & octets
    sums: NDArray[np.uint64] = (counts * ones) >> last
    return sums


def metric_columns(latency_energy_macs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Append the energy-delay product to costs.

    Args:
        latency_energy_macs: Costs, (..., 3), with columns `COSTS`.

    Returns:
        Costs, (..., 4), with columns `METRICS`.
    """
    product = latency_energy_macs[..., 0] * latency_energy_macs[..., 1] * 1e-12
    return np.concatenate([latency_energy_macs, product[..., None]], axis=-1)


METRICS: Sequence[str] = (*COSTS, "energy_delay_product_j_cycles")
"""Columns of the result of `metric_columns`."""
