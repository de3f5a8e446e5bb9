from dataclasses import replace

import pytest

from offramp.cost.expected import ExpectedCost
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.objectives.evaluation import Constraint
from offramp.records.run_summary import ChosenNetwork, RunSummary
from offramp.report import wording as words
from tests.report import fake


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def with_results(product_share: float, accuracy_gain: float, *, num_exits: int = 2) -> RunSummary:
    """One network whose costs are a share of the reference's and whose accuracy differs by ``accuracy_gain``."""
    summary = fake.fake_summary(count=12)
    taps = tuple(range(num_exits - 1))
    network = fake.chosen("knee", fake.evaluation(fake.architecture(taps=taps), 0.9, 0.75))
    reference = replace(summary.static_reference, accuracy_test=0.9)
    static = reference.expected
    expected = ExpectedCost(
        static.latency_cycles / 2,
        static.energy_pj / 2,
        static.macs / 2,
        static.energy_delay_product_j_cycles * product_share,
        0.0,
    )
    profile = fake.exit_profile(num_exits, 0.9 + accuracy_gain, 360, 0.75)
    network = replace(network, test=profile, expected_test=expected)
    return replace(summary, chosen=(network,), static_reference=reference)


@pytest.mark.parametrize(
    ("share", "gain", "sentence"),
    [
        (1 / 3.1, -0.002, "3.1× less energy-delay product than the static network, at 0.2 percentage points lower"),
        (1 / 3.1, 0.002, "3.1× less energy-delay product than the static network, at 0.2 percentage points higher"),
        (1 / 3.1, 0.0, "3.1× less energy-delay product than the static network, at the same test accuracy"),
        (1.5, 0.0, "1.5× more energy-delay product than the static network, at the same test accuracy"),
        (1.0, 0.0, "About the same energy-delay product as the static network, at the same test accuracy"),
    ],
)
def test_the_finding_in_one_sentence(share: float, gain: float, sentence: str) -> None:
    text = plain(words.result_sentence(with_results(share, gain)))
    assert text.startswith(sentence)
    assert "75 % of the test images leave before the final exit." in text


def test_without_early_exits_nobody_leaves_early() -> None:
    summary = with_results(0.5, 0.0, num_exits=1)
    assert words.result_sentence(summary).endswith("no early exit: every image runs through the whole network.")
    assert "Leave early" not in [card.label for card in words.cards(summary)]


def test_without_test_results_the_words_say_validation() -> None:
    summary = fake.fake_summary(count=12, tested=False)
    assert "validation accuracy" in words.result_sentence(summary)
    assert "test" not in words.result_sentence(summary)
    assert words.cards(summary)[0].label == "Validation accuracy"


def test_reference_without_a_test_result() -> None:
    summary = fake.fake_summary(count=12)
    summary = replace(summary, static_reference=replace(summary.static_reference, accuracy_test=None))
    assert "at this test accuracy" in words.result_sentence(summary)
    assert words.cards(summary)[0].note == "static network: not measured"


def test_nothing_chosen() -> None:
    summary = replace(fake.fake_summary(count=12), chosen=())
    assert words.result_sentence(summary).startswith("No network was chosen.")
    assert words.cards(summary) == ()


def test_what_was_searched() -> None:
    summary = replace(fake.fake_summary(count=60), constraints=(Constraint("macs", "<=", 2.4e6),))
    text = plain(words.search_sentences(summary))
    assert text.startswith(
        "60 networks of the mobilenet_v2 family were tried on digits (10 classes) with nsga2 in 2 min 5 s."
    )
    assert "higher accuracy and lower energy-delay product, with expected MACs at most 2.40 M." in text


def test_one_network_is_singular() -> None:
    summary = fake.fake_summary(count=60)
    item = next(e for e in summary.evaluations if e.feasible)
    single = replace(summary, evaluations=(item,), front_indices=(0,), constraints=(), duration_s=None)
    text = plain(words.search_sentences(single))
    assert text.startswith("1 network of the mobilenet_v2 family was tried on digits (10 classes) with nsga2.")
    assert "1 network is on the Pareto front" in text


