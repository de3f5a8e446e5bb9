"""Thresholds per predicted class: offsets worked out by hand, in every form of the rule, and under a guarantee."""

import numpy as np
import pytest
from numpy.typing import NDArray

from offramp.exits.accuracy_guarantee import GuaranteeTarget
from offramp.exits.calibration.class_offsets import fit_class_offsets
from offramp.exits.exit_policy import ExitPolicy, profile
from offramp.exits.exit_rule import RuleNotation
from offramp.exits.interval_arithmetic import INTERVALS, RoughLogits
from offramp.exits.risk_control import certified_policies
from offramp.exits.rule_arithmetic import NUMPY
from offramp.exits.rule_text import parse_rule
from offramp.exits.thresholds import shared_trade_off_curve, trade_off_curve
from offramp.testing.exit_rule_conformance import check_decisions

OFFSETS = ((0.2, -0.3), (0.0, 0.1))


def answers(*predicted: int, sure: float = 0.75) -> NDArray[np.float64]:
    """Logits of two classes: the predicted one has this probability."""
    high = np.log(sure / (1.0 - sure))
    return np.array([[high, 0.0] if item == 0 else [0.0, high] for item in predicted])


def test_offsets_are_shrunk_by_the_variance_within_and_between_classes() -> None:
    """Eight answers of confidence 3/4. Those of class 0 are all right, those of class 1 half.

    The surplus is 1/4 for class 0, and 1/4 or -3/4 for class 1: means 1/4 and -1/4, 0 together. Within the classes the
    squares sum to 4 * (1/2)^2 = 1, so that the variance is 1 / (8 - 2) = 1/6. Between them: (8 * (1/4)^2 - 1/6) /
    (8 - 32/8) = 1/12. Of a class of 4 samples (1/12) / (1/12 + 1/24) = 2/3 is kept.
    """
    exit_logits = answers(0, 0, 0, 0, 1, 1, 1, 1)
    labels = np.array([0, 0, 0, 0, 1, 1, 0, 0])
    ((first, second),) = fit_class_offsets([exit_logits, exit_logits], labels, "max_probability")
    assert first == pytest.approx(2 / 3 * 1 / 4)
    assert second == pytest.approx(-2 / 3 * 1 / 4)


def test_a_class_of_few_samples_stays_near_the_common_threshold() -> None:
    """The same share of right answers, from 4 samples and from 40."""
    exit_logits = answers(*[0] * 40, *[1] * 40, sure=0.75)
    labels = np.array([*[0] * 40, *[1, 0] * 20])
    rows = np.r_[0:40, 40:44]
    ((_, many),) = fit_class_offsets([exit_logits, exit_logits], labels, "max_probability")
    ((_, few),) = fit_class_offsets([exit_logits[rows], exit_logits[rows]], labels[rows], "max_probability")
    gap_of_many, gap_of_few = -1 / 4, -1 / 2 * 40 / 44
    assert few / gap_of_few < many / gap_of_many < 1.0


