"""Conformance checks of search algorithms; each raises AssertionError with a message."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.jsonio import to_data
from offramp.objectives.evaluation import Constraint, Evaluation, Evaluator, SearchAlgorithm, Status
from offramp.objectives.parse import DEFAULT_OBJECTIVES
from offramp.space.architecture import Architecture
from offramp.space.search_space import SearchSpace
from offramp.tabular.benchmark_table import Table
from offramp.testing.toys import ToyEvaluator, small_space, tiny_space

_ON_TABLE, _MOST_REGRET = 40, 0.3
"""Candidates of a search on a table, and the share of the true front's hypervolume that it may miss.

Random search misses less than 0.01; algorithms that leave out branch types miss up to 0.24.
"""
IMPOSSIBLE = (Constraint("macs", "<=", 1.0),)


class FailingEvaluator:
    """Fails on every architecture."""

    def evaluate(self, architecture: Architecture) -> Evaluation:
        return Evaluation(architecture, Status.FAILED, {}, error="this evaluator always fails")


def build(name: str, space: SearchSpace, seed: int = 0, constraints: Sequence[Constraint] = ()) -> SearchAlgorithm:
    """Build a registered algorithm with the default objectives.

    Args:
        name: The registered name.
        space: The search space.
        seed: Seed of everything random.
        constraints: Constraints of the search.

    Returns:
        The algorithm.
    """
    return ALGORITHMS.get(name)(space, DEFAULT_OBJECTIVES, constraints, seed)


def advance(
    algorithm: SearchAlgorithm, evaluator: Evaluator, batches: Sequence[int], *, ask_for: int = 0
) -> list[list[Evaluation]]:
    """Ask, evaluate and tell, batch by batch.

    Args:
        algorithm: The algorithm.
        evaluator: What evaluates its proposals.
        batches: How many evaluations each batch has.
        ask_for: At least so many proposals are asked for, of which the first are used.

    Returns:
        The evaluations of each batch.
    """
    told = []
    for count in batches:
        asked = algorithm.ask(max(count, ask_for))[:count]
        told.append([evaluator.evaluate(architecture) for architecture in asked])
        algorithm.tell(told[-1])
    return told


def check_members(name: str) -> None:
    """Check that proposals are members of the space, as many as asked for, and that none comes twice.

    Args:
        name: The registered name.

    Raises:
        AssertionError: If they are not.
    """
    space = small_space()
    batches = advance(build(name, space), ToyEvaluator(), (1, 7, 20, 3, 40))
    asked = [evaluation.architecture for batch in batches for evaluation in batch]
    _check(len(asked) == 71, f"{name} proposed {len(asked)} candidates where 71 were asked for")
    _check(len(set(asked)) == len(asked), f"{name} proposed a candidate twice")
    _check(all(space.decode(space.encode(item)) == item for item in asked), f"{name} left the space")


def check_same_seed(name: str) -> None:
    """Check that the same seed gives the same proposals, also in a fresh process, and another seed gives others.

    Args:
        name: The registered name.

    Raises:
        AssertionError: If it does not.
    """
    here = proposals(name, 3)
    _check(here == proposals(name, 3), f"{name} proposes other candidates for the same seed")
    _check(here != proposals(name, 4), f"{name} proposes the same candidates for another seed")
    code = f"from offramp.testing.algorithm_conformance import proposals; print(proposals({name!r}, 3))"
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            # The same packages as here, wherever they were found.
            env={"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        _check(done.returncode == 0, f"{name} fails in a fresh process: {done.stderr}")
        _check(done.stdout.strip() == here, f"{name} proposes other candidates in a fresh process")


def proposals(name: str, seed: int) -> str:
    """What an algorithm asks for after three batches, as JSON text.

    Args:
        name: The registered name.
        seed: Seed of everything random.

    Returns:
        The proposals as text.
    """
    algorithm = build(name, small_space(), seed)
    advance(algorithm, ToyEvaluator(), (20, 20, 9))
    return json.dumps([to_data(architecture) for architecture in algorithm.ask(10)])


def check_replay(name: str) -> None:
    """A fresh object that is told the stored batches asks for the same, with and without asking in between.

    Batches that were cut short and stored in part are replayed as well: asking for fewer gives the first of more.

    Args:
        name: The registered name.

    Raises:
        AssertionError: If it does not.
    """
    live = build(name, small_space())
    batches = advance(live, ToyEvaluator(), (20, 7, 20, 11), ask_for=20)
    told_only, asked_too = build(name, small_space()), build(name, small_space())
    for batch in batches:
        told_only.tell(batch)
        again = asked_too.ask(len(batch))
        _check(again == [item.architecture for item in batch], f"{name} proposes others when its record is replayed")
        asked_too.tell(batch)
    expected = live.ask(15)
    _check(told_only.ask(15) == expected, f"{name} asks for others after the same tells")
    _check(asked_too.ask(4) + asked_too.ask(11) == expected, f"{name} asks for others when asked in pieces")


def check_survives(name: str) -> None:
    """Goes on with new candidates when nothing is feasible, when everything fails, and when both mix.

    Args:
        name: The registered name.

    Raises:
        AssertionError: If it does not.
    """
    mixed: list[Evaluator] = [ToyEvaluator(IMPOSSIBLE), FailingEvaluator()]
    for evaluators in (mixed[:1], mixed[1:], mixed):
        algorithm = build(name, small_space(), constraints=IMPOSSIBLE)
        for number in range(4):
            asked = algorithm.ask(20)
            _check(len(asked) == 20, f"{name} stops proposing when nothing is feasible")
            algorithm.tell([evaluators[(number + i) % len(evaluators)].evaluate(x) for i, x in enumerate(asked)])


def check_exhausts(name: str) -> None:
    """On a tiny space it ends by asking for fewer than wanted, or nothing; it neither repeats itself nor hangs.

    Args:
        name: The registered name.

    Raises:
        AssertionError: If it does not.
    """
    space = tiny_space()
    batches = advance(build(name, space), ToyEvaluator(), (100,) * (space.size // 100 + 2))
    asked = [evaluation.architecture for batch in batches for evaluation in batch]
    _check(len(set(asked)) == len(asked), f"{name} proposes known candidates when a tiny space is exhausted")


def check_table(name: str) -> None:
    """Check a search on the shipped table of the digits: real networks, whose true front is known.

    Every proposal is a network of the table, the same seed gives the same search, and most of the hypervolume of the
    true front is found.

    Args:
        name: The registered name.

    Raises:
        AssertionError: If it does not hold.
    """
    table = _digits()
    found, again = (table.search(name, evaluations=_ON_TABLE, seed=1).evaluations for _ in range(2))
    _check(all(item.status is Status.COMPLETE for item in found), f"{name} proposes networks that the table lacks")
    _check(found == again, f"{name} finds something else on a table for the same seed")
    regret = table.regret(found)
    _check(regret <= _MOST_REGRET, f"{name} misses {regret:.0%} of the true front after {len(found)} candidates")


@functools.cache
def _digits() -> Table:
    return Table.load("digits")


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


CHECKS = (check_members, check_same_seed, check_replay, check_survives, check_exhausts, check_table)
