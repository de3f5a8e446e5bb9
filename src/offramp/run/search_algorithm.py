"""The search algorithm that the settings name."""

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.algorithms.exact.backbone_solver import BackboneSolver, UsesBackboneSolver
from offramp.objectives.evaluation import SearchAlgorithm
from offramp.run.context import Context


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
