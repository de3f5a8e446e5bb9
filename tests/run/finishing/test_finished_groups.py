"""Matches among finished networks, on outcomes made by hand."""

from dataclasses import replace
from typing import Any

import pytest

from offramp.exits.exit_policy import ExitProfile
from offramp.exits.quality.sample_outcomes import sample_outcomes
from offramp.nn.network import EarlyExitNetwork
from offramp.objectives.verdict import ENERGY, PRODUCT
from offramp.records.run_summary import ChosenNetwork
from offramp.run.finishing.finished_groups import FinishedGroups, group_finished, wins
from offramp.run.finishing.finisher import FinishedNetwork
from offramp.run.finishing.matches import SearchedMatches, static_name
from offramp.run.finishing.targets import Selection
from offramp.settings.fine_tune_config import FineTuneConfig
from offramp.train.trainer import TrainingLog
from tests.cost.test_expected import report
from tests.run.finishing.test_matches import OBJECTIVES, STATICS, chosen, finished

SAMPLES = 1000
ALONE = static_name(STATICS[0].architecture, "knee")


def after_test(record: ChosenNetwork, right: int, late: int = 0) -> ChosenNetwork:
    """With a test of 1,000 samples: the first ``right`` are answered rightly, the last ``late`` leave at exit 2."""
    exits = [0] * (SAMPLES - late) + [1] * late
    outcomes = sample_outcomes([place < right for place in range(SAMPLES)], exits, record.num_exits)
    accuracies = (right / SAMPLES,) * record.num_exits
    profile = ExitProfile(outcomes.rates, accuracies, accuracies, right / SAMPLES, SAMPLES)
    return replace(record, outcomes=outcomes, test=profile, expected_test=record.expected_validation)


def item(record: ChosenNetwork, *alone: ChosenNetwork) -> FinishedNetwork:
    """A finished network; what it computes does not matter here."""
    parts = tuple(item(part) for part in alone)
    return FinishedNetwork(EarlyExitNetwork.__new__(EarlyExitNetwork), record, TrainingLog((), 1.0), parts)


def early_exit(rule: str, number: int = 1) -> ChosenNetwork:
    """0.95 on validation at 120: its first exit costs 100, its second one 300 (10 % of the samples)."""
    record = finished(chosen(0.90, 12.0, 10.0, number), 0.95, 120.0, rule)
    record = replace(record, cost=report((1.0, 100.0, 1), (1.0, 300.0, 1)))
    return after_test(record, 950, late=100)


def alone_of(rule: str, accuracy: float, cost: float) -> ChosenNetwork:
    record = finished(STATICS[0], accuracy, cost, static_name(STATICS[0].architecture, rule))
    return replace(after_test(record, round(accuracy * SAMPLES)), searched=None, exit_of=rule, bundle="chosen/x/bundle")


def groups_of(*networks: FinishedNetwork, **settings: Any) -> FinishedGroups:
    named = [item for item in networks if not item.record.rule.startswith("static-")]
    selections = [Selection((item.record.rule,), item.record.searched) for item in named if item.record.searched]
    matches = [SearchedMatches(STATICS[1], STATICS[3])] * len(named)
    return group_finished(networks, selections, matches, OBJECTIVES, FineTuneConfig(**settings))


TRAINED_MATCH = after_test(finished(STATICS[1], 0.95, 240.0, static_name(STATICS[1].architecture)), 950)
"""The static network that the search named: as accurate as the network, at twice its cost."""


def test_a_network_whose_first_exit_alone_is_as_accurate_and_cheaper_does_not_pay() -> None:
    """Against the match of the search it takes half; its own first exit has 0.95 at 100, less than its 120."""
    without = groups_of(item(early_exit("knee")), item(TRAINED_MATCH)).chosen[0].record
    assert without.match is not None
    assert without.verdict is not None
    assert (without.match.name, without.verdict.answer) == (TRAINED_MATCH.rule, "pay")
    assert without.verdict.gain(ENERGY).value == pytest.approx(2.0)

    found = groups_of(item(early_exit("knee"), alone_of("knee", 0.95, 100.0)), item(TRAINED_MATCH))
    network = found.chosen[0].record
    assert network.match is not None
    assert network.verdict is not None
    assert (network.match.name, network.match.exit_of, network.match.trained) == (ALONE, "knee", True)
    assert (network.match.as_accurate, network.match.no_dearer) == (True, True)
    assert network.match_at_cost == network.match
    assert network.verdict.answer == "do not pay"
    # 100 for all against 0.9 * 100 + 0.1 * 300.
    assert network.verdict.gain(ENERGY).value == pytest.approx(100 / 120)
    # It is the one to export and to recommend.
    assert [part.record.rule for part in found.statics] == [TRAINED_MATCH.rule, ALONE]
    assert [wins(part.record, network) for part in found.statics] == [False, True]
    assert network.exits_alone == ()


def test_exits_of_the_other_finished_networks_are_compared_with_too() -> None:
    other = item(early_exit("cheapest", 2), alone_of("cheapest", 0.95, 90.0))
    found = groups_of(item(early_exit("knee"), alone_of("knee", 0.80, 100.0)), other, item(TRAINED_MATCH))
    for network in found.chosen:
        assert network.record.match is not None
        assert (network.record.match.exit_of, network.record.match.cost.stages[0].energy_to_exit_pj) == (
            "cheapest",
            90.0,
        )
    # An exit that nothing is compared with is left out.
    assert ALONE not in {part.record.rule for part in found.statics}


def test_an_exit_alone_is_the_most_accurate_of_the_same_cost_where_it_is_less_accurate() -> None:
    found = groups_of(item(early_exit("knee"), alone_of("knee", 0.93, 100.0)), item(TRAINED_MATCH))
    network = found.chosen[0].record
    assert network.match is not None
    assert network.match_at_cost is not None
    assert network.verdict is not None
    assert (network.match.name, network.match_at_cost.name) == (TRAINED_MATCH.rule, ALONE)
    assert network.verdict.difference_at_cost is not None
    assert network.verdict.difference_at_cost.value == pytest.approx(0.02)
    assert network.verdict.answer == "pay"
    assert network.verdict.gain(PRODUCT).value > 1.0


def test_without_trained_matches_exits_alone_are_no_matches_either() -> None:
    found = groups_of(item(early_exit("knee"), alone_of("knee", 0.95, 100.0)), match=False)
    assert found.statics == ()
    assert found.chosen[0].record.verdict is None


def test_how_much_accuracy_early_exits_may_lose_is_a_setting() -> None:
    """The match is right for 20 of 1,000 samples more, at twice the cost."""
    better = after_test(finished(STATICS[1], 0.95, 240.0, static_name(STATICS[1].architecture)), 970)
    networks = (item(early_exit("knee"), alone_of("knee", 0.80, 100.0)), item(better))
    strict = groups_of(*networks, accuracy_margin=0.0).chosen[0].record.verdict
    loose = groups_of(*networks, accuracy_margin=0.05).chosen[0].record.verdict
    assert strict is not None
    assert loose is not None
    assert loose.accuracy_difference.value == pytest.approx(-0.02)
    assert (loose.margin, loose.answer) == (0.05, "pay")
    assert strict.margin == 0.0
    # It is more accurate than the static network of the same cost, which decides by itself.
    assert strict.difference_at_cost is not None
    assert strict.answer == "pay"
    alone = groups_of(item(early_exit("knee")), item(better), accuracy_margin=0.0).chosen[0].record.verdict
    assert alone is not None
    assert alone.answer == "undecided"
