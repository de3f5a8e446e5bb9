from dataclasses import replace

from offramp.exits.accuracy_guarantee import Guarantee
from offramp.objectives.evaluation import Constraint
from offramp.report import wording as words
from tests.report import fake


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


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
    assert "1 network with early exits and" in text


def test_an_empty_front_says_so() -> None:
    text = words.search_sentences(replace(fake.fake_summary(count=12), front_indices=(), static_front=(), chosen=()))
    assert text.endswith("The Pareto front is empty: no network could be measured and kept the constraints.")


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
    assert {"Energy-delay product", "Exit rate", "Match", "Verdict", "Expected cost", "MAC"} <= names
    assert all(term.meaning.endswith(".") for term in words.glossary())


def test_what_early_exits_add_is_a_figure_of_its_own() -> None:
    summary = fake.fake_summary(count=12)
    assert "add 0.0321 to the hypervolume" in words.beyond_static_sentence(summary)
    assert "add nothing" in words.beyond_static_sentence(replace(summary, volume_beyond_static=0.0))
    assert words.beyond_static_sentence(replace(summary, volume_beyond_static=None)) == ""


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
    of_a_class = promised(replace(certified, measure="recall:cat"))
    assert "at most 1.00 percentage points of recall of “cat” against running every" in of_a_class
    assert promised(None) == ""
    assert promised(certified, num_exits=1) == ""


def test_a_promise_that_could_not_be_made_says_so() -> None:
    said = promised(Guarantee(0.005, 0.1, "never_exit", 90, 0.0))
    assert "at most 0.500 percentage points" in said
    assert "90.0 % could not be made" in said
    assert said.endswith("so no image does.")
