from dataclasses import replace

import pytest

from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.records.run_summary import RunSummary
from offramp.report.figures import front_data
from offramp.report.figures.front_data import ProgressPoint
from tests.report import fake


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return fake.fake_summary()


def test_front_panels_hold_every_complete_network_once(summary: RunSummary) -> None:
    complete = sum(item.status is Status.COMPLETE for item in summary.evaluations)
    for panel in front_data.front_panels(summary):
        assert len(panel.candidates) + len(panel.front) + len(panel.static_front) == complete
        assert len(panel.static_front) == len(summary.static_front) > 0
        assert len(panel.front) == len(summary.front_indices)
        assert len(panel.fine_tuning) == 3
    assert [panel.metric for panel in front_data.front_panels(summary)] == [axis[0] for axis in front_data.AXES]


def test_energies_are_in_joule_and_points_carry_their_place_in_the_run(summary: RunSummary) -> None:
    panel = front_data.front_panels(summary)[0]
    index = summary.front_indices[0]
    assert panel.front[0].cost == pytest.approx(summary.evaluations[index].values["energy_pj"] * 1e-12)
    assert panel.front[0].label == f"#{index + 1}"
    assert panel.largest.cost == pytest.approx(summary.static_reference.expected.energy_pj * 1e-12)
    assert panel.static_front[0].cost == pytest.approx(summary.static_front[0].values["energy_pj"] * 1e-12)


def test_the_line_joins_only_points_that_get_better(summary: RunSummary) -> None:
    for panel in front_data.front_panels(summary):
        accuracies = [point.accuracy for point in panel.nondominated]
        costs = [point.cost for point in panel.nondominated]
        assert accuracies == sorted(set(accuracies))
        assert costs == sorted(set(costs))
        assert panel.nondominated[-1].accuracy == max(point.accuracy for point in panel.front)


def test_networks_picked_twice_share_a_label(summary: RunSummary) -> None:
    twin = replace(summary.chosen[0], rule="cheapest")
    panel = front_data.front_panels(replace(summary, chosen=(summary.chosen[0], twin)))[0]
    assert [point.label for point in panel.chosen] == ["knee, cheapest"]


def test_every_chosen_network_is_linked_to_its_match_and_a_match_of_two_is_drawn_once(summary: RunSummary) -> None:
    panel = front_data.front_panels(summary)[0]
    assert [(link.network.label, link.match.label) for link in panel.match_links] == [
        ("knee", "match of knee"),
        ("most accurate", "match of most_accurate"),
        ("cheapest", "match of cheapest"),
    ]
    match = summary.chosen[0].match
    assert match is not None
    assert panel.match_links[0].match.cost == pytest.approx(match.expected.energy_pj * 1e-12)
    twin = replace(summary.chosen[0], rule="cheapest")
    assert len(front_data.front_panels(replace(summary, chosen=(summary.chosen[0], twin)))[0].matches) == 1


def test_a_match_that_was_not_trained_is_not_drawn() -> None:
    panel = front_data.front_panels(fake.fake_summary(count=12, tested=False))[0]
    assert panel.matches == ()
    assert panel.match_links == ()


def test_many_candidates_are_thinned(summary: RunSummary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_data, "MAX_CANDIDATES", 10)
    panel = front_data.front_panels(summary)[0]
    assert 5 <= len(panel.candidates) <= 10
    assert len(panel.front) == len(summary.front_indices)


def test_the_worst_tenth_of_the_candidates_does_not_set_the_frame(summary: RunSummary) -> None:
    panel = front_data.front_panels(summary)[0]
    worst = min(point.accuracy for point in panel.candidates)
    assert min(point.accuracy for point in panel.framed_points) > worst
    assert {*panel.front, *panel.chosen, *panel.matches, panel.largest} <= set(panel.framed_points)
    assert set(panel.static_front) <= set(panel.framed_points)


def test_a_static_network_far_below_all_others_does_not_set_the_frame(summary: RunSummary) -> None:
    low = replace(summary.static_front[0], values={**summary.static_front[0].values, "accuracy": 0.3})
    panel = front_data.front_panels(replace(summary, static_front=(low, *summary.static_front[1:])))[0]
    assert panel.static_front[0].accuracy == 0.3
    assert min(point.accuracy for point in panel.framed_points) > 0.5


def test_an_evaluation_without_details_or_values_is_left_out(summary: RunSummary) -> None:
    bare = replace(summary.evaluations[5], values={"accuracy": 0.9}, details=None)
    other = replace(summary, evaluations=(bare,), front_indices=(0,), chosen=())
    assert front_data.front_panels(other)[0].front == ()
    assert front_data.cost_of(summary.evaluations[5], "macs") is not None


def point(accuracy: float, energy: float, status: Status = Status.COMPLETE, violation: float = 0.0) -> Evaluation:
    return Evaluation(
        fake.architecture(), status, {"accuracy": accuracy, "energy_pj": energy}, (violation,) if violation else ()
    )


def test_hypervolume_by_hand() -> None:
    goals = (Objective("accuracy", "maximize"), Objective("energy_pj", "minimize"))
    items = (
        point(0.5, 1.0),  # scaled (1, 0): 0.1 * 1.1
        point(0.5, 2.0),  # dominated
        point(1.0, 2.0),  # scaled (0, 1): together 0.11 + 0.11 - 0.01
        point(0.9, 0.1, violation=1.0),  # does not count
        point(0.0, 0.0, Status.FAILED),
    )
    found = front_data.hypervolume_progress(goals, items)
    assert found == (
        ProgressPoint(1, pytest.approx(0.11 / 0.21), 1),
        ProgressPoint(3, 1.0, 2),
        ProgressPoint(5, 1.0, 2),
    )


def test_hypervolume_never_shrinks(summary: RunSummary) -> None:
    shares = [item.share for item in front_data.hypervolume_progress(summary.objectives, summary.evaluations)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_no_progress_without_feasible_networks_or_objectives(summary: RunSummary) -> None:
    assert front_data.hypervolume_progress(summary.objectives, (point(0.9, 1.0, violation=1.0),)) == ()
    assert front_data.hypervolume_progress((), summary.evaluations) == ()
    missing = (Objective("macs", "minimize"),)
    assert front_data.hypervolume_progress(missing, (point(0.9, 1.0),)) == ()
