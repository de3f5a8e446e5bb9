"""Costs of all subsets of exits, derived from a few networks that have all of them.

In a layer-by-layer schedule, the cost of a stage is the cost of its backbone layers plus that of its branch. Neither
depends on the other branches of the network. It is therefore enough to price the backbone alone and, per branch type,
a network with that branch at every tap.

With the optimized mapping the sums are estimates: which weights are loaded ahead, and where tensors lie, depends on all
branches of a network. Every network that is chosen by them is priced as a whole afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.exact.exit_table import COSTS, ExitCosts
from offramp.cost.report import CostReport
from offramp.run.evaluators.exit_workloads import exit_groups
from offramp.space.architecture import Architecture, ExitChoice
from offramp.workload.graph import Role


def exit_costs(
    backbone: Architecture, options: Sequence[ExitChoice], price: Callable[[Architecture], CostReport]
) -> ExitCosts:
    """Price a backbone and its exits, so that the costs of any subset of the exits follow by addition.

    Energy and MACs are exact for a layer-by-layer schedule. Cycles are exact as long as weights arrive in time: a
    branch with many weights may delay the layers after it, by an amount that depends on the layers before it.

    Args:
        backbone: The architecture without exits.
        options: The exits that it may have, in the order of their taps.
        price: Returns the cost report of an architecture, with the costs of its layers.

    Returns:
        The costs of the backbone up to each option, and of the branch of each option.
    """
    to_tap, branch = np.zeros((len(options) + 1, len(COSTS))), np.zeros((len(options) + 1, len(COSTS)))
    alone = price(backbone)
    energies = [layer.energy_pj for layer in alone.layers if layer.role is Role.BACKBONE]
    for places in exit_groups(options):
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
