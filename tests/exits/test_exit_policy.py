"""Who leaves where, and what that makes of the accuracy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.exits.exit_policy import ExitPolicy, ExitProfile, profile


def logits_for(probabilities_of_class_0: list[float]) -> np.ndarray:
    first = np.asarray(probabilities_of_class_0)
    return np.log(np.stack([first, 1 - first], axis=1))


# Four samples, three exits; probability of class 0. Labels: 0, 0, 1, 1.
LOGITS = [
    logits_for([0.95, 0.60, 0.92, 0.50]),
    logits_for([0.90, 0.85, 0.30, 0.15]),
    logits_for([0.80, 0.45, 0.20, 0.10]),
]
LABELS = np.asarray([0, 0, 1, 1])


def test_decisions_by_hand() -> None:
    # Exit 0 takes samples 0 (0.95) and 2 (0.92); exit 1 takes 1 (0.85) and 3 (0.85).
    assert ExitPolicy("max_probability", (0.9, 0.8)).decide(LOGITS).tolist() == [0, 1, 0, 1]
    # At 0.86 exit 1 is too unsure of samples 1 and 3.
    assert ExitPolicy("max_probability", (0.9, 0.86)).decide(LOGITS).tolist() == [0, 2, 0, 2]
    assert ExitPolicy("max_probability", (2.0, 2.0)).decide(LOGITS).tolist() == [2, 2, 2, 2]
    assert ExitPolicy("max_probability", (0.0, 0.0)).decide(LOGITS).tolist() == [0, 0, 0, 0]


def test_a_confidence_equal_to_the_threshold_leaves() -> None:
    even = [np.zeros((1, 2)), np.zeros((1, 2))]
    assert ExitPolicy("max_probability", (0.5,)).decide(even).tolist() == [0]
    assert ExitPolicy("max_probability", (np.nextafter(0.5, 1),)).decide(even).tolist() == [1]


def test_profile_by_hand() -> None:
    result = profile(LOGITS, LABELS, ExitPolicy("max_probability", (0.9, 0.8)))
    assert result.rates == (0.5, 0.5, 0.0)
    # Exit 0: sample 0 right, sample 2 wrong. Exit 1: both right. Exit 2: nobody.
    assert result.accuracies == (0.5, 1.0, 0.0)
    # Everybody at exit 0: 0 right, 1 right, 2 wrong, 3 (a tie, class 0) wrong.
    assert result.full_accuracies == (0.5, 1.0, 0.75)
    assert result.top1 == 0.75
    assert result.num_samples == 4


@pytest.mark.parametrize("thresholds", [(), (0.5,), (0.5, 0.5, 0.5)])
def test_the_number_of_thresholds_must_fit(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"one value per exit except the last \(2\)"):
        ExitPolicy("entropy", thresholds).decide(LOGITS)


def test_rates_must_sum_to_one() -> None:
    with pytest.raises(ValueError, match="`rates` must sum to 1"):
        ExitProfile((0.5, 0.4), (1.0, 1.0), (1.0, 1.0), 1.0, 10)


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.floats(0, 1.1), min_size=0, max_size=3),
    st.sampled_from(["max_probability", "entropy", "margin"]),
)
def test_the_total_is_the_sum_over_exits(seed: int, thresholds: list[float], measure: str) -> None:
    rng = np.random.default_rng(seed)
    logits = [rng.normal(size=(30, 4)) for _ in range(len(thresholds) + 1)]
    labels = rng.integers(0, 4, 30)
    result = profile(logits, labels, ExitPolicy(measure, tuple(thresholds)))  # type: ignore[arg-type]
    assert sum(result.rates) == pytest.approx(1.0)
    weighted = sum(rate * accuracy for rate, accuracy in zip(result.rates, result.accuracies, strict=True))
    assert result.top1 == pytest.approx(weighted)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_keeps_more_samples(seed: int, one: float, other: float) -> None:
    logits = [np.random.default_rng(seed + index).normal(size=(40, 3)) for index in range(2)]
    low, high = sorted((one, other))
    leaving_low = ExitPolicy("margin", (low,)).decide(logits) == 0
    leaving_high = ExitPolicy("margin", (high,)).decide(logits) == 0
    assert (leaving_low | ~leaving_high).all()


def test_temperatures_by_hand() -> None:
    """Logits 4 and 0 at temperature 4 are 1 and 0: e / (e + 1) = 0.731."""
    logits = np.asarray([[4.0, 0.0]])
    policy = ExitPolicy("max_probability", (0.75,), (4.0, 0.5))
    assert policy.confidence(logits, 0)[0] == pytest.approx(np.e / (np.e + 1))
    assert policy.confidence(logits, 1)[0] == pytest.approx(1 / (1 + np.exp(-8)))
    assert policy.decide([logits, logits]).tolist() == [1]
    assert ExitPolicy("max_probability", (0.73,), (4.0, 0.5)).decide([logits, logits]).tolist() == [0]
    assert ExitPolicy("max_probability", (0.75,)).decide([logits, logits]).tolist() == [0]


@pytest.mark.parametrize("temperatures", [(1.0,), (1.0, 1.0, 1.0), (0.0, 1.0), (1.0, -1.0), (1.0, float("nan"))])
def test_temperatures_that_cannot_be(temperatures: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="`temperatures` must be"):
        ExitPolicy("margin", (0.5,), temperatures)


def test_temperatures_have_limits() -> None:
    assert ExitPolicy("margin", (0.5,), (1e-6, 1e6)).temperatures == (1e-6, 1e6)
    for value in (0.9e-6, 1.1e6):
        with pytest.raises(ValueError, match="`temperatures` must be from 1e-6 to 1e6"):
            ExitPolicy("margin", (0.5,), (1.0, value))
