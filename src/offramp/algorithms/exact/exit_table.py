"""ExitTable: cached outputs and costs of one backbone, from which all its early-exit networks are evaluated.

With the backbone fixed, what an exit answers depends neither on the other exits nor on thresholds. One pass over the
validation samples with every (tap, branch) attached is therefore enough for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from offramp.exits.confidence_measures import Measure
from offramp.objectives.evaluation import Evaluation
from offramp.space.architecture import Architecture, ExitChoice

COSTS = ("latency_cycles", "energy_pj", "macs")
"""Columns of the cost arrays."""


@dataclass(frozen=True, eq=False)
class ExitCosts:
    """Costs that add up: leaving at exit i costs ``to_tap[i]`` plus ``branch[j]`` of each exit j until then, i too.

    Both have shape (options + 1, costs); the last row is the final classifier. Columns are `COSTS`.
    """

    to_tap: NDArray[np.float64]
    branch: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExitTable:
    """``options`` in the order of their taps; rows of arrays are options, then the final classifier.

    ``correct``: (options + 1, samples). ``scores``: per measure (options, samples). ``thresholds``: per measure those
    that are tried at each option, increasing. ``shared_threshold``: all exits of a network have the same one, and all
    options have the same list.
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
        return int(self.correct.shape[1])

    @property
    def taps(self) -> NDArray[np.int64]:
        """Tap of each option."""
        return np.asarray([option.tap for option in self.options], dtype=np.int64)


class ExitTables(Protocol):
    """Gives tables of backbones, and evaluates candidates by them."""

    def table(self, backbone: Architecture) -> ExitTable | None:
        """None where the backbone cannot be evaluated."""
        ...

    def evaluate(self, architecture: Architecture) -> Evaluation: ...


@runtime_checkable
class UsesExitTables(Protocol):
    """A search algorithm that can make use of tables; what it proposes is a function of them as well."""

    def use_tables(self, tables: ExitTables) -> None: ...


def packed(flags: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Rows of flags (rows, samples) as words of 64 bits (rows, words)."""
    octets = np.packbits(flags, axis=1)
    padding = -octets.shape[1] % 8
    return np.ascontiguousarray(np.pad(octets, ((0, 0), (0, padding)))).view(np.uint64)


def count_bits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Flags that are set, per row of the last axis."""
    bits: NDArray[np.int64] = np.bitwise_count(words).sum(axis=-1, dtype=np.int64)
    return bits


def metric_columns(latency_energy_macs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Costs of leaving (..., 3), with the energy-delay product in J x cycles as a fourth column."""
    product = latency_energy_macs[..., 0] * latency_energy_macs[..., 1] * 1e-12
    return np.concatenate([latency_energy_macs, product[..., None]], axis=-1)


METRICS: Sequence[str] = (*COSTS, "energy_delay_product_j_cycles")
"""Columns of what `metric_columns` gives."""
