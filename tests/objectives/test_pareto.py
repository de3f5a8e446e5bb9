"""Dominance and hypervolume against definitions, hand results and a brute-force count."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import InputError
from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.objectives.pareto import ParetoFront, least_violating, pareto_front
from tests.objectives.cases import ACCURACY_MACS, architecture, failed, point, point_3d


def test_the_front_by_hand_best_accuracy_first() -> None:
    a, b, c = point(0, 0.8, 10.0), point(1, 0.9, 20.0), point(2, 0.95, 40.0)
    dominated = [point(3, 0.8, 11.0), point(4, 0.7, 20.0), point(5, 0.95, 41.0)]
    front = pareto_front([dominated[0], a, dominated[1], c, b, dominated[2]], ACCURACY_MACS)
    assert list(front) == [c, b, a]
    assert len(front) == 3
    assert front.objectives == ACCURACY_MACS


def test_infeasible_and_failed_members_stay_out() -> None:
    feasible = point(0, 0.5, 10.0, (0.0,))
    better_but_infeasible = point(1, 0.9, 5.0, (0.1,))
    front = pareto_front([better_but_infeasible, failed(2), feasible], ACCURACY_MACS)
    assert front.evaluations == (feasible,)
    assert len(pareto_front([better_but_infeasible, failed(2)], ACCURACY_MACS)) == 0
    assert len(pareto_front([], ACCURACY_MACS)) == 0


def test_an_architecture_is_kept_once() -> None:
    front = pareto_front([point(0, 0.9, 10.0), point(0, 0.9, 10.0), point(0, 0.95, 5.0)], ACCURACY_MACS)
    assert front.evaluations == (point(0, 0.9, 10.0),)


def test_of_equal_values_the_first_is_kept() -> None:
    values = {"accuracy": 0.9, "macs": 10.0}
    first = Evaluation(architecture(0, drop=0.0), Status.COMPLETE, values)
    same_network = Evaluation(architecture(0, drop=0.02), Status.COMPLETE, values)
    other_network = Evaluation(architecture(1), Status.COMPLETE, values)
    assert pareto_front([first, same_network, other_network], ACCURACY_MACS).evaluations == (first,)
    cheaper = Evaluation(architecture(0, drop=0.02), Status.COMPLETE, {"accuracy": 0.85, "macs": 5.0})
    assert pareto_front([first, cheaper], ACCURACY_MACS).evaluations == (first, cheaper)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), max_size=25), st.randoms())
def test_the_front_holds_the_same_values_in_any_order(pairs: list[tuple[int, int]], random: object) -> None:
    members = [point(index, accuracy / 10, macs) for index, (accuracy, macs) in enumerate(pairs)]
    front = pareto_front(members, ACCURACY_MACS)
    random.shuffle(members)  # type: ignore[attr-defined]
    again = pareto_front(members, ACCURACY_MACS)
    assert [item.values for item in front] == [item.values for item in again]
    accuracies = [item.values["accuracy"] for item in front]
    assert accuracies == sorted(accuracies, reverse=True)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(InputError, match="missing: energy_pj"):
        pareto_front([point(0, 0.9, 1.0)], (Objective("energy_pj", "minimize"),))


def test_a_front_refuses_members_that_do_not_belong() -> None:
    with pytest.raises(ValueError, match="complete, feasible"):
        ParetoFront(ACCURACY_MACS, (failed(0),))
    with pytest.raises(ValueError, match="at least one objective"):
        ParetoFront((), ())


def test_hypervolume_by_hand() -> None:
    # Rectangles under accuracy 0, macs 10: 0.5 x (10 - 2) plus what 0.9 at 6 adds: 0.4 x (10 - 6).
    front = pareto_front([point(0, 0.5, 2.0), point(1, 0.9, 6.0)], ACCURACY_MACS)
    assert front.hypervolume([0.0, 10.0]) == pytest.approx(0.5 * 8 + 0.4 * 4)
    # A reference that only the first point is better than.
    assert front.hypervolume([0.0, 6.0]) == pytest.approx(0.5 * 4)
    assert front.hypervolume([0.95, 10.0]) == 0.0
    assert pareto_front([], ACCURACY_MACS).hypervolume([0.0, 10.0]) == 0.0


@given(st.lists(st.tuples(*[st.integers(1, 4)] * 3), min_size=1, max_size=6))
def test_hypervolume_counts_unit_cubes(triples: list[tuple[int, int, int]]) -> None:
    objectives = (
        Objective("accuracy", "maximize"),
        Objective("energy_pj", "minimize"),
        Objective("latency_cycles", "minimize"),
    )
    members = [point_3d(index, *triple) for index, triple in enumerate(triples)]
    cubes = sum(
        any(a > x and e <= y and c <= z for a, e, c in triples) for x, y, z in itertools.product(range(5), repeat=3)
    )
    assert pareto_front(members, objectives).hypervolume([0.0, 5.0, 5.0]) == pytest.approx(cubes)


@pytest.mark.parametrize("reference", [[], [0.0], [0.0, 1.0, 2.0], [0.0, float("nan")]])
def test_a_reference_that_does_not_fit_is_refused(reference: list[float]) -> None:
    front = pareto_front([point(0, 0.9, 1.0)], ACCURACY_MACS)
    with pytest.raises(InputError, match=r"one finite value per objective \(2\)"):
        front.hypervolume(reference)


def test_least_violating() -> None:
    near, far = point(0, 0.1, 1.0, (0.0, 0.2)), point(1, 0.9, 1.0, (0.2, 0.1))
    assert least_violating([far, failed(2), near]) == near
    assert least_violating([failed(2)]) is None
    assert least_violating([]) is None
