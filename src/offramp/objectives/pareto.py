"""ParetoFront: the evaluations that no other dominates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.numerics.dominance import distinct_front
from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.space.architecture import Architecture


@dataclass(frozen=True)
class ParetoFront:
    """Non-dominated feasible evaluations, best in the first objective first. Made by `pareto_front`."""

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
        """Volume between the front and a reference point that is worse than it; 0 for an empty front.

        ``reference`` has one value per objective, in the objectives' own units (an accuracy of 0, say). Members
        that are not better than it in every objective add nothing.
        """
        values = np.asarray(reference, dtype=np.float64)
        if values.shape != (len(self.objectives),) or not np.isfinite(values).all():
            raise InputError(
                f"`reference` must be one finite value per objective ({len(self.objectives)}), got {list(reference)}."
            )
        point = np.asarray([o.to_minimize(float(v)) for o, v in zip(self.objectives, values, strict=True)])
        points = values_to_minimize(self.evaluations, self.objectives)
        points = points[(points < point).all(axis=1)]
        if not len(points):
            return 0.0
        from pymoo.indicators.hv import HV  # loads matplotlib

        return float(HV(ref_point=point)(points))


def pareto_front(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> ParetoFront:
    """The front of all evaluations; empty where none is complete and feasible.

    An architecture that occurs twice is kept once (the first time). Of candidates with equal values the first is kept:
    they stand for the same point, as where all samples leave at one exit and only what comes after it differs.
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
    """Objective values (evaluations, objectives), signs changed so that smaller is better."""
    rows = []
    for evaluation in evaluations:
        missing = [o.metric for o in objectives if o.metric not in evaluation.values]
        if missing:
            raise InputError(f"an evaluation must have a value of every objective, missing: {', '.join(missing)}.")
        rows.append([o.to_minimize(evaluation.values[o.metric]) for o in objectives])
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(objectives))


def least_violating(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The complete evaluation that comes closest to keeping all constraints; None where none is complete."""
    complete = [evaluation for evaluation in evaluations if evaluation.status is Status.COMPLETE]
    return min(complete, key=lambda evaluation: sum(evaluation.violations), default=None)
