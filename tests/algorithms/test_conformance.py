"""Every registered search algorithm passes the conformance checks, and the checks can fail."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from offramp.algorithms.algorithm import ALGORITHMS, AlgorithmFactory
from offramp.objectives.evaluation import Constraint, Evaluation, Objective
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace
from offramp.testing import algorithm_conformance as search_conformance
from offramp.testing.algorithm_conformance import CHECKS

_shared = np.random.default_rng(0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_conformance(name: str, check: Callable[[str], None]) -> None:
    check(name)


class Careless:
    """Draws from a generator that all objects share, repeats itself, and gives up when nothing is feasible."""

    def __init__(
        self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint], seed: int
    ) -> None:
        self._space = space
        self._gave_up = False

    def ask(self, count: int) -> list[Architecture]:
        return [] if self._gave_up else [self._space.sample(_shared) for _ in range(count)]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        self._gave_up = not any(evaluation.feasible for evaluation in evaluations)


class OnlyTheLargest(Careless):
    """Proposes one network and ends."""

    def ask(self, count: int) -> list[Architecture]:
        asked = [] if self._gave_up else [self._space.max_architecture()]  # type: ignore[attr-defined]
        self._gave_up = True
        return asked

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        pass


def test_an_algorithm_that_finds_little_of_a_table_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    list(ALGORITHMS)
    monkeypatch.setitem(ALGORITHMS._items, "largest", AlgorithmFactory("", OnlyTheLargest))
    with pytest.raises(AssertionError, match="largest misses 100% of the true front after 1 candidates"):
        search_conformance.check_table("largest")


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (search_conformance.check_same_seed, "other candidates for the same seed"),
        (search_conformance.check_replay, "others"),
        (search_conformance.check_survives, "stops proposing when nothing is feasible"),
        (search_conformance.check_exhausts, "known candidates"),
        (search_conformance.check_table, "finds something else on a table"),
    ],
)
def test_the_checks_catch_a_careless_algorithm(
    check: Callable[[str], None], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(ALGORITHMS)
    monkeypatch.setitem(ALGORITHMS._items, "careless", AlgorithmFactory("", Careless))
    with pytest.raises(AssertionError, match=fault):
        check("careless")
