"""The fronts of a search, or why there are none."""

from collections.abc import Sequence

from offramp.errors import ConstraintError
from offramp.objectives.evaluation import Constraint, Evaluation, Objective
from offramp.objectives.fronts import Fronts, split_fronts
from offramp.objectives.pareto import least_violating


def fronts_of(
    evaluations: Sequence[Evaluation],
    statics: Sequence[Evaluation],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
) -> Fronts:
    """Find the fronts of a search.

    Args:
        evaluations: All evaluations; perhaps none where the search was interrupted.
        statics: The evaluations of all static networks.
        objectives: The objectives.
        constraints: The constraints of the search.

    Returns:
        The fronts.

    Raises:
        ConstraintError: There are evaluations, but no network keeps all constraints, or none could be evaluated.
    """
    everything = [*evaluations, *statics]
    fronts = split_fronts(everything, objectives)
    if len(fronts) or not evaluations:
        return fronts
    nearest = least_violating(everything)
    if nearest is None:
        reasons = sorted({e.error or "" for e in evaluations})
        raise ConstraintError(f"None of {len(evaluations)} candidates could be evaluated: {'; '.join(reasons[:3])}")
    values = ", ".join(f"{c.metric} = {nearest.values[c.metric]:.6g}" for c in constraints)
    bounds = ", ".join(f"{c.metric}{c.relation}{c.bound:g}" for c in constraints)
    raise ConstraintError(
        f"None of {len(evaluations)} candidates keeps all constraints ({bounds}). The nearest one has {values}. "
        f"{_too_large(nearest)}Loosen a constraint, choose another backbone, or search longer (--budget)."
    )


def _too_large(evaluation: Evaluation) -> str:
    """What does not fit the accelerator's memories, and how to allow it; empty where all fits."""
    needs = evaluation.details.cost.memory if evaluation.details is not None else ()
    sentences = [need.sentence for need in needs if not need.fits]
    return " ".join([*sentences, "search.fit_memory=false allows that.", ""]) if sentences else ""
