"""The study of a run: its algorithm, its evaluators, and how many batches are open at once."""

import math
from collections.abc import Callable

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.algorithms.exact.backbone_solver import BackboneSolver, TableSolver, UsesBackboneSolver
from offramp.objectives.evaluation import Evaluation, Evaluator, SearchAlgorithm
from offramp.records import RunStore
from offramp.run.context import Context
from offramp.run.evaluators.batch_evaluator import BatchEvaluator
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator
from offramp.run.evaluators.recorded_solver import RecordedSolver, SolvedCandidates
from offramp.run.evaluators.remote_evaluation import RemoteEvaluator
from offramp.run.evaluators.remote_solver import RemoteSolver
from offramp.run.study import FailureLimit, Study

_OPEN_BATCHES = "open batches"
_CANDIDATES_PER_WORKER = 2
"""Candidates proposed for each worker: the one that it evaluates, and one that it begins next."""


def build_algorithm(context: Context, solver: BackboneSolver | None = None) -> SearchAlgorithm:
    """Build the search algorithm of a run.

    Args:
        context: The parts of the run.
        solver: Solves backbones, for an algorithm that uses a solver. It is left out where the exits of this backbone
            family cannot be solved.

    Returns:
        An algorithm that has proposed nothing yet.
    """
    factory = ALGORITHMS.get(context.config.search.algorithm)
    algorithm = factory(context.space, context.objectives, context.constraints, context.config.seed)
    if isinstance(algorithm, UsesBackboneSolver) and solver is not None:
        largest = context.space.max_architecture().without_exits()
        if solver.solve(largest) is not None:
            algorithm.use_solver(solver)
    return algorithm


def build_study(
    context: Context,
    store: RunStore,
    evaluator: Evaluator | BatchEvaluator,
    on_evaluation: Callable[[int, Evaluation], None],
) -> Study:
    """Build a study that continues from the end of the record.

    Args:
        context: The parts of the run.
        store: The record of the run.
        evaluator: Evaluates candidates, in this process or by workers.
        on_evaluation: Called with the number of evaluations so far and each new evaluation.

    Returns:
        The study, with the evaluations of the record.

    Raises:
        RunError: The algorithm proposes other candidates than the record holds.
    """
    execution = context.config.execution
    cached = CachedLogitsEvaluator(context.evaluator, context.space)
    solver: BackboneSolver = TableSolver(cached, context.space, context.objectives, context.constraints)
    num_workers = 1
    if isinstance(evaluator, RemoteEvaluator):
        solver = RemoteSolver(evaluator.executor, evaluator.timeout_s)
        num_workers = evaluator.executor.num_workers
    recorded = RecordedSolver(solver, store)
    algorithm = build_algorithm(context, recorded)
    study = Study(
        algorithm,
        SolvedCandidates(recorded, evaluator),
        store,
        open_batches=_open_batches(context, store, algorithm, num_workers),
        failure_limit=FailureLimit(execution.max_failures),
        on_evaluation=on_evaluation,
    )
    study.replay()
    return study


def _open_batches(context: Context, store: RunStore, algorithm: SearchAlgorithm, num_workers: int) -> int:
    """The number of the record, because proposals depend on it; that of the settings or of the workers in a new run."""
    recorded = store.get(_OPEN_BATCHES)
    if recorded is not None:
        return int(recorded)
    search = context.config.search
    count = search.open_batches
    if count is None:
        # An algorithm with a solver leaves its work to workers while it proposes.
        alone = isinstance(algorithm, UsesBackboneSolver) or 2 * num_workers <= search.batch or bool(store.batches())
        count = 1 if alone else 1 + math.ceil(_CANDIDATES_PER_WORKER * num_workers / search.batch)
    store.set(_OPEN_BATCHES, str(count))
    return count
