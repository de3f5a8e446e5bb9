"""Energy and energy-delay product to each exit of a schedule that is only compared with others, without a report."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

PJ_TO_J = 1e-12


class EnergyCharge(NamedTuple):
    """Energy that is spent in full once ``start_cycle`` has passed.

    Attributes:
        layer: Name of the layer that is charged.
        start_cycle: When the execution or transfer starts.
        energy_pj: What it takes.
    """

    layer: str
    start_cycle: float
    energy_pj: float


def energies_to_exits(
    charges: Iterable[EnergyCharge],
    stage_of: Mapping[str, int],
    verdict_cycles: Sequence[float],
    idle_pj_per_cycle: float = 0.0,
) -> list[float]:
    """Energy that a sample has taken when it leaves, exit by exit.

    It is that of `offramp.cost.schedule_report.stage_costs` with boundaries at the verdicts.

    Args:
        charges: All executions and transfers.
        stage_of: Stage of each layer.
        verdict_cycles: Verdict of each exit.
        idle_pj_per_cycle: Energy of every cycle on top.

    Returns:
        pJ per exit: the stages up to it, work for later stages that began before its verdict, and idle power until
        then.
    """
    stages = [0.0] * len(verdict_cycles)
    early = [0.0] * len(verdict_cycles)
    for layer, start, energy in charges:
        stage = stage_of[layer]
        stages[stage] += energy
        for earlier in range(stage):
            if start < verdict_cycles[earlier]:
                early[earlier] += energy
    return [
        sum(stages[: index + 1]) + early[index] + idle_pj_per_cycle * verdict
        for index, verdict in enumerate(verdict_cycles)
    ]


def mean_energy_delay_product(
    energies_pj: Sequence[float], verdict_cycles: Sequence[float], exit_rates: Sequence[float]
) -> float:
    """Mean of energy times latency over the exits.

    Args:
        energies_pj: Energy to each exit.
        verdict_cycles: Latency to each exit.
        exit_rates: Weight of each exit.

    Returns:
        The mean in J x cycles.
    """
    return sum(
        rate * energy * PJ_TO_J * cycles
        for rate, energy, cycles in zip(exit_rates, energies_pj, verdict_cycles, strict=True)
    )
