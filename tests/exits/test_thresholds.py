"""Thresholds chosen on a grid agree with trying every combination one by one."""

import itertools
import time
from collections.abc import Sequence

import numpy as np
import pytest
from benchmarks.best_policy import best_policy
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import InputError
from offramp.exits.confidence_measures import MEASURES, Measure, confidence
from offramp.exits.exit_policy import ExitPolicy, profile
from offramp.exits.quality.quality_measures import QualityMeasures, confusion_matrix
from offramp.exits.score_thresholds import NEVER, ThresholdGrid
from offramp.exits.thresholds import SHARED_THRESHOLDS, ThresholdChoice, shared_trade_off_curve, trade_off_curve

COARSE = ThresholdGrid(step=0.25, num_quantiles=2)


def random_case(seed: int, num_exits: int, samples: int = 40) -> tuple[list[np.ndarray], np.ndarray, list[float]]:
    """Logits of exits that get better; few distinct values, so that confidences tie."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, samples)
    logits = []
    for index in range(num_exits):
        exit_logits = np.round(rng.normal(size=(samples, 3)))
        exit_logits[np.arange(samples), labels] += index
        logits.append(exit_logits.astype(np.float32))
    return logits, labels, np.cumsum(rng.integers(1, 5, num_exits)).astype(float).tolist()


def one_by_one(
    logits: Sequence[np.ndarray], labels: np.ndarray, costs: Sequence[float], measure: Measure, grid: ThresholdGrid
) -> list[ThresholdChoice]:
    lists = [grid.thresholds(confidence(item, measure)).tolist() for item in logits[:-1]]
    results = []
    for thresholds in itertools.product(*lists):
        policy = ExitPolicy(measure, thresholds)
        achieved = profile(logits, labels, policy)
        cost = sum(rate * cost for rate, cost in zip(achieved.rates, costs, strict=True))
        results.append(ThresholdChoice(policy, achieved.top1, cost))
    return results


CASES = {
    "seed": st.integers(0, 2**32 - 1),
    "num_exits": st.integers(1, 4),
    "measure": st.sampled_from(MEASURES),
}


@settings(max_examples=30)
@given(**CASES, drop=st.sampled_from([0.0, 0.025, 0.05, 0.3, 1.0]))
def test_the_best_policy_is_the_best_of_all(seed: int, num_exits: int, measure: Measure, drop: float) -> None:
    logits, labels, costs = random_case(seed, num_exits)
    choice = best_policy(logits, labels, costs, measure, drop, COARSE)
    everything = one_by_one(logits, labels, costs, measure, COARSE)
    best_accuracy = max(item.accuracy for item in everything)
    allowed = [item for item in everything if item.accuracy >= best_accuracy - drop - 1e-9]
    assert choice.expected_cost == pytest.approx(min(item.expected_cost for item in allowed))
    equally_cheap = [item.accuracy for item in allowed if item.expected_cost <= choice.expected_cost + 1e-9]
    assert choice.accuracy == max(equally_cheap)
    assert_true_to_the_policy(choice, logits, labels, costs)


@settings(max_examples=30)
@given(**CASES)
def test_the_curve_is_the_front_of_all(seed: int, num_exits: int, measure: Measure) -> None:
    logits, labels, costs = random_case(seed, num_exits)
    curve = trade_off_curve(logits, labels, costs, measure, COARSE)
    points = {
        (item.accuracy, round(item.expected_cost, 9)) for item in one_by_one(logits, labels, costs, measure, COARSE)
    }
    front = {
        (accuracy, cost)
        for accuracy, cost in points
        if not any(a >= accuracy and c <= cost and (a, c) != (accuracy, cost) for a, c in points)
    }
    assert [(item.accuracy, round(item.expected_cost, 9)) for item in curve] == sorted(front, key=lambda p: p[1])
    for item in curve:
        assert_true_to_the_policy(item, logits, labels, costs)


def assert_true_to_the_policy(
    choice: ThresholdChoice, logits: Sequence[np.ndarray], labels: np.ndarray, costs: Sequence[float]
) -> None:
    achieved = profile(logits, labels, choice.policy)
    assert choice.accuracy == achieved.top1
    assert choice.expected_cost == pytest.approx(np.dot(achieved.rates, costs))


@settings(max_examples=20)
@given(seed=CASES["seed"], num_exits=st.integers(3, 5), drop=st.sampled_from([0.0, 0.05]))
def test_a_thinned_grid_is_refined_to_something_true_and_allowed(seed: int, num_exits: int, drop: float) -> None:
    logits, labels, costs = random_case(seed, num_exits)
    thin = ThresholdGrid(step=0.25, num_quantiles=2, max_combinations=20)
    choice = best_policy(logits, labels, costs, "margin", drop, thin)
    assert_true_to_the_policy(choice, logits, labels, costs)
    never = profile(logits, labels, ExitPolicy("margin", (NEVER,) * (num_exits - 1)))
    assert choice.accuracy >= never.top1 - drop - 1e-9
    full = best_policy(logits, labels, costs, "margin", 1.0, ThresholdGrid(0.25, 2))
    assert choice.expected_cost >= full.expected_cost - 1e-9
    for item in trade_off_curve(logits, labels, costs, "margin", thin):
        assert_true_to_the_policy(item, logits, labels, costs)


def test_by_hand() -> None:
    """Two exits; the early one is right on its sure samples (0.9, 0.8) and wrong on the unsure one (0.6)."""
    early = np.log(np.asarray([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]))
    final = np.log(np.asarray([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]]))
    labels = np.asarray([0, 0, 1])
    choice = best_policy([early, final], labels, [1.0, 4.0], "max_probability", 0.0, ThresholdGrid(0.05, 0))
    # Any threshold above 0.6 and up to 0.8 lets two leave: (2 * 1 + 4) / 3. The highest is taken.
    assert choice.accuracy == 1.0
    assert choice.expected_cost == pytest.approx(2.0)
    # 0.8 itself may round to either side of the logits' softmax.
    assert choice.policy.thresholds in ((0.75,), (0.8,))
    everybody_leaves = best_policy([early, final], labels, [1.0, 4.0], "max_probability", 0.34)
    assert everybody_leaves.accuracy == pytest.approx(2 / 3)
    assert everybody_leaves.expected_cost == 1.0


def test_nobody_leaves_at_a_wrong_exit_even_if_it_is_certain() -> None:
    wrong = np.asarray([[1000.0, 0.0]] * 4)
    right = np.asarray([[0.0, 1.0]] * 4)
    labels = np.ones(4, dtype=int)
    choice = best_policy([wrong, right], labels, [1.0, 10.0], "max_probability", 0.0)
    assert choice.policy.thresholds == (NEVER,)
    assert (choice.accuracy, choice.expected_cost) == (1.0, 10.0)
    assert ExitPolicy("max_probability", (NEVER,)).decide([wrong, right]).tolist() == [1] * 4


def test_one_exit_alone_has_no_thresholds() -> None:
    logits = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    expected = ThresholdChoice(ExitPolicy("entropy", ()), 0.5, 7.0)
    assert best_policy([logits], np.asarray([0, 0]), [7.0], "entropy") == expected
    assert trade_off_curve([logits], np.asarray([0, 0]), [7.0], "entropy") == (expected,)


def test_one_threshold_for_all_exits_by_hand() -> None:
    """Up to 0.5 all leave at once, 0.68 of them wrongly; 0.7 is the first threshold that keeps the wrong one."""
    assert len(SHARED_THRESHOLDS) == 20
    assert SHARED_THRESHOLDS[::19] == (0.05, 1.0)

    def logits(*shares: float) -> np.ndarray:
        return np.log([[share, 1.0 - share] for share in shares])

    exits = [logits(0.92, 0.62, 0.32, 0.53), logits(0.99, 0.77, 0.72, 0.52), logits(0.9, 0.9, 0.9, 0.9)]
    labels = np.zeros(4, dtype=int)
    # At 0.7 the exits take one, two and one sample: (1 + 2 + 2 + 4) / 4 = 2.25. All others are dearer or as wrong.
    assert shared_trade_off_curve(exits, labels, [1.0, 2.0, 4.0], "max_probability") == (
        ThresholdChoice(ExitPolicy("max_probability", (0.05, 0.05)), 0.75, 1.0),
        ThresholdChoice(ExitPolicy("max_probability", (0.7, 0.7)), 1.0, 2.25),
    )
    alone = ThresholdChoice(ExitPolicy("entropy", ()), 1.0, 4.0)
    assert shared_trade_off_curve(exits[2:], labels, [4.0], "entropy") == (alone,)


def test_an_accuracy_drop_is_exact_on_the_count_of_samples() -> None:
    """With 10 samples a drop of 0.1 allows exactly one more mistake, rounding notwithstanding."""
    labels = np.zeros(10, dtype=int)
    early = np.asarray([[3.0, 0.0]] * 9 + [[0.0, 3.0]])
    final = np.asarray([[3.0, 0.0]] * 10)
    assert best_policy([early, final], labels, [1.0, 2.0], "margin", 0.1).expected_cost == 1.0
    assert best_policy([early, final], labels, [1.0, 2.0], "margin", 0.0999).expected_cost == 2.0


def test_costs_need_not_rise() -> None:
    """A dear early branch is avoided although it comes first."""
    logits = [np.asarray([[3.0, 0.0]] * 4)] * 2
    choice = best_policy(logits, np.zeros(4, dtype=int), [9.0, 5.0], "margin", 0.0)
    assert choice.expected_cost == 5.0


def test_the_grid_holds_steps_quantiles_and_never() -> None:
    values = np.asarray([0.123, 0.5, 0.5, 0.987])
    grid = ThresholdGrid(step=0.25, num_quantiles=2).thresholds(values).tolist()
    assert grid == sorted(set(grid))
    assert {0.0, 0.25, 0.5, 0.75, 1.0, NEVER} < set(grid)
    quantiles = set(grid) - {0.0, 0.25, 0.5, 0.75, 1.0, NEVER}
    assert all(0.123 < value < 0.987 for value in quantiles)
    assert ThresholdGrid(0.5, 0).thresholds(values).tolist() == [0.0, 0.5, 1.0, NEVER]
    assert max(ThresholdGrid(0.3, 0).thresholds(values).tolist()[:-1]) <= 1.0


@pytest.mark.parametrize(
    ("step", "quantiles", "combinations"), [(0.0, 1, 100), (1.5, 1, 100), (0.1, -1, 100), (0.1, 1, 3)]
)
def test_a_grid_that_makes_no_sense_is_refused(step: float, quantiles: int, combinations: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        ThresholdGrid(step, quantiles, combinations)


def test_input_that_does_not_fit_is_refused() -> None:
    logits, labels, costs = random_case(0, 2)
    broken = [logits[0].copy(), logits[1]]
    broken[0][3, 1] = np.nan
    for bad_logits, bad_labels, bad_costs, fault in [
        (logits, labels, costs[:1], r"one value per exit \(2"),
        ([], labels, [], "at least 1"),
        (logits, labels[:-1], costs, "same one or more samples"),
        ([logits[0][:-1], logits[1]], labels, costs, "same one or more samples"),
        ([item[:0] for item in logits], labels[:0], costs, "same one or more samples"),
        (broken, labels, costs, "diverged"),
        (logits, labels, [1.0, np.inf], "must be finite"),
    ]:
        with pytest.raises(InputError, match=fault):
            best_policy(bad_logits, bad_labels, bad_costs, "margin")
    for drop in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match="`accuracy_drop`"):
            best_policy(logits, labels, costs, "margin", drop)


@pytest.mark.parametrize("num_exits", [5, 9])
def test_many_samples_take_a_fraction_of_a_second(num_exits: int) -> None:
    """A loop over samples or combinations would take minutes; the bound leaves room for a busy machine."""
    logits, labels, costs = random_case(1, num_exits, samples=10_000)
    started = time.process_time()
    choice = best_policy(logits, labels, costs, "max_probability", 0.01)
    assert time.process_time() - started < 3.0
    assert_true_to_the_policy(choice, logits, labels, costs)


def test_the_refined_choice_comes_close_to_the_exhaustive_one() -> None:
    """Mean over 20 cases: within 1 % of the cost; from the most accurate start alone it would be 5 % more."""
    excess = []
    for seed in range(20):
        case = random_case(seed, 4, samples=400)
        exact = best_policy(*case, "margin", 0.05)
        refined = best_policy(*case, "margin", 0.05, ThresholdGrid(max_combinations=300))
        excess.append(refined.expected_cost / exact.expected_cost)
    assert np.mean(excess) < 1.01


def test_of_equally_cheap_thresholds_the_more_accurate_are_taken() -> None:
    """The first two exits cost the same; the first is right, the second wrong, the last dear and wrong."""
    right, wrong = np.asarray([[0.0, 3.0]] * 4), np.asarray([[3.0, 0.0]] * 4)
    choice = best_policy([right, wrong, wrong], np.ones(4, dtype=int), [1.0, 1.0, 5.0], "margin", 1.0)
    assert (choice.accuracy, choice.expected_cost) == (1.0, 1.0)
    assert choice.policy.thresholds[0] <= 1.0


@pytest.mark.parametrize("num_exits", [2, 3])
def test_weighted_samples_give_the_curve_of_their_weighted_accuracy(num_exits: int) -> None:
    rng = np.random.default_rng(num_exits)
    labels = rng.choice(3, 40, p=[0.7, 0.2, 0.1])
    logits = [rng.normal(0, 1, (40, 3)) + (1 + index) * np.eye(3)[labels] for index in range(num_exits)]
    weights = QualityMeasures().sample_weights("balanced_accuracy", labels)
    costs = np.arange(1.0, num_exits + 1)
    curve = trade_off_curve(logits, labels, costs, "max_probability", COARSE, weights)
    tried = {}
    for thresholds in itertools.product(*(COARSE.thresholds(confidence(x, "max_probability")) for x in logits[:-1])):
        left = ExitPolicy("max_probability", thresholds).decide(logits)
        answers = np.stack([item.argmax(1) for item in logits])[left, np.arange(40)]
        tried[thresholds] = (costs[left].mean(), confusion_matrix(labels, answers, 3).balanced_accuracy)
    for point in curve:
        cost, balanced = tried[point.policy.thresholds]
        assert (point.expected_cost, point.accuracy) == (pytest.approx(cost), pytest.approx(balanced))
        assert not any(c <= cost - 1e-9 and b >= balanced - 1e-9 for c, b in tried.values())
        assert not any(c <= cost + 1e-9 and b >= balanced + 1e-6 for c, b in tried.values())
    # Every best value for a cost is on the curve.
    for cost, balanced in tried.values():
        assert any(p.expected_cost <= cost + 1e-9 and p.accuracy >= balanced - 1e-6 for p in curve)
