"""Exit rules as notation, as text, and between bounds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from offramp.errors import InputError, UnknownNameError
from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import ExitRule, RuleNotation, Score, answers_at
from offramp.exits.per_exit_thresholds import PerExitThresholds
from offramp.exits.rule_arithmetic import Arithmetic, State, Value
from offramp.exits.rule_text import parse_rule
from offramp.exits.rules.cumulative import CumulativeConfidence
from offramp.exits.rules.patience import Patience

PLAIN = RuleNotation("threshold", "entropy", (0.5, 0.6), (1.0, 2.0, 1.0))
RULES: list[ExitRule] = [
    Patience(1),
    Patience(2),
    Patience(3),
    CumulativeConfidence((0.9, 0.97)),
    CumulativeConfidence((0.6, 0.8), "entropy"),
    ExitPolicy("margin", (0.5, 0.6), (1.0, 2.0, 3.0)),
]


def test_one_notation_for_all_rules() -> None:
    for rule in RULES:
        assert rule.notation(3).rule == rule
    assert Patience(10**400).notation(3).thresholds == (3.0, 3.0)
    assert Patience(7).notation(1).rule.decide([np.zeros((2, 3))]).tolist() == [0, 0]
    assert CumulativeConfidence((-np.inf, np.inf)).notation(3).thresholds == (-1.0, 2.0)


def test_temperatures_in_a_notation_are_a_fault_only_of_a_rule_without_them() -> None:
    warm = RuleNotation("cumulative", "entropy", (0.5, 0.6), (1.0, 2.0, 1.0))
    assert list(CumulativeConfidence.faults(warm, 3)) == ["`rule` 'cumulative' knows no temperatures other than 1"]
    assert list(CumulativeConfidence.faults(replace(warm, temperatures=(1.0, 1.0, 1.0)), 3)) == []
    assert list(ExitPolicy.faults(PLAIN, 3)) == []


def test_who_could_go_another_way() -> None:
    # Two equal answers of two exits; the second exit's best classes are 0.2, 0.02 and 2 apart.
    first = np.array([[3.0, 0.0, 0.0]] * 3)
    second = np.array([[1.0, 0.8, -5.0], [1.0, 0.98, 0.0], [2.0, 0.0, 0.0]])
    logits, off = (first, second, first), np.full(3, 0.05)
    assert Patience(2).undecided(logits, off).tolist() == [False, True, False]
    sure = PLAIN.confidence(second, 1)
    edge = replace(PLAIN, thresholds=(5.0, float(sure[0]) + 0.04))
    # Off by 0.05 on both sides and divided by a temperature of 2: 0.05.
    assert edge.rule.undecided(logits, off).tolist() == [True, abs(sure[1] - sure[0] - 0.04) <= 0.05, False]
    one = RuleNotation("cumulative", "max_probability", (5.0, 0.99))
    together = 1 - (1 - one.confidence(first, 0)) * (1 - one.confidence(second, 1))
    # Both confidences may be off by 0.002.
    assert one.rule.undecided(logits, np.full(3, 0.001)).tolist() == (abs(together - 0.99) <= 0.004).tolist()
    assert Patience(2).undecided((first,), off).tolist() == [False] * 3
    assert (
        RuleNotation("patience", "margin", (2.0,)).rule.undecided((first[:, :1], first[:, :1]), off).tolist()
        == [False] * 3
    )


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("patience:2", Patience(2)),
        (" cumulative:0.9, 0.95", CumulativeConfidence((0.9, 0.95), "entropy")),
        ("threshold:0.9,1e-3", ExitPolicy("entropy", (0.9, 1e-3), (1.0, 2.0, 1.0))),
        ("threshold:0.9", ExitPolicy("entropy", (0.9,))),
    ],
)
def test_rules_in_words(text: str, rule: ExitRule) -> None:
    assert parse_rule(text, PLAIN) == rule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patience", "'patience' must be written as .* how many exits in a row must agree, .* such as patience:2; got"),
        ("patience:0", "'patience' must be written"),
        ("patience:1.5", "'patience' must be written"),
        ("patience:2,2", "'patience' must be written"),
        ("patience:inf", "'patience' must be written"),
        ("threshold:nan", "'threshold' must be .* a threshold per early exit, such as threshold:0.9,0.8; got"),
        ("cumulative:nan", "'cumulative' must be written"),
        ("cumulative:0.9,nan", "'cumulative' must be written"),
        ("threshold:a", "'threshold' must be written"),
    ],
)
def test_text_that_is_no_rule_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_rule(text, PLAIN)


@pytest.mark.parametrize("text", ["", "luck:3", "patients:2"])
def test_text_that_names_no_rule_is_answered_with_the_names(text: str) -> None:
    with pytest.raises(UnknownNameError, match="Available: cumulative, patience, threshold"):
        parse_rule(text, PLAIN)


@dataclass(frozen=True)
class Misbehaves(PerExitThresholds):
    """A rule whose score is what a function makes of the confidences."""

    name: ClassVar[str] = "misbehaves"
    description: ClassVar[str] = "for tests"
    example: ClassVar[str] = "misbehaves:0.5"

    thresholds: tuple[float, ...]
    made: Callable[[Any], Any]
    looks_back: bool = False  # type: ignore[misc]
    measure: Measure = "max_probability"

    def score(self, arithmetic: Arithmetic, logits: Value, exit_index: int, state: State) -> Score:
        return Score(self.made(arithmetic.confidence(logits, self.measure, 1.0)))


WRONG_SCORES = [
    (lambda sure: sure[:, None], r"shape \(4, 1\)"),
    (lambda sure: sure.mean(), r"shape \(\)"),
    (lambda sure: sure[:-1], r"shape \(3,\)"),
    (lambda sure: np.where(sure > 0.9, np.nan, sure), "1 NaN"),
    (lambda sure: np.log(sure - 1.0), "4 NaN"),
    (lambda sure: np.array(["sure"] * len(sure)), "<U4"),
    (lambda sure: None, r"shape \(\)"),
]
FOUR = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("looks_back", [False, True])
@pytest.mark.parametrize(("made", "given"), WRONG_SCORES)
def test_a_score_that_is_not_one_number_per_sample_is_refused(made: Any, given: str, looks_back: bool) -> None:
    """NaN is below every threshold, and one number for all samples decides for all of them: both went unseen."""
    rule = Misbehaves((0.5,), made, looks_back)
    for decide in (lambda: rule.decide([FOUR, FOUR]), lambda: rule.leaves([FOUR]), lambda: rule.scores([FOUR])):
        with pytest.raises(InputError, match=f"Exit rule 'misbehaves' .* for each of 4 samples, .* exit 0 has {given}"):
            decide()


@pytest.mark.parametrize("looks_back", [False, True])
def test_infinite_scores_are_numbers(looks_back: bool) -> None:
    rule = Misbehaves((0.9,), lambda sure: np.where(sure > 0.9, np.inf, -np.inf), looks_back)
    assert rule.decide([FOUR, FOUR]).tolist() == [1, 1, 1, 0]
    assert rule.leaves([FOUR]).tolist() == [False, False, False, True]


def test_a_rule_that_never_leaves_sends_every_sample_to_the_final_exit() -> None:
    rule = Misbehaves((0.5, 0.5), lambda sure: np.zeros(len(sure)))
    assert rule.decide([FOUR, FOUR, FOUR]).tolist() == [2, 2, 2, 2]
    assert not rule.leaves([FOUR]).any()


def test_each_sample_gets_the_answer_of_its_exit() -> None:
    first, last = np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]]), np.array([[5.0, 0.0], [0.0, 5.0], [1.0, 0.0]])
    assert answers_at([first, last], np.array([0, 1, 1])).tolist() == [1, 1, 0]
