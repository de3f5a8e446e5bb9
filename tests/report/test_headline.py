"""The headline: the verdict first, energy and latency against the match, the product beside them."""

from dataclasses import replace

import numpy as np
import pytest

from offramp.cost.report import CostReport, StageCost
from offramp.exits.exit_policy import ExitProfile
from offramp.exits.quality.sample_outcomes import sample_outcomes
from offramp.numerics.paired_bootstrap import Estimate
from offramp.records.run_summary import ChosenNetwork, RunSummary, with_verdict
from offramp.report import headline as module
from offramp.report.headline import cards, headline, interval_text, match_sentence, verdict_text
from tests.report import fake


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def costs(*stages: tuple[float, float]) -> CostReport:
    """Latency in cycles and energy in pJ to each exit."""
    return CostReport(
        "edge-tpu-quad",
        "native",
        "1",
        "offramp",
        tuple(StageCost("exit", c, 0.0, 0.0, c, e, c, e, 1) for c, e in stages),
        (),
    )


def compared(own: float, other: float, *, scale: float, samples: int = 10_000) -> ChosenNetwork:
    """Three of four samples leave at (1000 cycles, 1 uJ), the others at (5000, 7); the match costs (4000, 5) x scale.

    Means are 2000 cycles and 2.5 uJ: gains of 2 in both at a scale of 1.
    """
    network = fake.chosen("knee", fake.evaluation(fake.architecture(taps=(1,)), 0.9, 0.75))
    assert network.match is not None
    steps = np.arange(samples) / samples
    left = (steps >= 0.75).astype(int)
    cost = costs((1000.0, 1e6), (5000.0, 7e6))
    profile = ExitProfile((0.75, 0.25), (own, own), (own, own), own, samples)
    match = replace(
        network.match,
        accuracy_test=other,
        cost=costs((4000.0 * scale, 5e6 * scale)),
        outcomes=sample_outcomes(steps < other, np.zeros(samples, dtype=int), 1),
    )
    expected = fake.expected_cost(cost, profile.rates)
    return with_verdict(
        replace(
            network,
            cost=cost,
            test=profile,
            expected_test=expected,
            outcomes=sample_outcomes(steps < own, left, 2),
            match=match,
        )
    )


def run(network: ChosenNetwork) -> RunSummary:
    match = network.match
    assert match is not None
    profile = ExitProfile((1.0,), (0.9,), (0.9,), match.accuracy_test or 0.9, 360)
    static = replace(
        fake.chosen("match", fake.evaluation(fake.architecture(taps=()), 0.9, 0.75)),
        rule=match.name,
        architecture=match.architecture,
        cost=match.cost,
        test=profile,
        expected_test=match.expected,
        match=None,
    )
    return replace(fake.fake_summary(count=12), chosen=(network,), static_networks=(static,))


def test_where_early_exits_pay_the_gains_are_over_the_match_with_intervals() -> None:
    found = headline(run(compared(0.9, 0.9, scale=1.0)))
    assert found.verdict == "Early exits pay."
    text = plain(found.details)
    assert text.startswith("Against the static match: 2.0× less energy (1.9")
    assert "and 2.0× less latency (1.9" in text
    # 200 J cycles against 0.75 * 10 + 0.25 * 350 = 95: the mean of products, in 1e-10.
    assert "product of both (of each image, then the mean) 2.1× less (" in text
    assert "at the same test accuracy (90.0 %; 0.0 to 0.0 points)" in text
    assert text.endswith("75 % of the test images leave before the final exit.")


def test_the_largest_network_is_not_in_the_headline() -> None:
    found = headline(run(compared(0.9, 0.9, scale=1.0)))
    assert "largest" not in found.verdict + found.details
    assert not any("largest" in card.note + card.label for card in cards(run(compared(0.9, 0.9, scale=1.0))))


def test_where_they_do_not_pay_the_static_network_is_recommended() -> None:
    summary = run(compared(0.9, 0.9, scale=0.4))
    assert summary.recommended is summary.static_networks[0]
    found = headline(summary)
    assert found.verdict == "Early exits do not pay here: the recommended network is static."
    text = plain(found.details)
    assert text.startswith("It has 90.0 % test accuracy at 2.00 µJ and 1.60 k cycles per image.")
    assert "The network with early exits, against the static match: 1.2× more energy (" in text
    labels = [card.label for card in cards(summary)]
    assert labels == ["Test accuracy", "Energy per image", "Latency", "Product of both"]
    assert plain(cards(summary)[1].value) == "2.00 µJ"


def test_undecided_says_how_many_samples_would_decide() -> None:
    found = headline(run(compared(0.89, 0.895, scale=1.0, samples=400)))
    assert found.verdict == "Undecided whether early exits pay."
    assert plain(found.details).startswith("400 test images do not show that the accuracy is at most 1.0 percentage")
    assert "at 0.5 percentage points lower test accuracy" in plain(found.details)


def test_undecided_at_a_lower_accuracy_says_so() -> None:
    found = headline(run(compared(0.8, 0.9, scale=1.0)))
    assert found.details.startswith("It costs less, but is less accurate than a network that it must equal.")


