"""The enumeration equals judging every network sample by sample; bounds throw nothing away that matters."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from pymoo.indicators.hv import HV

from offramp.algorithms.exact.exit_enumeration import NONE, Enumeration, Outcomes
from offramp.algorithms.exact.exit_solver import Solution, cost_columns, operating_points, solve
from offramp.algorithms.exact.exit_table import METRICS, ExitTable, count_bits, pack_bits
from offramp.objectives.evaluation import Constraint, Objective
from tests.algorithms.exact.exit_tables import brute_force, toy_table

MEASURE = "max_probability"


def points(outcomes: Outcomes) -> dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, tuple[float, ...]]]:
    found = {}
    for row in range(len(outcomes)):
        exits = tuple(int(x) for x in outcomes.exits[row] if x != NONE)
        places = tuple(int(x) for x in outcomes.threshold_indices[row][: len(exits)])
        found[exits, places] = (int(outcomes.num_correct[row]), tuple(outcomes.costs[row]))
    return found


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("taps", "branches", "most"), [(3, 2, 3), (4, 1, 2), (1, 2, 5)])
def test_every_point_equals_brute_force(shared: bool, taps: int, branches: int, most: int) -> None:
    table = toy_table(taps, branches, 70, shared=shared)
    found = points(Enumeration(table, MEASURE, most).run())
    expected = list(brute_force(table, min(most, taps)))
    # Without exits a shared threshold makes no difference.
    assert set(found) == {(exits, places) for exits, places, _, _ in expected}
    for exits, places, right, costs in expected:
        assert found[exits, places][0] == right
        assert found[exits, places][1] == pytest.approx(costs, rel=1e-12)


def test_it_visits_three_to_the_number_of_taps_networks_per_threshold() -> None:
    table = toy_table(6, 2, 64, shared=True)
    outcomes = Enumeration(table, MEASURE, 6).run()
    assert len(outcomes) == 3**6 * 4
    assert len(np.unique(np.column_stack([outcomes.exits, outcomes.threshold_indices]), axis=0)) == 4 * (3**6 - 1) + 1


@pytest.mark.parametrize("columns", [(3,), (2,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("shared", [True, False])
def test_branch_and_bound_keeps_the_front(columns: tuple[int, ...], shared: bool) -> None:
    for seed in range(3):
        table = toy_table(4, 2, 300, shared=shared, seed=seed)
        whole, bounded = Enumeration(table, MEASURE, 3), Enumeration(table, MEASURE, 3, columns)
        fronts = []
        for outcomes in (whole.run(), bounded.run()):
            rows = outcomes.front(columns)
            fronts.append(
                np.column_stack([outcomes.num_correct[rows], outcomes.costs[rows][:, list(columns)]]).tolist()
            )
        assert fronts[0] == fronts[1]
        assert bounded.num_visited <= whole.num_visited


def test_bounds_spare_much_work_where_early_exits_are_hopeless() -> None:
    table = toy_table(5, 2, 500, shared=False)
    table.correct[:-1] = False
    whole, bounded = Enumeration(table, MEASURE, 4), Enumeration(table, MEASURE, 4, (2,))
    whole.run(), bounded.run()
    assert bounded.num_visited < whole.num_visited / 2


@pytest.mark.parametrize("columns", [(3,), (0, 1)])
def test_a_beam_search_is_near_the_front_and_says_that_it_was_one(columns: tuple[int, ...]) -> None:
    for seed in range(3):
        table = toy_table(6, 3, 300, shared=False, seed=seed)
        whole, beam = (Enumeration(table, MEASURE, 3, columns, most) for most in (10**6, 4000))
        every, some = whole.run(), beam.run()
        assert whole.complete
        assert not beam.complete
        assert beam.num_visited < whole.num_visited / 4
        # What it found are networks of the whole enumeration, with their figures.
        networks = points(Enumeration(table, MEASURE, 3).run())
        assert points(some).items() <= networks.items()
        assert volume(table, some, columns) > 0.95 * volume(table, every, columns)


def volume(table: ExitTable, outcomes: Outcomes, columns: tuple[int, ...]) -> float:
    """What the networks dominate of the box from no right answers at the static network's costs to the ideal."""
    static = Enumeration(table, MEASURE, 0).run().costs[0, list(columns)]
    errors = 1.0 - outcomes.num_correct / table.num_samples
    minimized = np.column_stack([errors, outcomes.costs[:, list(columns)] / static])
    return float(HV(ref_point=np.ones(1 + len(columns)))(minimized))


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    table = toy_table(4, 2, 300, shared=False)
    free, limited = Enumeration(table, MEASURE, 3, (2,)), Enumeration(table, MEASURE, 3, (2,), 10**6)
    assert points(free.run()) == points(limited.run())
    assert limited.complete
    assert limited.num_visited == free.num_visited


