"""Static matches: the cheapest that is as accurate, the best that costs no more, and what training changes."""

from dataclasses import replace
from pathlib import Path

from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.run.finishing.matches import SearchedMatches, searched_matches, static_name
from offramp.run.finishing.targets import Selection, finish_targets
from offramp.settings.fine_tune_config import FineTuneConfig
from offramp.space.architecture import Architecture, ExitChoice, StageChoice

OBJECTIVES = (
    Objective("accuracy", "maximize"),
    Objective("energy_pj", "minimize"),
    Objective("latency_cycles", "minimize"),
)
BACKBONE = Architecture("toy", 8, (StageChoice(1, 8, (3,), (1,)),))


def static(number: int, accuracy: float, energy: float, latency: float) -> Evaluation:
    values = {"accuracy": accuracy, "energy_pj": energy, "latency_cycles": latency}
    return Evaluation(replace(BACKBONE, resolution=number), Status.COMPLETE, values)


def chosen(accuracy: float, energy: float, latency: float, number: int = 1) -> Evaluation:
    found = static(number, accuracy, energy, latency)
    return replace(found, architecture=replace(found.architecture, exits=(ExitChoice(0, "conv"),)))


STATICS = (
    static(1, 0.95, 10.0, 100.0),
    static(2, 0.90, 20.0, 10.0),  # 200: the cheapest with at least 0.9
    static(3, 0.92, 10.0, 30.0),
    static(4, 0.85, 10.0, 10.0),  # 100: the best of those up to 120
    static(5, 0.84, 1.0, 1.0),
    replace(static(6, 0.99, 1.0, 1.0), violations=(0.5,)),
    Evaluation(replace(BACKBONE, resolution=7), Status.FAILED, {}, error="x"),
)


def test_matches_by_hand() -> None:
    """Cost is the product of energy and latency; 0.90 at 120 is compared with 0.90 at 200 and with 0.85 at 100."""
    found = searched_matches(chosen(0.90, 12.0, 10.0), STATICS, OBJECTIVES)
    assert found == SearchedMatches(STATICS[1], STATICS[3])
    assert found.all == (STATICS[1], STATICS[3])


def test_one_static_network_can_be_both() -> None:
    found = searched_matches(chosen(0.84, 30.0, 10.0), STATICS, OBJECTIVES)
    assert found.as_accurate == STATICS[4]
    assert found.no_dearer == STATICS[2]
    same = searched_matches(chosen(0.94, 100.0, 100.0), STATICS[:1], OBJECTIVES)
    assert same.all == STATICS[:1]


def test_there_may_be_none() -> None:
    assert searched_matches(chosen(0.96, 12.0, 10.0), STATICS, OBJECTIVES).as_accurate is None
    assert searched_matches(chosen(0.10, 0.1, 0.1), STATICS, OBJECTIVES).no_dearer is None
    assert searched_matches(STATICS[0], STATICS, OBJECTIVES) == SearchedMatches()


def test_a_match_that_two_networks_share_is_finished_once_and_the_first_ones_get_more_time() -> None:
    selections = [Selection(("knee",), chosen(0.9, 12.0, 10.0)), Selection(("cheapest",), chosen(0.8, 1.0, 1.0, 2))]
    matches = [SearchedMatches(STATICS[1], STATICS[3]), SearchedMatches(STATICS[3], STATICS[4])]
    found = finish_targets(selections, matches, FineTuneConfig(), lambda name: Path(name))
    names = [static_name(STATICS[place].architecture) for place in (1, 3, 4)]
    assert [target.folder.name for target in found] == ["knee", "cheapest", *names, "reference"]
    assert [target.time_share for target in found] == [2.0, 1.0, 2.0, 2.0, 1.0, 1.0]
    assert [target.selection.evaluation for target in found[2:5] if target.selection] == [
        STATICS[place] for place in (1, 3, 4)
    ]
    taught = finish_targets(selections, matches, FineTuneConfig(teacher="reference"), lambda name: Path(name))
    assert taught[0].selection is None
    assert {target.teacher for target in taught[1:]} == {Path("reference")}


def test_matches_can_be_left_out() -> None:
    selections = [Selection(("knee",), chosen(0.9, 12.0, 10.0))]
    matches = [SearchedMatches(STATICS[1], STATICS[3])]
    found = finish_targets(selections, matches, FineTuneConfig(match=False), lambda name: Path(name))
    assert [target.folder.name for target in found] == ["knee", "reference"]


def test_a_static_network_that_a_rule_picked_is_not_trained_again_as_a_match() -> None:
    selections = [Selection(("knee",), chosen(0.9, 12.0, 10.0)), Selection(("cheapest",), STATICS[3])]
    matches = [SearchedMatches(STATICS[1], STATICS[3]), SearchedMatches()]
    found = finish_targets(selections, matches, FineTuneConfig(reference=False), lambda name: Path(name))
    assert [target.folder.name for target in found] == ["knee", "cheapest", static_name(STATICS[1].architecture)]


def test_names_depend_on_the_network_alone() -> None:
    assert static_name(STATICS[0].architecture) == static_name(replace(STATICS[0].architecture))
    assert len({static_name(item.architecture) for item in STATICS}) == len(STATICS)
