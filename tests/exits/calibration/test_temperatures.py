"""Temperatures: known ones are found again, and decisions follow them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from offramp.errors import InputError
from offramp.exits.calibration.temperatures import (
    HIGHEST,
    LOWEST,
    calibrated,
    fit_temperature,
    fit_temperatures,
)
from offramp.exits.confidence_measures import MEASURES, Measure, softmax
from offramp.exits.exit_policy import ExitPolicy
from tests.exits.synthetic import outputs


def honest(num_samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the distribution that the labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_samples, 4)) * 2
    draws = rng.random(num_samples)[:, None]
    labels = (softmax(logits).cumsum(axis=1) < draws).sum(axis=1)
    return logits, np.minimum(labels, 3)


def mean_negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """What a temperature is fitted to make small, in nats per sample."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, labels = honest(20_000, 3)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_by_hand() -> None:
    """Three of four are right with logits 2 and 0: the likelihood is highest where the confidence is 3/4."""
    logits = np.asarray([[2.0, 0.0]] * 4)
    labels = np.asarray([0, 0, 0, 1])
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(2.0 / np.log(3.0), rel=1e-6)
    assert softmax(logits / temperature)[0, 0] == pytest.approx(0.75)
    expected = -(3 * np.log(0.75) + np.log(0.25)) / 4
    assert mean_negative_log_likelihood(logits / temperature, labels) == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.05, 20.0))
def test_no_other_temperature_is_likelier(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(40, 3)) * scale, rng.integers(0, 3, 40)
    found = fit_temperature(logits, labels)
    assert LOWEST <= found <= HIGHEST
    least = mean_negative_log_likelihood(logits / found, labels)
    for other in np.geomspace(LOWEST, HIGHEST, 60):
        assert least <= mean_negative_log_likelihood(logits / other, labels) + 1e-9


def test_the_ends() -> None:
    right = np.asarray([[3.0, 0.0], [0.0, 3.0]])
    assert fit_temperature(right, np.asarray([0, 1])) == LOWEST == 0.1
    assert fit_temperature(right, np.asarray([1, 0])) == HIGHEST == 10.0
    assert fit_temperature(np.zeros((5, 3)), np.zeros(5, dtype=int)) == 1.0
    assert fit_temperature(np.zeros((5, 1)), np.zeros(5, dtype=int)) == 1.0
    assert LOWEST <= fit_temperature(right * 1e30, np.asarray([0, 0])) <= HIGHEST


@pytest.mark.parametrize("measure", MEASURES)
def test_decisions_on_calibrated_logits_are_those_of_a_policy_with_temperatures(measure: Measure) -> None:
    made = outputs(500, np.random.default_rng(0))
    too_sure = tuple(2 * item for item in made.logits)
    temperatures = fit_temperatures(too_sure, made.labels)
    assert len(temperatures) == 3
    assert min(temperatures) > 1.8
    plain = ExitPolicy(measure, (0.8, 0.6))
    warm = ExitPolicy(measure, (0.8, 0.6), temperatures)
    taken = warm.decide(too_sure)
    np.testing.assert_array_equal(taken, plain.decide(calibrated(too_sure, temperatures)))
    assert (taken != plain.decide(too_sure)).any()


def test_input_that_does_not_fit_is_refused() -> None:
    logits, labels = honest(10, 0)
    broken = logits.copy()
    broken[2, 1] = np.inf
    for bad_logits, bad_labels, fault in [
        (logits, labels[:-1], "must have shape"),
        (logits[0], labels, "must have shape"),
        (logits[:0], labels[:0], "one or more samples"),
        (broken, labels, "diverged"),
        (logits, labels + 1, "labels must be from 0 to 3, got 1 to 4"),
        (logits, labels - 1, "labels must be from 0 to 3, got -1 to 2"),
    ]:
        with pytest.raises(InputError, match=fault):
            fit_temperature(bad_logits, bad_labels)
    with pytest.raises(InputError, match=r"one value per exit \(1\), got 2"):
        calibrated([logits], (1.0, 2.0))
