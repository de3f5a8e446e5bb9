"""Which exits are kept, on samples whose answers and costs are counted by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from offramp.cost.report import CostReport, StageCost
from offramp.objectives.evaluation import Constraint
from offramp.run.finishing.exit_dropping import KeptExits, exits_worth_keeping
from offramp.space.architecture import PolicyChoice

LABELS = np.asarray([0, 0, 0, 0, 1, 1, 1, 1])
TAPS, BRANCHES, MACS = (10.0, 40.0, 100.0), (5.0, 5.0, 0.0), (100, 400, 1000)


def logits(sure_about: int) -> NDArray[np.float32]:
    """Sure of the right class for the first samples, unsure and wrong for the others."""
    answers = np.zeros((len(LABELS), 2), dtype=np.float32)
    for row, label in enumerate(LABELS):
        answers[row, label if row < sure_about else 1 - label] = 5.0 if row < sure_about else 0.1
    return answers


def price(places: tuple[int, ...]) -> CostReport:
    """One joule per cycle, so that the product is in cycles squared; branches on the way count."""
    stages = []
    spent = 0.0
    for place in (*places, 2):
        spent += BRANCHES[place]
        cycles = TAPS[place] + spent
        stages.append(StageCost(str(place), cycles, 0.0, 0.0, cycles, 1e12, cycles, 1e12, MACS[place]))
    return CostReport("toy", "hand", "1", "offramp", tuple(stages), ())


def kept(first: int, second: int, drop: float = 0.0, most: float = math.inf, *bounds: Constraint) -> KeptExits:
    """Exit 0 is sure about so many samples, exit 1 about as many, the final one about all."""
    every = [logits(first), logits(second), logits(8)]

    def answers(places: tuple[int, ...]) -> list[NDArray[np.float32]]:
        return [every[place] for place in (*places, 2)]

    choice = PolicyChoice("max_probability", drop)
    return exits_worth_keeping(2, answers, LABELS, price, choice, bounds, most_product=most)


def test_an_exit_that_nobody_may_leave_at_is_dropped() -> None:
    found = kept(0, 4)
    assert found.places == (1,)
    # Four leave at 40 + 5 cycles, four at 100 + 5; with the idle branch all would pay 5 more.
    assert found.point.expected.latency_cycles == pytest.approx((4 * 45 + 4 * 105) / 8)
    assert found.point.profile.top1 == 1.0
    assert found.cost == price((1,))


def test_an_exit_that_adds_too_little_is_dropped() -> None:
    # One more sample by exit 1 saves 100 - 40 cycles and costs the seven others 5 each: dropped only if that is more.
    assert kept(4, 5).places == (0, 1)
    assert kept(4, 4).places == (0,)


def test_both_stay_where_both_pay() -> None:
    found = kept(2, 6)
    assert found.places == (0, 1)
    assert found.point.expected.latency_cycles == pytest.approx((2 * 15 + 4 * 50 + 2 * 110) / 8)


def test_one_early_exit_stays_where_none_pays() -> None:
    assert len(kept(0, 0).places) == 1


def test_accuracy_may_be_given_up_for_a_cheaper_set() -> None:
    # Half of the samples right at 15 cycles is too little at a drop of 0.25, and enough at one of 0.5.
    assert kept(4, 6, 0.25).point.profile.top1 >= 0.75
    all_leave = kept(4, 6, 0.5)
    assert all_leave.places == (0,)
    assert all_leave.point.expected.latency_cycles == pytest.approx(15.0)


def test_sets_dearer_than_the_limit_do_not_count() -> None:
    assert kept(0, 4, most=74.0).point.profile.top1 < 1.0
    cheapest = kept(0, 4, most=1.0)
    assert cheapest.places == (0,)
    assert cheapest.point.expected.latency_cycles == pytest.approx(15.0)


def test_constraints_come_first() -> None:
    found = kept(2, 6, 0.0, math.inf, Constraint("latency_cycles", "<=", 50.0))
    assert found.point.expected.latency_cycles <= 50.0
    assert found.point.profile.top1 < 1.0
