"""Which member a rule picks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import ConstraintError, InputError, UnknownNameError
from offramp.objectives.evaluation import Evaluation, Objective
from offramp.objectives.pareto import ParetoFront, pareto_front
from offramp.objectives.parse import DEFAULT_OBJECTIVES
from offramp.objectives.picking import PICK_RULES, check_rule, pick, rule_name
from tests.objectives.cases import ACCURACY_MACS, evaluation, failed, point, point_3d


def front_of(*members: Evaluation) -> ParetoFront:
    return pareto_front(members, ACCURACY_MACS)


# From 0.5 at 10 to 1.0 at 110; the line between them passes 0.6 at 30, which 0.9 lies far above.
CHEAP, KNEE, MIDDLE, BEST = point(0, 0.5, 10.0), point(1, 0.9, 30.0), point(2, 0.92, 80.0), point(3, 1.0, 110.0)
FRONT = front_of(CHEAP, KNEE, MIDDLE, BEST)


def test_the_named_rules() -> None:
    assert pick(FRONT, "knee") == KNEE
    assert pick(FRONT, "most_accurate") == BEST
    assert pick(FRONT, "cheapest") == CHEAP


def test_near_best_is_the_cheapest_within_half_a_point_of_the_most_accurate() -> None:
    """0.995 is half a point below 1.0 and cheaper; 0.994 is too far."""
    near, far = point(4, 0.995, 100.0), point(5, 0.994, 90.0)
    assert pick(front_of(*FRONT, near, far), "near_best") == near
    assert pick(FRONT, "near_best") == BEST


def test_a_place_counts_from_the_most_accurate() -> None:
    assert [pick(FRONT, place) for place in range(4)] == [BEST, MIDDLE, KNEE, CHEAP]
    assert pick(FRONT, "2") == KNEE


@pytest.mark.parametrize("place", [4, -1, "17", "-3"])
def test_a_place_that_is_not_there(place: int | str) -> None:
    with pytest.raises(InputError, match="from 0 to 3"):
        pick(FRONT, place)


def test_the_most_accurate_within_bounds() -> None:
    assert pick(FRONT, "macs<=100") == MIDDLE
    assert pick(FRONT, "macs <= 0.05k") == KNEE
    assert pick(FRONT, "accuracy>=0.9,macs<=79") == KNEE
    with pytest.raises(ConstraintError, match=r"No member of the front keeps macs<=9; the closest has macs=10\."):
        pick(FRONT, "macs<=9")


def test_unknown_rules_are_answered_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown pick rule 'kneee'\. Did you mean 'knee'"):
        pick(FRONT, "kneee")
    with pytest.raises(ConstraintError, match="Did you mean 'macs'"):
        pick(FRONT, "mac<=5")


@pytest.mark.parametrize("rule", ["knee", "3", "macs<=2M", "most_accurate"])
def test_check_rule_accepts_what_can_be_understood(rule: str) -> None:
    check_rule(rule)


@pytest.mark.parametrize("rule", ["", "best", "1.5", "macs", "macs<=-3", "macs<=2,", "9" * 5000])
def test_check_rule_refuses_the_rest_without_a_front(rule: str) -> None:
    with pytest.raises(InputError):
        check_rule(rule)


def test_an_empty_front_has_nothing_to_pick() -> None:
    with pytest.raises(InputError, match="the Pareto front is empty"):
        pick(pareto_front([failed(0)], ACCURACY_MACS), "knee")


def test_one_and_two_points() -> None:
    for rule in PICK_RULES:
        assert pick(front_of(KNEE), rule) == KNEE
    assert pick(front_of(CHEAP, BEST), "knee") == BEST


def test_the_knee_of_a_front_that_bends_the_wrong_way_is_its_most_accurate_end() -> None:
    assert pick(front_of(CHEAP, point(1, 0.51, 100.0), BEST), "knee") == BEST


def test_the_knee_does_not_depend_on_the_units() -> None:
    """Accuracies within two points of each other, costs in millions: the bend is the same as in percent and ones."""
    members = [(0.900, 10.0), (0.916, 30.0), (0.917, 80.0), (0.920, 110.0)]
    for factor in (1e-3, 1.0, 1e6):
        front = front_of(*(point(index, a, c * factor) for index, (a, c) in enumerate(members)))
        assert pick(front, "knee").values["accuracy"] == 0.916


def test_a_front_of_one_accuracy_bends_at_its_cheapest_member() -> None:
    members = [point_3d(0, 0.9, 10.0, 30.0), point_3d(1, 0.9, 20.0, 10.0), point_3d(2, 0.9, 40.0, 9.0)]
    assert pick(pareto_front(members, DEFAULT_OBJECTIVES), "knee") == members[1]


def test_cost_is_the_product_of_energy_and_latency_where_both_count() -> None:
    # Products 100, 300 and 90: the last one is cheapest though its energy is not the least.
    members = [point_3d(0, 0.8, 10.0, 10.0), point_3d(1, 0.9, 10.0, 30.0), point_3d(2, 0.7, 30.0, 3.0)]
    front = pareto_front(members, DEFAULT_OBJECTIVES)
    assert len(front) == 3
    assert pick(front, "cheapest") == members[2]


def test_cost_is_the_first_minimized_objective_otherwise() -> None:
    objectives = (Objective("latency_cycles", "minimize"), Objective("accuracy", "maximize"))
    members = [point_3d(0, 0.8, 1.0, 10.0), point_3d(1, 0.9, 0.1, 30.0)]
    assert pick(pareto_front(members, objectives), "cheapest") == members[0]
    product = (*objectives, Objective("energy_delay_product_j_cycles", "minimize"))
    named = [
        evaluation(0, accuracy=0.8, latency_cycles=1.0, energy_delay_product_j_cycles=9.0),
        evaluation(1, accuracy=0.9, latency_cycles=5.0, energy_delay_product_j_cycles=2.0),
    ]
    assert pick(pareto_front(named, product), "cheapest") == named[1]


def test_accuracy_alone_as_objective() -> None:
    member = point_3d(0, 0.8, 1.0, 1.0)
    front = pareto_front([member, point_3d(1, 0.7, 0.5, 0.5)], (Objective("accuracy", "maximize"),))
    assert [pick(front, rule) for rule in PICK_RULES] == [member] * len(PICK_RULES)


def test_a_value_that_is_not_known_is_named() -> None:
    with pytest.raises(InputError, match="a value of energy_pj"):
        pick(FRONT, "energy_pj<=1mJ")


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=15))
def test_every_rule_picks_a_member_and_the_knee_lies_above_the_line(pairs: list[tuple[int, int]]) -> None:
    front = front_of(*(point(index, a / 20, float(c)) for index, (a, c) in enumerate(pairs)))
    picked = {rule: pick(front, rule) for rule in PICK_RULES}
    assert all(member in front.evaluations for member in picked.values())
    low, high, knee = (
        (picked[rule].values["macs"], picked[rule].values["accuracy"]) for rule in ("cheapest", "most_accurate", "knee")
    )
    # Twice the signed area of the triangle: not negative when the knee is on the good side.
    area = (high[0] - low[0]) * (knee[1] - low[1]) - (high[1] - low[1]) * (knee[0] - low[0])
    assert area >= -1e-9


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("most_accurate", "most accurate"),
        ("knee+cheapest", "knee, cheapest"),
        ("knee, cheapest", "knee, cheapest"),
        ("2", "front member 2"),
        ("macs<=2M", "macs<=2M"),
    ],
)
def test_rules_have_names(rule: str, name: str) -> None:
    assert rule_name(rule) == name
