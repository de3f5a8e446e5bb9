"""Expected cost of an early-exit network: per-exit costs weighted by how many samples leave there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AliasChoices, Field

from offramp.cost.report import CostReport
from offramp.errors import InputError


@dataclass(frozen=True)
class ExpectedCost:
    """Means over samples; each sample is charged for every branch it ran through.

    Attributes:
        latency_cycles: Mean latency in cycles.
        energy_pj: Mean energy in picojoule.
        macs: Mean number of multiply-accumulate operations.
        energy_delay_product_j_cycles: Mean of the products of each sample's energy and latency, in joule times
            cycles.
        product_of_means_j_cycles: Product of the mean energy and the mean latency, in joule times cycles.
    """

    latency_cycles: float
    energy_pj: float
    macs: float
    # Manifests of earlier bundles have the second name.
    energy_delay_product_j_cycles: Annotated[
        float,
        Field(validation_alias=AliasChoices("energy_delay_product_j_cycles", "energy_latency_product_j_cycles")),
    ]
    product_of_means_j_cycles: float


def expected_cost(report: CostReport, exit_rates: Sequence[float]) -> ExpectedCost:
    """Weight the cumulative cost of each exit with the share of samples that leave there.

    Args:
        report: Cost to each exit.
        exit_rates: Share of the samples that leave at each exit, the final one included.

    Returns:
        Means over all samples.

    Raises:
        InputError: The rates do not fit the exits.
    """
    check_exit_rates(exit_rates, len(report.stages))
    latency = energy = macs = product = 0.0
    for stage, rate in zip(report.stages, exit_rates, strict=True):
        latency += rate * stage.latency_to_exit_cycles
        energy += rate * stage.energy_to_exit_pj
        macs += rate * stage.macs_to_exit
        product += rate * stage.product_to_exit_j_cycles
    return ExpectedCost(latency, energy, macs, product, energy * 1e-12 * latency)


def exit_weights(exit_rates: Sequence[float] | None, num_exits: int) -> tuple[float, ...]:
    """Weights of the exits for a mapping that compares schedules.

    Args:
        exit_rates: Share of the samples that leave at each exit; None = not known.
        num_exits: Number of exits of the network that is mapped.

    Returns:
        The rates; equal weights where they are not known, or where the network is the static one of several exits.

    Raises:
        InputError: The rates do not fit the exits.
    """
    if exit_rates is None or (num_exits == 1 and len(exit_rates) > 1):
        return (1.0 / num_exits,) * num_exits
    check_exit_rates(exit_rates, num_exits)
    return tuple(exit_rates)


def check_exit_rates(exit_rates: Sequence[float], num_exits: int) -> None:
    """Check that there is one rate per exit and that rates are shares that sum to 1.

    Args:
        exit_rates: Share of the samples that leave at each exit; printed rates are rounded, so 0.005 is tolerated.
        num_exits: Number of exits, the final one included.

    Raises:
        InputError: The number of rates, a rate, or their sum is wrong.
    """
    if len(exit_rates) != num_exits:
        raise InputError(
            f"Exit rates must have one value per exit ({num_exits}, the final one included), "
            f"got {len(exit_rates)}: {list(exit_rates)}."
        )
    bad = [rate for rate in exit_rates if not (math.isfinite(rate) and 0.0 <= rate <= 1.0)]
    if bad or abs(sum(exit_rates) - 1.0) > 5e-3:
        raise InputError(f"Exit rates must be shares from 0 to 1 that sum to 1, got {list(exit_rates)}.")