@pytest.mark.parametrize(
    ("predicted", "labels"),
    [
        # Both classes are right alike; one class alone; one sample of each.
        ((0, 0, 1, 1), (0, 1, 1, 0)),
        ((0, 0, 0), (0, 1, 1)),
        ((0, 1), (0, 0)),
    ],
)
def test_without_a_difference_that_shows_all_classes_share_the_threshold(
    predicted: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    exit_logits = answers(*predicted)
    assert fit_class_offsets([exit_logits, exit_logits], np.array(labels), "margin") == ((0.0, 0.0),)


def test_offsets_are_limited() -> None:
    exit_logits = answers(*[0] * 50, *[1] * 50, sure=0.999)
    labels = np.zeros(100, dtype=int)
    offsets = fit_class_offsets([exit_logits, exit_logits], labels, "max_probability")
    assert offsets[0] == pytest.approx((0.5, -0.5), abs=2e-3)
    assert max(map(abs, offsets[0])) <= 0.5


def test_a_threshold_is_another_one_for_each_class() -> None:
    """At 0.7, class 0 leaves from 0.5 on and class 1 from 1.0 on, which 0.9 does not reach."""
    rule = ExitPolicy("max_probability", (0.7,), class_offsets=OFFSETS[:1])
    logits = [np.concatenate([answers(0, 1, sure=0.6), answers(0, 1, sure=0.9)]), answers(0, 0, 0, 0)]
    assert rule.decide(logits).tolist() == [0, 1, 0, 1]
    assert ExitPolicy("max_probability", (0.7,)).decide(logits).tolist() == [1, 1, 0, 0]


def test_every_form_of_the_rule_decides_alike() -> None:
    rng = np.random.default_rng(0)
    logits = tuple(rng.normal(size=(60, 2)).astype(np.float32) * 2 for _ in range(3))
    check_decisions(ExitPolicy("margin", (0.5, 0.4), (0.5, 2.0, 1.0), OFFSETS), logits)


def test_bounds_hold_for_every_class_that_may_come_first() -> None:
    rough = RoughLogits(np.array([[1.0, 0.9], [3.0, 0.0]]), np.array([0.1, 0.1]))
    found = INTERVALS.of_class((0.2, -0.3), INTERVALS.predicted_class(rough))
    assert found.low.tolist() == [-0.3, 0.2]
    assert found.high.tolist() == [0.2, 0.2]
    assert NUMPY.of_class((0.2, -0.3), np.array([1, 0])).tolist() == [-0.3, 0.2]


def test_curves_reach_what_they_say() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 200)
    logits = [rng.normal(size=(200, 3)) + 2.0 * share * np.eye(3)[labels] for share in (0.5, 0.8, 1.2)]
    offsets = fit_class_offsets(logits, labels, "max_probability")
    for curve in (
        trade_off_curve(logits, labels, [1.0, 2.0, 4.0], "max_probability", class_offsets=offsets),
        shared_trade_off_curve(logits, labels, [1.0, 2.0, 4.0], "max_probability", class_offsets=offsets),
    ):
        for point in curve:
            assert point.policy.class_offsets == offsets
            found = profile(logits, labels, point.policy)
            assert found.top1 == pytest.approx(point.accuracy)
            assert float(np.dot(found.rates, [1.0, 2.0, 4.0])) == pytest.approx(point.expected_cost)


def test_a_guarantee_holds_for_thresholds_per_class() -> None:
    """Offsets come from the half that orders the policies. The promise breaks in at most delta of many repetitions."""
    broken, target, leaves = 0, GuaranteeTarget(0.05, 0.1), 0
    rng = np.random.default_rng(0)

    def drawn(count: int) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
        """An exit that is right for class 0 and a coin for class 1, equally sure; the final one is always right."""
        labels = rng.integers(0, 2, count)
        first = np.where(labels == 0, 0, rng.integers(0, 2, count))
        sure = rng.uniform(0.55, 0.95, count)
        high = np.log(sure / (1.0 - sure))
        return [np.eye(2)[first] * high[:, None], np.eye(2)[labels] * 5.0], labels

    population = drawn(40_000)
    final = profile(*population, ExitPolicy("max_probability", (2.0,))).top1
    for repetition in range(60):
        logits, labels = drawn(400)
        chosen = certified_policies(
            logits, labels, [1.0, 4.0], "max_probability", target, seed=repetition, by_class=True
        )[-1].policy
        found = profile(*population, chosen)
        broken += final - found.top1 > target.epsilon
        leaves += found.rates[0] > 0.05
    assert broken <= 11  # 60 * 0.1, and two standard deviations
    assert leaves > 30


def test_rules_that_are_written_keep_the_offsets_of_the_bundle() -> None:
    like = RuleNotation("threshold", "margin", (0.9, 0.8), (), OFFSETS)
    assert parse_rule("threshold:0.5,0.6", like) == ExitPolicy("margin", (0.5, 0.6), (), OFFSETS)
    assert parse_rule("threshold:0.5", like) == ExitPolicy("margin", (0.5,))
    assert like.rule.notation(3) == like


@pytest.mark.parametrize(
    ("offsets", "words"), [(((0.1,),), "one tuple per early exit"), (((0.1,), (0.6,)), "from -0.5 to 0.5")]
)
def test_offsets_that_do_not_fit_are_refused(offsets: tuple[tuple[float, ...], ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ExitPolicy("margin", (0.5, 0.5), (), offsets)