def test_a_space_too_large_to_enumerate_is_searched_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six exits of five types at eight taps, three thresholds each: 10 billion networks."""
    monkeypatch.setattr(import_module("offramp.algorithms.exact.exit_enumeration"), "_NODES_AT_ONCE", 1000)
    table = toy_table(8, 5, 200, shared=False)
    beam = Enumeration(table, MEASURE, 6, (3,), 20_000)
    found = beam.run()
    assert not beam.complete
    assert beam.num_visited < 6 * 20_000
    assert max(int((row != NONE).sum()) for row in found.exits) > 3
    assert not solve(table, 6, (0.0, 0.01), (3,), 20_000).complete


def test_bits_are_packed_in_whole_words_and_counted() -> None:
    flags = np.random.default_rng(0).random((5, 130)) < 0.3
    words = pack_bits(flags)
    assert words.shape == (5, 3)
    assert count_bits(words).tolist() == flags.sum(axis=1).tolist()


def test_each_set_of_exits_gets_the_cheapest_thresholds_within_its_accuracy_drop() -> None:
    table = toy_table(3, 2, 200, shared=True)
    outcomes = Enumeration(table, MEASURE, 3).run()
    sets: dict[tuple[int, ...], list[int]] = {}
    for row in range(len(outcomes)):
        sets.setdefault(tuple(outcomes.exits[row].tolist()), []).append(row)
    for drop, rows in operating_points(outcomes, (0.0, 0.02), 200):
        assert len(rows) == len(sets)
        for row in rows:
            own = sets[tuple(outcomes.exits[row].tolist())]
            floor = max(outcomes.num_correct[o] for o in own) - 200 * drop - 1e-9
            cheapest = min(outcomes.costs[o, 3] for o in own if outcomes.num_correct[o] >= floor)
            assert outcomes.costs[row, 3] == cheapest


def test_candidates_are_sorted_by_accuracy_and_include_the_static_network() -> None:
    table = toy_table(3, 2, 200, shared=False)
    solution = solve(table, 2, (0.0, 0.01), (2,))
    found = solution.candidates
    assert solution.complete
    assert found[0] == table.backbone
    assert len(set(found)) == len(found) > 3
    assert all(len(item.exits) <= 2 and item.policy.accuracy_drop in (0.0, 0.01) for item in found)


def test_the_front_looks_at_every_cost_that_is_named() -> None:
    objectives = (Objective("accuracy", "maximize"), Objective("energy_pj", "minimize"))
    assert cost_columns(objectives, (Constraint("macs", "<=", 3.0),)) == (1, 2)
    assert [METRICS[c] for c in cost_columns(objectives[:1], ())] == ["energy_delay_product_j_cycles"]


def test_a_backbone_that_no_exit_fits_is_its_only_candidate() -> None:
    table = toy_table(0, 1, 20, shared=False)
    assert table.options == ()
    assert solve(table, 2, (0.0, 0.01), (2,)) == Solution((table.backbone,), complete=True)


def test_a_first_exit_has_the_cost_of_its_own() -> None:
    """With one exit at which all samples but a known share leave, only their cost changes, by the stated difference."""
    table = toy_table(3, 2, 200, shared=False)
    plain = Enumeration(table, MEASURE, 2).run()
    dearer = table.costs.to_first + np.array([5.0, 11.0, 3.0])
    found = Enumeration(replace(table, costs=replace(table.costs, first=dearer)), MEASURE, 2).run()
    assert np.array_equal(found.exits, plain.exits)
    assert np.array_equal(found.num_correct, plain.num_correct)
    scores, lists = table.scores[MEASURE], table.thresholds[MEASURE]
    for row, (first, place) in enumerate(zip(found.exits[:, 0], found.threshold_indices[:, 0], strict=True)):
        share = 0.0 if first < 0 else float((scores[first] >= lists[first][place]).mean())
        # Of the columns, these three add up; the fourth is the product.
        assert found.costs[row, :3] - plain.costs[row, :3] == pytest.approx(share * np.array([5.0, 11.0, 3.0]))
