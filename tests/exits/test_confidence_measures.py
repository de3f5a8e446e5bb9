"""Confidence measures against values by hand and against scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax as scipy_softmax
from scipy.stats import entropy as scipy_entropy

from offramp.exits.confidence_measures import MEASURES, Measure, confidence, softmax

LOGITS = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 12)), elements=st.floats(-50, 50))


def logits_of(*probabilities: float) -> np.ndarray:
    return np.log(np.asarray([probabilities]))


def test_values_by_hand() -> None:
    logits = logits_of(0.7, 0.2, 0.1)
    assert confidence(logits, "max_probability")[0] == pytest.approx(0.7)
    assert confidence(logits, "margin")[0] == pytest.approx(0.5)
    entropy = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1))
    assert confidence(logits, "entropy")[0] == pytest.approx(1 - entropy / math.log(3))


@given(LOGITS)
def test_agreement_with_scipy(logits: np.ndarray) -> None:
    probabilities = scipy_softmax(logits, axis=1)
    np.testing.assert_allclose(softmax(logits), probabilities, rtol=1e-9)
    expected = 1 - scipy_entropy(probabilities, axis=1) / np.log(logits.shape[1])
    np.testing.assert_allclose(confidence(logits, "entropy"), expected, atol=1e-9)
    ordered = np.sort(probabilities, axis=1)
    np.testing.assert_allclose(confidence(logits, "margin"), ordered[:, -1] - ordered[:, -2], atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
@given(logits=LOGITS, shift=st.floats(-100, 100))
def test_confidence_is_a_share_and_ignores_a_common_shift(measure: Measure, logits: np.ndarray, shift: float) -> None:
    values = confidence(logits, measure)
    assert values.shape == (logits.shape[0],)
    assert ((values >= 0) & (values <= 1)).all()
    np.testing.assert_allclose(confidence(logits + shift, measure), values, atol=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_certain_is_one_and_clueless_is_least(measure: Measure) -> None:
    certain, clueless = confidence(np.asarray([[1000.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), measure)
    assert certain == pytest.approx(1.0)
    assert clueless == pytest.approx(1 / 3 if measure == "max_probability" else 0.0, abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_huge_logits_do_not_overflow(measure: Measure) -> None:
    with np.errstate(over="raise", invalid="raise"):
        values = confidence(np.asarray([[3e38, -3e38, 0.0]], dtype=np.float32), measure)
    assert values[0] == pytest.approx(1.0)


@pytest.mark.parametrize("measure", MEASURES)
def test_one_class_leaves_no_doubt(measure: Measure) -> None:
    np.testing.assert_array_equal(confidence(np.asarray([[0.3], [-5.0]]), measure), [1.0, 1.0])


@pytest.mark.parametrize("measure", MEASURES)
def test_leading_axes_are_kept(measure: Measure) -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4))
    assert confidence(logits, measure).shape == (2, 3)
