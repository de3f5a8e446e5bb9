"""Costs of all subsets of exits, derived from a few networks that have all of them.

Layer by layer, a stage costs what its backbone layers cost and what its branch costs, and neither depends on which
other branches are there. So it is enough to price the backbone alone and, per branch type, a network with that branch
at every tap.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.exact.exit_table import COSTS, ExitCosts
from offramp.cost.report import CostReport
from offramp.run.evaluators.exit_workloads import rounds
from offramp.space.architecture import Architecture, ExitChoice
from offramp.workload.graph import Role


def exit_costs(
    backbone: Architecture, options: Sequence[ExitChoice], price: Callable[[Architecture], CostReport]
) -> ExitCosts:
    """Costs of ``backbone`` with exits among ``options`` (in the order of their taps), from one network per round.

    ``price`` must give layers with their costs. Energy and MACs of a layer-by-layer schedule are exact. So are cycles
    as long as weights arrive in time; a branch with many weights may hold up what comes after it, by an amount that
    depends on what came before: `largest_deviation` says how far that is off.
    """
    to_tap, branch = np.zeros((len(options) + 1, len(COSTS))), np.zeros((len(options) + 1, len(COSTS)))
    alone = price(backbone)
    energies = [layer.energy_pj for layer in alone.layers if layer.role is Role.BACKBONE]
    for places in rounds(options):
        report = price(replace(backbone, exits=tuple(options[place] for place in places)))
        _read(report, energies, [*places, len(options)], to_tap, branch)
    if not options:
        _read(alone, energies, [0], to_tap, branch)
    return ExitCosts(to_tap, branch)


def _read(
    report: CostReport,
    backbone_energies: Sequence[float],
    places: Sequence[int],
    to_tap: NDArray[np.float64],
    branch: NDArray[np.float64],
) -> None:
    """Fill the rows ``places``, one per stage of the report."""
    energies = iter(backbone_energies)
    so_far = np.zeros(len(COSTS))
    for stage, place in enumerate(places):
        layers = [layer for layer in report.layers if layer.stage == stage]
        backbone = [layer for layer in layers if layer.role is Role.BACKBONE]
        cost = report.stages[stage]
        # A block whose output also goes to a branch is charged for sending it there; without the branch it is not.
        energy = sum(next(energies) for _ in backbone)
        so_far = so_far + np.asarray([cost.backbone_latency_cycles, energy, sum(layer.macs for layer in backbone)])
        to_tap[place] = so_far
        branch[place] = (
            cost.stage_latency_cycles - cost.backbone_latency_cycles,
            cost.stage_energy_pj - energy,
            sum(layer.macs for layer in layers if layer.role is not Role.BACKBONE),
        )


def costs_to_exits(costs: ExitCosts, places: Sequence[int]) -> NDArray[np.float64]:
    """Costs (exits, 3) of leaving at each exit of a subset (rows of ``costs``, in order) and at the end."""
    rows = [*places, len(costs.to_tap) - 1]
    result: NDArray[np.float64] = costs.to_tap[rows] + np.cumsum(costs.branch[rows], axis=0)
    return result


def largest_deviation(costs: ExitCosts, places: Sequence[int], report: CostReport) -> float:
    """Largest relative difference between derived costs and those of the network priced as it is."""
    priced = np.asarray([[s.latency_to_exit_cycles, s.energy_to_exit_pj, s.macs_to_exit] for s in report.stages])
    return float(np.abs(costs_to_exits(costs, places) / priced - 1.0).max())