def test_a_static_network_at_the_same_cost_is_compared_too() -> None:
    network = compared(0.8, 0.9, scale=1.0)
    assert network.match is not None
    second = replace(
        network.match,
        name="match at cost",
        accuracy_test=0.7,
        no_dearer=True,
        outcomes=sample_outcomes(np.arange(10_000) < 7000, np.zeros(10_000, dtype=int), 1),
    )
    dearer = with_verdict(replace(network, match_at_cost=replace(second, no_dearer=False)))
    assert dearer.verdict is not None
    assert dearer.verdict.difference_at_cost is None
    found = headline(run(with_verdict(replace(network, match_at_cost=second))))
    assert found.verdict == "Early exits pay."
    assert "that costs no more has 10.0 percentage points lower test accuracy (70.0 %; −10." in plain(found.details)


def at_cost(network: ChosenNetwork, accuracy: float, samples: int) -> ChosenNetwork:
    assert network.match is not None
    right = np.arange(samples) < round(accuracy * samples)
    second = replace(
        network.match,
        name="match at cost",
        accuracy_test=accuracy,
        no_dearer=True,
        outcomes=sample_outcomes(right, np.zeros(samples, dtype=int), 1),
    )
    return with_verdict(replace(network, match_at_cost=second))


def test_a_static_network_that_costs_no_more_and_is_as_accurate_leaves_it_undecided() -> None:
    found = headline(run(at_cost(compared(0.9, 0.9, scale=1.0, samples=100), 0.9, 100)))
    assert found.verdict == "Undecided whether early exits pay."
    text = plain(found.details)
    assert text.startswith(
        "100 test images do not tell whether a static network that costs no more is as accurate; about"
    )
    assert "The most accurate static network that costs no more has the same test accuracy (90.0 %;" in text


def test_where_it_certainly_is_as_accurate_that_static_network_is_recommended() -> None:
    network = at_cost(compared(0.9, 0.9, scale=1.0), 0.9, 10_000)
    assert network.verdict is not None
    assert network.verdict.answer == "do not pay"
    assert network.better_static is network.match_at_cost
    costly = compared(0.9, 0.9, scale=0.4)
    assert costly.better_static is costly.match
    assert compared(0.9, 0.9, scale=1.0).better_static is None


def test_a_comparison_before_training_says_so() -> None:
    summary = fake.fake_summary(count=12, tested=False)
    found = headline(summary)
    assert found.verdict == "Whether early exits pay is not known."
    assert "The comparison is before training: in the search it took" in found.details
    assert verdict_text(summary.chosen[0]) == "before training"
    assert "not trained" in match_sentence(summary.chosen[0])


def test_runs_without_a_match_state_costs_alone() -> None:
    network = replace(compared(0.9, 0.9, scale=1.0), match=None, verdict=None)
    summary = replace(fake.fake_summary(count=12), chosen=(network,))
    found = headline(summary)
    assert found.verdict == "Whether early exits pay is not known."
    assert "90.0 % test accuracy at 2.50 µJ and 2.00 k cycles per image" in plain(found.details)
    assert found.details.endswith("No static network was trained to compare it with.")
    assert [plain(card.value) for card in cards(summary)] == [
        "90.0 %",
        "2.50 µJ",
        "2.00 k cycles",
        "9.50 mJ·cycles",
        "75 %",
    ]
    assert match_sentence(network) == ""


def test_a_static_network_that_was_chosen_needs_no_early_exits() -> None:
    static = fake.chosen("knee", fake.evaluation(fake.architecture(taps=()), 0.9, 0.75))
    summary = replace(fake.fake_summary(count=12), chosen=(static,))
    assert headline(summary).verdict == "This task needs no early exits: the recommended network is static."
    assert static.verdict is None
    assert "Leave early" not in [card.label for card in cards(summary)]


def test_nothing_chosen() -> None:
    summary = replace(fake.fake_summary(count=12), chosen=())
    assert headline(summary).verdict == "No network was chosen."
    assert cards(summary) == ()


def test_cards_show_energy_latency_and_the_product_beside_them() -> None:
    figures = {card.label: card for card in cards(run(compared(0.9, 0.9, scale=1.0)))}
    assert list(figures) == ["Test accuracy", "Energy per image", "Latency", "Product of both", "Leave early"]
    assert plain(figures["Test accuracy"].note) == "match: 90.0 %; 0.0 to 0.0 points"
    assert plain(figures["Latency"].value) == "2.0× less"
    assert plain(figures["Latency"].note).startswith("2.00 k cycles against 4.00 k cycles; 95 %: 1.9")
    assert "at 200 MHz" in plain(figures["Latency"].note)
    without = replace(run(compared(0.9, 0.9, scale=1.0)), clock_hz=None)
    assert not any("Hz" in card.note for card in cards(without))


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (Estimate(2.4, 2.31, 2.519), "2.31 to 2.52"),
        (Estimate(0.5, 0.4, 0.625), "1.60 to 2.50"),
        (Estimate(22.8, 19.12, 27.4), "19.1 to 27.4"),
        (Estimate(1.02, 0.95, 1.1), "0.95 to 1.10"),
    ],
)
def test_an_interval_is_written_in_the_direction_of_its_value(gain: Estimate, expected: str) -> None:
    assert interval_text(gain) == expected


def test_differences_keep_their_sign() -> None:
    assert plain(module.difference_text(Estimate(0.005, -0.0081, 0.019))) == "−0.8 to 1.9 points"
