"""Random search: the seed's sequence, nothing twice."""

import numpy as np

from offramp.algorithms.random_search import RandomSearch
from offramp.objectives.parse import DEFAULT_OBJECTIVES
from offramp.testing.algorithm_conformance import advance
from offramp.testing.toys import ToyEvaluator, small_space, tiny_space


def search(seed: int = 0) -> RandomSearch:
    return RandomSearch(small_space(), DEFAULT_OBJECTIVES, (), seed)


def test_candidates_are_the_samples_of_the_seed() -> None:
    rng = np.random.default_rng(5)
    assert search(5).ask(6) == [small_space().sample(rng) for _ in range(6)]


def test_the_sequence_does_not_depend_on_the_size_of_batches() -> None:
    batches = [advance(search(), ToyEvaluator(), sizes) for sizes in ((30,), (10, 1, 19), (15, 15))]
    orders = [[item.architecture for batch in told for item in batch] for told in batches]
    assert orders[0] == orders[1] == orders[2]


def test_candidates_that_were_not_evaluated_are_due_again() -> None:
    algorithm = search()
    asked = algorithm.ask(10)
    algorithm.tell([ToyEvaluator().evaluate(item) for item in asked[:4]])
    assert algorithm.ask(6) == asked[4:]


def test_a_tiny_space_is_tried_out_completely() -> None:
    algorithm = RandomSearch(tiny_space(), DEFAULT_OBJECTIVES, (), 0)
    told = advance(algorithm, ToyEvaluator(), (300, 300))
    assert len({item.architecture for batch in told for item in batch}) == 200
    assert algorithm.ask(1) == []
