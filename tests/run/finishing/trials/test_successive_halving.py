"""Successive halving on made-up candidates whose values after training are known."""

from dataclasses import replace

import pytest

from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.objectives.pareto import pareto_front
from offramp.run.finishing.trials.successive_halving import contenders, round_epochs, successive_halving, survivors
from offramp.space.architecture import Architecture, StageChoice

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("macs", "minimize"))


def candidate(width: int, accuracy: float, *, violation: float = 0.0) -> Evaluation:
    architecture = Architecture("toy", 8, (StageChoice(1, width, (3,), (1,)),))
    return Evaluation(architecture, Status.COMPLETE, {"accuracy": accuracy, "macs": float(width)}, (violation,))


def width(evaluation: Evaluation) -> int:
    return evaluation.architecture.stages[0].width


FRONT = pareto_front([candidate(size, 0.5 + 0.05 * size) for size in range(1, 9)], OBJECTIVES)


def test_contenders_lie_evenly_over_the_front_with_its_ends() -> None:
    assert [width(item) for item in contenders(FRONT, 8)] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [width(item) for item in contenders(FRONT, 3)] == [8, 4, 1]
    assert [width(item) for item in contenders(FRONT, 1)] == [8]
    assert len(contenders(FRONT, 100)) == 8


@pytest.mark.parametrize(
    ("count", "kept", "epochs", "expected"),
    [
        # Eight, four and two: an eighth, a quarter, half.
        (8, 1, 32, (4, 8, 16)),
        (8, 3, 32, (8, 16)),
        (3, 3, 32, ()),
        (8, 2, 3, (1, 1)),
    ],
)
def test_each_round_trains_twice_as_long(count: int, kept: int, epochs: int, expected: tuple[int, ...]) -> None:
    assert round_epochs(count, kept, epochs) == expected


def test_training_decides_and_not_the_ranks_of_the_search() -> None:
    """Even widths gain nothing from training, odd ones 0.3: all that is left is odd."""
    asked: list[tuple[int, int]] = []

    def train(evaluation: Evaluation, epochs: int) -> Evaluation:
        # A candidate is always trained as the search found it.
        assert evaluation in FRONT.evaluations
        asked.append((width(evaluation), epochs))
        gain = 0.3 * (width(evaluation) % 2)
        return replace(evaluation, values={**evaluation.values, "accuracy": evaluation.values["accuracy"] + gain})

    rounds = successive_halving(FRONT.evaluations, OBJECTIVES, train, num_kept=2, epochs=16)
    assert [item.epochs for item in rounds] == [4, 8]
    # After training, 8 (0.9) is dominated by 7 (1.15), and so on: the front is 7, 5, 3, 1.
    assert asked == [*((size, 4) for size in range(8, 0, -1)), (7, 8), (5, 8), (3, 8), (1, 8)]
    left = survivors(rounds, OBJECTIVES, 2)
    assert [width(item) for item in left] == [7, 1]
    assert [item.values["accuracy"] for item in left] == pytest.approx([1.15, 0.85])


def test_a_second_front_fills_up_what_the_first_leaves_free() -> None:
    """After training, 8 dominates nobody and is dominated by 1 alone."""
    pair = [candidate(1, 0.9), candidate(8, 0.8), candidate(9, 0.7), candidate(10, 0.6)]
    rounds = successive_halving(pair, OBJECTIVES, lambda item, epochs: item, num_kept=2, epochs=4)
    assert [width(item) for item in survivors(rounds, OBJECTIVES, 2)] == [1, 8]


def test_of_candidates_that_break_a_bound_the_nearest_are_kept() -> None:
    both = [candidate(1, 0.9, violation=0.5), candidate(2, 0.8, violation=0.1), candidate(3, 0.95, violation=0.9)]
    rounds = successive_halving(both, OBJECTIVES, lambda item, epochs: item, num_kept=1, epochs=4)
    assert [width(item) for item in survivors(rounds, OBJECTIVES, 1)] == [2]


def test_a_candidate_whose_training_failed_drops_out() -> None:
    def train(evaluation: Evaluation, epochs: int) -> Evaluation:
        if width(evaluation) == 8:
            return Evaluation(evaluation.architecture, Status.FAILED, {}, error="diverged")
        return evaluation

    rounds = successive_halving(FRONT.evaluations, OBJECTIVES, train, num_kept=4, epochs=4)
    assert 8 not in [width(item) for item in survivors(rounds, OBJECTIVES, 4)]
