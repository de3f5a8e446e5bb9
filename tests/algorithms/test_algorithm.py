"""The registry of algorithms and the hand-out of proposals."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from offramp.algorithms.algorithm import ALGORITHMS, PATIENCE, HasStartingPoints, Proposals, Rewindable, samples
from offramp.errors import UnknownNameError
from offramp.objectives.evaluation import Evaluation, Status
from offramp.space.architecture import Architecture
from offramp.testing.toys import small_space
from tests.objectives.cases import architecture


def told(*numbers: int) -> list[Evaluation]:
    return [Evaluation(architecture(number), Status.COMPLETE, {}) for number in numbers]


def stream(*numbers: int) -> itertools.chain[Architecture]:
    return itertools.chain(architecture(number) for number in numbers)


def test_algorithms_are_found_by_name_and_described() -> None:
    assert {"nsga2", "random"} <= set(ALGORITHMS)
    assert all(ALGORITHMS.get(name).description for name in ALGORITHMS)
    with pytest.raises(UnknownNameError, match=r"Unknown search algorithm 'randm'\. Did you mean 'random'"):
        ALGORITHMS.get("randm")


def test_finding_algorithms_loads_neither_torch_nor_pymoo() -> None:
    code = (
        "import sys; from offramp.algorithms.algorithm import ALGORITHMS; assert list(ALGORITHMS)\n"
        "loaded = {'torch', 'pymoo', 'matplotlib'} & set(sys.modules); assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_spaces_with_starting_points_are_recognised() -> None:
    assert isinstance(small_space(), HasStartingPoints)
    assert not isinstance(object(), HasStartingPoints)


def test_nothing_known_is_proposed() -> None:
    proposals = Proposals()
    source = stream(0, 1, 1, 0, 2, 3)
    assert proposals.take(source, 2) == [architecture(0), architecture(1)]
    assert proposals.take(source, 1) == [architecture(2)]
    new = proposals.record(told(0, 1, 1))
    assert [item.architecture for item in new] == [architecture(0), architecture(1)]
    assert proposals.num_evaluations == 3
    # 2 was handed out but never told about: it may be proposed again.
    assert proposals.take(stream(0, 1, 2), 5) == [architecture(2)]


def test_taking_in_pieces_is_taking_at_once() -> None:
    numbers = (3, 1, 3, 2, 1, 5, 4)
    at_once, in_pieces = Proposals(), Proposals()
    source = stream(*numbers)
    assert at_once.take(stream(*numbers), 4) == in_pieces.take(source, 1) + in_pieces.take(source, 3)


def test_an_endless_stream_without_news_is_left() -> None:
    proposals = Proposals()
    endless = itertools.repeat(architecture(0))
    assert proposals.take(endless, 3) == [architecture(0)]
    drawn = itertools.count()
    proposals.take((architecture(0) for _ in drawn), 1)
    assert PATIENCE <= next(drawn) <= PATIENCE + 10


def test_known_candidates_at_the_start_of_a_stream_do_not_try_its_patience() -> None:
    proposals = Proposals()
    proposals.record(told(*range(50)))
    late = itertools.chain(
        stream(*range(50)), itertools.repeat(architecture(0), PATIENCE - 1), iter([architecture(99)])
    )
    assert proposals.take(late, 1) == [architecture(99)]


def test_a_rewindable_sequence_starts_again_and_goes_on() -> None:
    drawn = Rewindable(samples(small_space(), np.random.default_rng(0)))
    first = list(itertools.islice(drawn, 5))
    assert list(itertools.islice(drawn, 8))[:5] == first
    assert first == list(itertools.islice(samples(small_space(), np.random.default_rng(0)), 5))
