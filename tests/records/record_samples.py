"""Records for the tests: evaluations by formula."""

from collections.abc import Sequence

import numpy as np

from offramp.objectives.evaluation import Evaluation
from offramp.records import RunStore
from offramp.testing.toys import ToyEvaluator, small_space


def some_evaluations(count: int = 3) -> list[Evaluation]:
    space, rng = small_space(), np.random.default_rng(0)
    evaluator = ToyEvaluator()
    return [evaluator.evaluate(space.sample(rng)) for _ in range(count)]


def append_all(store: RunStore, batch: int, evaluations: Sequence[Evaluation]) -> None:
    store.propose(batch, [evaluation.architecture for evaluation in evaluations])
    for position, evaluation in enumerate(evaluations):
        store.append(batch, position, evaluation)
