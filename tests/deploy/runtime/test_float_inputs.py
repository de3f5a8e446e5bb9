"""Arrays of floats to network inputs."""

from typing import Any

import numpy as np
import pytest

from offramp.data import labelled_data as training
from offramp.data.mini_batches import to_tensor
from offramp.deploy.runtime.sample_inputs import float_samples, normalise
from offramp.errors import InputError
from tests.deploy.runtime.test_array_files import form

NAN = np.nan


def test_inputs_equal_those_of_training_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    values, mean, std = rng.normal(1000, 3, (50, 2, 9)).astype(np.float32), (999.5, 1001.25), (2.9, 3.1)
    trained = to_tensor(values[:, :, None], training.Preprocessing(mean, std, "float32")).numpy()
    stated = form("series", (2, 9))
    for name, value in (("mean", mean), ("std", std)):
        object.__setattr__(stated, name, value)
    assert (normalise(float_samples(values, stated), stated) == trained).all()


def test_short_series_end_with_the_mean() -> None:
    stated = form("series", (2, 4), padded=True)
    object.__setattr__(stated, "mean", (5.0, 7.0))
    expected = [[[1, 2, 5, 5]], [[3, 4, 7, 7]]]
    assert float_samples(np.array([[[1.0, 2], [3, 4]]]), stated)[0].tolist() == expected
    with_nan = np.array([[[1, 2, NAN, NAN], [3, 4, NAN, NAN]]])
    assert float_samples(with_nan, stated)[0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "padded", "message"),
    [
        (np.zeros((1, 2, 5)), True, r"\(N, 2, 4 or fewer steps\)"),
        (np.zeros((1, 2, 3)), False, r"shape \(N, 2, 4\), \(samples, channels, time\), got \(1, 2, 3\)"),
        (np.zeros((2, 4)), False, r"got \(2, 4\)"),
        (np.array([[["a"] * 4] * 2]), False, "must hold numbers"),
        (np.array([[[1, NAN, 3, 4], [1, 2, 3, 4]]]), True, "before the end of a series"),
        (np.array([[[1, 2, 3, NAN], [1, 2, 3, NAN]]]), False, "finite numbers"),
        (np.array([[[1, 2, 3, NAN], [1, 2, 3, 4]]]), True, "finite numbers"),
        (np.array([[[1, 2, 3, np.inf], [1, 2, 3, 4]]]), True, "finite numbers"),
        (np.full((1, 2, 4), NAN), True, "sample 0 is NaN alone"),
        (np.array([[[1e300, 2, 3, 4], [1, 2, 3, 4]]]), False, "finite numbers"),
        (np.array([[[1.0, 2, 0, 0], [1, 2, 0, 0]]]), True, "Sample 0 ends in zeros .* look like padding"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(values: Any, padded: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        float_samples(values, form("series", (2, 4), padded=padded))


def test_vectors_and_maps_get_the_layout_of_the_network() -> None:
    assert float_samples(np.zeros((5, 3)), form("vectors", (3,))).shape == (5, 3, 1, 1)
    assert float_samples(np.zeros((5, 3, 6, 7)), form("feature_maps", (3, 6, 7))).shape == (5, 3, 6, 7)