def test_an_empty_front_says_so() -> None:
    text = words.search_sentences(replace(fake.fake_summary(count=12), front_indices=(), chosen=()))
    assert text.endswith("The Pareto front is empty: no network could be measured and kept the constraints.")


def test_cards_compare_with_the_reference() -> None:
    figures = {card.label: card for card in words.cards(with_results(0.25, -0.01))}
    assert plain(figures["Test accuracy"].value) == "89.0 %"
    assert plain(figures["Test accuracy"].note) == "static network: 90.0 %"
    assert plain(figures["Energy-delay product"].value) == "4.0× less"
    assert plain(figures["Latency"].value) == "2.0× less"
    assert "at 200 MHz" in plain(figures["Latency"].note)
    assert plain(figures["Leave early"].value) == "75 %"


def test_no_clock_no_seconds() -> None:
    summary = replace(with_results(0.25, 0.0), clock_hz=None)
    assert not any("Hz" in card.note for card in words.cards(summary))


def test_every_measure_and_metric_has_words() -> None:
    from offramp.exits.confidence_measures import MEASURES
    from offramp.objectives.evaluation import METRICS

    assert set(words.MEASURE_NAMES) == set(MEASURES)
    assert set(words.METRIC_NAMES) == set(METRICS)


def test_metrics_carry_their_unit() -> None:
    shown = {metric: plain(words.format_metric(metric, 0.5)) for metric in words.METRIC_NAMES}
    assert shown["accuracy"] == "50.0 %"
    assert shown["energy_pj"] == "0.500 pJ"
    assert shown["energy_delay_product_j_cycles"] == "500 mJ·cycles"
    assert words.format_metric("something", 1.5) == "1.50"


def test_the_glossary_explains_what_the_page_says() -> None:
    names = {term.name for term in words.glossary()}
    assert {"Energy-delay product", "Exit rate", "Static reference", "Expected cost", "MAC"} <= names
    assert all(term.meaning.endswith(".") for term in words.glossary())


def test_measured_costs_lead_the_sentence_not_validation() -> None:
    summary = with_results(0.1, 0.0)
    network: ChosenNetwork = summary.chosen[0]
    assert network.expected_validation.energy_delay_product_j_cycles != pytest.approx(
        0.1 * summary.static_reference.expected.energy_delay_product_j_cycles
    )
    assert words.result_sentence(summary).startswith("10.0×")


def promised(guarantee: Guarantee | None, *, tested: bool = True, num_exits: int = 3) -> str:
    item = fake.evaluation(fake.architecture(taps=tuple(range(num_exits - 1))), 0.9, 0.75)
    network = replace(fake.chosen("knee", item, tested=tested), guarantee=guarantee)
    return plain(words.guarantee_sentence(network))


def test_a_promise_is_one_sentence() -> None:
    certified = Guarantee(0.01, 0.05, "betting", 400, 0.009, num_seen=0)
    said = promised(certified, tested=False)
    assert said == (
        "With a confidence of 95.0 %, leaving early costs at most 1.00 percentage points of accuracy against running "
        "every image to the final exit, on images of the same kind (betting test on 400 validation images held back "
        "for it)."
    )
    assert "test images it costs" in promised(certified)
    assert "for it, 12 of which the search had seen" in promised(replace(certified, num_seen=12))
    assert "for it, all of which the search had seen" in promised(replace(certified, num_seen=400))
    assert promised(None) == ""
    assert promised(certified, num_exits=1) == ""


def test_a_promise_that_could_not_be_made_says_so() -> None:
    said = promised(Guarantee(0.005, 0.1, "never_exit", 90, 0.0))
    assert "at most 0.500 percentage points" in said
    assert "90.0 % could not be made" in said
    assert said.endswith("so no image does.")
