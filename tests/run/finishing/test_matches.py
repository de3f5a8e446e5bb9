"""Static matches: the cheapest that is as accurate, the best that costs no more, and what training changes."""

from dataclasses import replace
from pathlib import Path

from offramp.cost.expected import expected_cost
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.objectives.evaluation import Details, Evaluation, Objective, Status
from offramp.records.run_summary import ChosenNetwork, StaticReference
from offramp.run.finishing.matches import SearchedMatches, searched_matches, static_name, with_matches
from offramp.run.finishing.targets import Selection, finish_targets
from offramp.settings.fine_tune_config import FineTuneConfig
from offramp.space.architecture import Architecture, ExitChoice, StageChoice
from tests.cost.test_expected import report

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


def finished(evaluation: Evaluation, accuracy: float, cost: float, rule: str = "knee") -> ChosenNetwork:
    """A finished network: after training it has this accuracy, and this energy at one cycle."""
    exits = len(evaluation.architecture.exits)
    profile = ExitProfile((1.0, *(0.0,) * exits), (accuracy,) * (exits + 1), (accuracy,) * (exits + 1), accuracy, 10)
    costs = report(*((1.0, cost, 1) for _ in range(exits + 1)))
    reference = StaticReference("x", evaluation.architecture.without_exits(), accuracy, None, report((1.0, cost, 1)))
    return ChosenNetwork(
        rule=rule,
        architecture=evaluation.architecture,
        policy=ExitPolicy("max_probability", (0.5,) * exits),
        validation=profile,
        test=None,
        cost=costs,
        expected_validation=expected_cost(costs, profile.rates),
        expected_test=None,
        static=reference,
        searched=evaluation,
        values={"accuracy": accuracy, "energy_pj": cost, "latency_cycles": 1.0},
    )


TRAINED = tuple(
    finished(STATICS[place], accuracy, cost, static_name(STATICS[place].architecture))
    for place, accuracy, cost in ((1, 0.97, 200.0), (3, 0.95, 100.0), (4, 0.93, 1.0))
)
SEARCHED = SearchedMatches(STATICS[1], STATICS[3])


def test_matches_are_decided_again_after_training_among_all_that_were_trained() -> None:
    """In the search, STATICS[1] was the cheapest with 0.90; after training, STATICS[3] has the 0.95 that are asked."""
    network = finished(chosen(0.90, 12.0, 10.0), 0.95, 120.0)
    found = with_matches(network, SEARCHED, [network, *TRAINED], OBJECTIVES)
    assert found.match is not None
    assert found.match_at_cost is not None
    assert (found.match.name, found.match.accuracy_validation) == (TRAINED[1].rule, 0.95)
    assert (found.match.trained, found.match.as_accurate, found.match.no_dearer) == (True, True, True)
    assert found.match_at_cost.name == TRAINED[1].rule
    assert replace(found, match=None, match_at_cost=None) == network


def test_where_no_trained_static_network_is_as_accurate_it_is_the_most_accurate() -> None:
    network = finished(chosen(0.90, 12.0, 10.0), 0.98, 0.5)
    found = with_matches(network, SEARCHED, [network, *TRAINED], OBJECTIVES)
    assert found.match is not None
    assert found.match_at_cost is not None
    assert (found.match.name, found.match.as_accurate) == (TRAINED[0].rule, False)
    # And where none costs as little, the cheapest.
    assert (found.match_at_cost.name, found.match_at_cost.no_dearer) == (TRAINED[2].rule, False)


def test_without_training_the_matches_are_those_of_the_search() -> None:
    details = Details(
        ExitPolicy("max_probability", ()), TRAINED[0].validation, TRAINED[0].expected_validation, TRAINED[0].cost
    )
    searched = SearchedMatches(replace(STATICS[1], details=details), None)
    network = finished(chosen(0.90, 12.0, 10.0), 0.99, 120.0)
    found = with_matches(network, searched, [network], OBJECTIVES)
    assert found.match is not None
    assert (found.match.accuracy_validation, found.match.accuracy_test, found.match.trained) == (0.90, None, False)
    # Against the candidate as it was in the search, not as it is after training.
    assert (found.match.as_accurate, found.match.no_dearer) == (True, False)
    assert found.match_at_cost is None


def test_a_static_network_has_no_match() -> None:
    assert with_matches(TRAINED[0], SearchedMatches(), TRAINED, OBJECTIVES) == TRAINED[0]
