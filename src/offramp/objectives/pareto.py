"""ParetoFront: the evaluations that no other dominates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.numerics.dominance import distinct_front
from offramp.numerics.hypervolume import hypervolume
from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.space.architecture import Architecture


@dataclass(frozen=True)
class ParetoFront:
    """Non-dominated feasible evaluations. Use `pareto_front` to create one.

    Attributes:
        objectives: the objectives, at least one.
        evaluations: the members, best in the first objective first.
    """

    objectives: tuple[Objective, ...]
    evaluations: tuple[Evaluation, ...]

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError("a Pareto front must have at least one objective.")
        if not all(evaluation.feasible for evaluation in self.evaluations):
            raise ValueError("a Pareto front must hold complete, feasible evaluations only.")

    def __len__(self) -> int:
        return len(self.evaluations)

    def __iter__(self) -> Iterator[Evaluation]:
        return iter(self.evaluations)

    def hypervolume(self, reference: Sequence[float]) -> float:
        """Compute the volume that the front dominates up to a reference point.

        Args:
            reference: one value per objective, in the unit of the objective. Members that are not better in every
                objective add nothing.

        Returns:
            The volume; 0 for an empty front.

        Raises:
            InputError: if there is not one finite value per objective.
        """
        values = np.asarray(reference, dtype=np.float64)
        if values.shape != (len(self.objectives),) or not np.isfinite(values).all():
            raise InputError(
                f"`reference` must be one finite value per objective ({len(self.objectives)}), got {list(reference)}."
            )
        point = np.asarray([o.to_minimize(float(v)) for o, v in zip(self.objectives, values, strict=True)])
        return hypervolume(values_to_minimize(self.evaluations, self.objectives), point)


def pareto_front(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> ParetoFront:
    """Find the Pareto front of evaluations.

    Of evaluations with the same architecture or with equal values, the first is kept. Values are equal, for example, if
    all samples leave at one exit and architectures differ only after it.

    Args:
        evaluations: evaluations of any status.
        objectives: the objectives, at least one.

    Returns:
        The front; empty if no evaluation is complete and feasible.
    """
    kept: dict[tuple[float, ...], Evaluation] = {}
    seen: set[Architecture] = set()
    for evaluation in evaluations:
        if evaluation.feasible and evaluation.architecture not in seen:
            seen.add(evaluation.architecture)
            values = tuple(values_to_minimize([evaluation], objectives)[0].tolist())
            kept.setdefault(values, evaluation)
    candidates = list(kept.values())
    points = values_to_minimize(candidates, objectives)
    return ParetoFront(tuple(objectives), tuple(candidates[index] for index in distinct_front(points)))


def values_to_minimize(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Collect objective values with signs such that smaller is better.

    Args:
        evaluations: complete evaluations.
        objectives: the objectives.

    Returns:
        Values of shape (evaluations, objectives).

    Raises:
        InputError: if an evaluation has no value of an objective.
    """
    rows = []
    for evaluation in evaluations:
        missing = [o.metric for o in objectives if o.metric not in evaluation.values]
        if missing:
            raise InputError(f"an evaluation must have a value of every objective, missing: {', '.join(missing)}.")
        rows.append([o.to_minimize(evaluation.values[o.metric]) for o in objectives])
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(objectives))


def least_violating(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """Find the complete evaluation with the smallest sum of constraint violations.

    Args:
        evaluations: evaluations of any status.

    Returns:
        The evaluation; None if none is complete.
    """
    complete = [evaluation for evaluation in evaluations if evaluation.status is Status.COMPLETE]
    return min(complete, key=lambda evaluation: sum(evaluation.violations), default=None)
