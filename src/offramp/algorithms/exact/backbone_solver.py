"""Solvers of backbones: what the outer search of `exact` asks for, in this process or by workers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from offramp.algorithms.exact.exit_solver import cost_columns, solve
from offramp.algorithms.exact.exit_table import ExitTables
from offramp.algorithms.space_restriction import HasExitChoices
from offramp.objectives.evaluation import Constraint, Evaluation, Objective, Status
from offramp.objectives.fronts import static_in_effect
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace


@dataclass(frozen=True)
class BackboneSolution:
    """The early-exit networks of one backbone that may be on the front.

    Attributes:
        evaluations: Their complete evaluations: the backbone without exits, then the most accurate first. Empty where
            none could be evaluated.
        complete: Whether no network of the front can be missing.
        statics: Evaluations of the static networks of the backbone: cut at every tap with every branch, and as it is.
    """

    evaluations: tuple[Evaluation, ...]
    complete: bool = True
    statics: tuple[Evaluation, ...] = ()


class BackboneSolver(Protocol):
    """Solves backbones. The solution of a backbone depends on nothing but the backbone."""

    def prepare(self, backbones: Sequence[Architecture]) -> None:
        """Announce backbones that will be solved next, so that several can be solved at once.

        Args:
            backbones: The backbones, without early exits.
        """
        ...

    def solve(self, backbone: Architecture) -> BackboneSolution | None:
        """Solve a backbone.

        Args:
            backbone: The backbone, without early exits.

        Returns:
            Its solution; None if its exits cannot be solved from cached outputs.
        """
        ...


class TableSolver:
    """Solves backbones in this process, from exit tables."""

    def __init__(
        self,
        tables: ExitTables,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
    ) -> None:
        """Solve nothing yet.

        Args:
            tables: Provide the exit tables and evaluate candidates from them.
            space: The search space.
            objectives: Metrics to optimise.
            constraints: Bounds on metrics.
        """
        self._tables = tables
        self._space = space
        self._columns = cost_columns(objectives, constraints)

    def prepare(self, backbones: Sequence[Architecture]) -> None:
        """Do nothing: this process solves one backbone at a time.

        Args:
            backbones: The backbones that come next.
        """

    def solve(self, backbone: Architecture) -> BackboneSolution | None:
        """Solve a backbone.

        Args:
            backbone: The backbone, without early exits.

        Returns:
            Its solution; None if it has no exit table, or the space does not say which exits it offers.
        """
        table = self._tables.table(backbone) if isinstance(self._space, HasExitChoices) else None
        if table is None or not isinstance(self._space, HasExitChoices):
            return None
        found = solve(table, self._space.max_exits, self._space.accuracy_drops, self._columns)
        judged = [_with_few_statics(self._tables.evaluate(candidate)) for candidate in found.candidates]
        complete = tuple(item for item in judged if item.status is Status.COMPLETE)
        return BackboneSolution(complete, found.complete, self._tables.static_candidates(backbone))


def _with_few_statics(evaluation: Evaluation) -> Evaluation:
    """The evaluation with the static network that it is in effect alone; the solution has all of them once."""
    static = static_in_effect(evaluation)
    return replace(evaluation, statics=() if static is None else (static,))


@runtime_checkable
class UsesBackboneSolver(Protocol):
    """A search algorithm that can use a solver of backbones; its proposals then depend on the solutions as well."""

    def use_solver(self, solver: BackboneSolver) -> None:
        """Use this solver.

        Args:
            solver: The solver.
        """
        ...
