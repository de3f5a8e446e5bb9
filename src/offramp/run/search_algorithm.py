"""The search algorithm that the settings name."""

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.algorithms.exact.exit_table import ExitTables, UsesExitTables
from offramp.objectives.evaluation import SearchAlgorithm
from offramp.run.context import Context


def build_algorithm(context: Context, tables: ExitTables | None = None) -> SearchAlgorithm:
    """Build the search algorithm of a run.

    Args:
        context: The parts of the run.
        tables: Exit tables, for an algorithm that uses them. They are left out where they cannot be made for this
            backbone and cost model.

    Returns:
        An algorithm that has proposed nothing yet.
    """
    factory = ALGORITHMS.get(context.config.search.algorithm)
    algorithm = factory(context.space, context.objectives, context.constraints, context.config.seed)
    if isinstance(algorithm, UsesExitTables) and tables is not None:
        largest = context.space.max_architecture().without_exits()
        if tables.table(largest) is not None:
            algorithm.use_tables(tables)
    return algorithm
