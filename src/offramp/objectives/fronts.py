"""The two fronts of a search: of early-exit networks and of static ones, each candidate in the one it belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from offramp.errors import ConstraintError
from offramp.numerics.dominance import covered
from offramp.numerics.hypervolume import hypervolume
from offramp.objectives.evaluation import Evaluation, Objective, Status, quality_metric
from offramp.objectives.pareto import ParetoFront, pareto_front, values_to_minimize
from offramp.objectives.picking import NEAR_BEST_DROP, check_rule, near_best, pick
from offramp.space.architecture import ExitChoice

STATIC_SHARE = 0.99
"""A network is static if a larger share of the validation samples than this leaves at one exit."""


def as_what_it_is(evaluation: Evaluation) -> Evaluation:
    """Replace the evaluation of an early-exit network that is static in effect by that of the static network.

    It is static in effect if more than `STATIC_SHARE` of the validation samples leave at one exit.

    Args:
        evaluation: Any evaluation.

    Returns:
        The one of its `statics` that ends at that exit, or the evaluation as it is; without `statics`.
    """
    return replace(static_in_effect(evaluation) or evaluation, statics=())


def static_in_effect(evaluation: Evaluation) -> Evaluation | None:
    """Find the static network that an early-exit network is in effect.

    Args:
        evaluation: Any evaluation.

    Returns:
        The one of its `statics` that ends where more than `STATIC_SHARE` of the validation samples leave; None if they
        leave at several exits, or there is no complete evaluation of that static network.
    """
    architecture = evaluation.architecture
    if evaluation.details is None or architecture.is_static:
        return None
    rates = evaluation.details.profile.rates
    busiest = max(range(len(rates)), key=rates.__getitem__)
    if rates[busiest] <= STATIC_SHARE:
        return None
    end = (*architecture.exits, architecture.head)[busiest]
    for static in evaluation.statics:
        if static.status is Status.COMPLETE and _place(static.architecture.head) == _place(end):
            return static
    return None


def _place(end: ExitChoice | None) -> ExitChoice | None:
    """Tap and branch of an exit; bit widths are those of the architecture where the exit is the head."""
    return end and replace(end, precision=None)


@dataclass(frozen=True)
class Fronts:
    """The Pareto front of early-exit networks and that of static ones.

    Attributes:
        early_exit: The front of networks with early exits.
        static: The front of networks without.
    """

    early_exit: ParetoFront
    static: ParetoFront

    def __post_init__(self) -> None:
        if self.early_exit.objectives != self.static.objectives:
            raise ValueError("both fronts must be of the same objectives.")
        if any(item.architecture.is_static for item in self.early_exit):
            raise ValueError("the front of early-exit networks must hold no static one.")
        if not all(item.architecture.is_static for item in self.static):
            raise ValueError("the front of static networks must hold no early-exit one.")

    def __len__(self) -> int:
        """Number of networks on both fronts."""
        return len(self.early_exit) + len(self.static)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of both fronts."""
        return self.static.objectives

    @property
    def beyond_static(self) -> ParetoFront:
        """The early-exit networks that no static one equals or dominates."""
        if not len(self.early_exit):
            return self.early_exit
        ours = values_to_minimize(self.early_exit.evaluations, self.objectives)
        beaten = covered(ours, values_to_minimize(self.static.evaluations, self.objectives))
        members = tuple(item for item, lost in zip(self.early_exit, beaten, strict=True) if not lost)
        return ParetoFront(self.objectives, members)

    def pick(self, rule: str | int) -> Evaluation:
        """Return the network that a rule names.

        Rules and bounds pick among the early-exit networks that no static one equals or dominates; where there are
        none, or none keeps the bounds, among the static front, then among the whole early-exit front. A number is a
        place on the early-exit front, or on the static front where there is no other. ``near_best`` compares with the
        most accurate static network, where there is one.

        Args:
            rule: A rule as `offramp.objectives.picking.pick` takes it.

        Returns:
            The picked evaluation.

        Raises:
            UnknownNameError: The rule cannot be understood.
            InputError: Both fronts are empty, or there is no such place.
            ConstraintError: A bound cannot be understood, or no network keeps the bounds.
        """
        check_rule(rule)
        whole = self.early_exit if len(self.early_exit) else self.static
        if str(rule).strip().removeprefix("-").isdecimal():
            return pick(whole, rule)
        if str(rule).strip() == "near_best" and len(self.static):
            return self._near_best()
        fronts = [front for front in (self.beyond_static, self.static, self.early_exit) if len(front)] or [whole]
        for front in fronts[:-1]:
            try:
                return pick(front, rule)
            except ConstraintError:
                continue
        return pick(fronts[-1], rule)

    def _near_best(self) -> Evaluation:
        """The cheapest early-exit network nearly as accurate as the best static one; a static one where none is."""
        quality = quality_metric(self.objectives)
        best = max(item.values[quality] for item in self.static)
        beyond = self.beyond_static
        found = near_best(beyond, best) if len(beyond) else None
        if found is not None and found.values[quality] >= best - NEAR_BEST_DROP - 1e-12:
            return found
        return near_best(self.static, best)

    def volume_beyond(self, reference: Sequence[float] | None = None) -> float:
        """Measure what early exits add to the front: hypervolume of both fronts together minus that of the static one.

        Args:
            reference: One value per objective, in the unit of the objective, up to which volumes are measured. None:
                each objective is scaled to 0..1 between the best and the worst value on both fronts, and volumes are
                measured up to the worst ones; an objective with one value counts as 1.

        Returns:
            The volume, at least 0.

        Raises:
            InputError: There is not one finite value per objective.
        """
        members = [*self.static.evaluations, *self.early_exit.evaluations]
        if not members:
            return 0.0
        joint = pareto_front(members, self.objectives)
        if reference is not None:
            return max(0.0, joint.hypervolume(reference) - self.static.hypervolume(reference))
        values = values_to_minimize(members, self.objectives)
        low, high = values.min(axis=0), values.max(axis=0)
        differs = high > low
        if not differs.any():
            return 0.0
        scaled = (values[:, differs] - low[differs]) / (high - low)[differs]
        worst = np.ones(scaled.shape[1])
        return max(0.0, hypervolume(scaled, worst) - hypervolume(scaled[: len(self.static)], worst))


def split_fronts(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> Fronts:
    """Find both fronts of evaluations.

    Args:
        evaluations: Evaluations of early-exit and of static networks, of any status.
        objectives: The objectives, at least one.

    Returns:
        The fronts; empty where no evaluation of the kind is complete and feasible.
    """
    static = [item for item in evaluations if item.architecture.is_static]
    early = [item for item in evaluations if not item.architecture.is_static]
    return Fronts(pareto_front(early, objectives), pareto_front(static, objectives))
