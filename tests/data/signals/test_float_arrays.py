from typing import Any

import numpy as np
import pytest

from offramp.data.images.pixel_units import NamedArray
from offramp.data.signals.float_arrays import FloatSamples, float_samples
from offramp.errors import DataError

RNG = np.random.default_rng(0)


def series(values: Any, lengths: Any = None) -> FloatSamples:
    known = None if lengths is None else NamedArray("'d.npz' (lengths)", np.asarray(lengths))
    return float_samples(NamedArray("'d.npz' (x)", np.asarray(values)), "series", known)


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float16, np.float32, np.float64, np.bool_])
def test_numbers_of_any_type_and_range_are_taken_as_they_are(dtype: Any) -> None:
    values = RNG.integers(-500, 500, (4, 2, 9)).astype(dtype)
    found = series(values).samples
    assert found.dtype == np.float32
    assert (found[:, :, 0] == values.astype(np.float32)).all()


def test_lengths_mark_the_steps_behind_them_as_padding() -> None:
    found = series(np.arange(1, 13).reshape(2, 1, 6), [2, 6]).samples
    assert found[0, 0, 0, :2].tolist() == [1, 2]
    assert np.isnan(found[0, 0, 0, 2:]).all()
    assert np.isfinite(found[1]).all()


def test_nan_at_the_end_of_all_channels_is_padding_and_is_said() -> None:
    values = RNG.normal(size=(3, 2, 5))
    values[1, :, 3:] = np.nan
    found = series(values)
    assert np.isnan(found.samples[1, :, 0, 3:]).all()
    assert found.notes == ("1 of 3 series in 'd.npz' (x) end with NaN in all channels: taken as padding.",)


@pytest.mark.parametrize("place", [(1, 0, 2), (1, 0, 4), (1, slice(None), 0), (1, slice(None), slice(None))])
def test_nan_elsewhere_is_refused_and_the_sample_named(place: Any) -> None:
    values = RNG.normal(size=(3, 2, 5))
    values[place] = np.nan
    with pytest.raises(DataError, match=r"finite numbers except as padding .*1 hold NaN.*first is sample 1\b"):
        series(values)


def test_infinity_is_refused_everywhere() -> None:
    values = RNG.normal(size=(3, 2, 5))
    values[2, :, 4] = np.inf
    with pytest.raises(DataError, match="first is sample 2"):
        series(values)
    with pytest.raises(DataError, match="finite numbers, but 1 hold NaN"):
        float_samples(NamedArray("x", np.array([[1.0, np.nan], [1.0, 2.0]])), "vectors")
    with pytest.raises(DataError, match="within their lengths, but 1 hold"):
        series(values, [5, 5, 5])
    assert np.isnan(series(values, [5, 5, 4]).samples[2, 0, 0, 4])


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1, 2], "one whole number per series"),
        ([0.5, 1.0, 2.0], "one whole number per series"),
        ([1, 0, 3], r"1\.\.5.*got 0 for series 1"),
        ([1, 2, 6], r"1\.\.5.*got 6 for series 2"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        series(np.zeros((3, 2, 5)), lengths)


def test_numbers_that_float32_cannot_tell_apart_are_refused() -> None:
    nanoseconds = 1_700_000_000_000_000_000 + np.arange(200, dtype=np.int64).reshape(2, 1, 100)
    with pytest.raises(DataError, match=r"Channel 0 of 'd\.npz' \(x\).*of 200 different values only 1 would be left"):
        series(nanoseconds)
    with pytest.raises(DataError, match="fit into float32"):
        series(np.array([[[1e300, 2.0]]]))
    assert series(nanoseconds - nanoseconds.min()).samples.max() == 199


def test_what_is_no_array_of_numbers_of_the_kind_is_refused() -> None:
    with pytest.raises(DataError, match="must be numbers, got values of type <U1"):
        series(np.array([["a", "b"]]))
    with pytest.raises(DataError, match=r"channels, time\), got shape \(1, 2, 3, 4\) \(data\.kind: series\)"):
        series(np.zeros((1, 2, 3, 4)))
    with pytest.raises(DataError, match=r"must not be empty, got shape \(2, 1, 0\)"):
        series(np.zeros((2, 1, 0)))


def test_zeros_at_the_ends_of_many_series_are_hinted_at() -> None:
    values = RNG.normal(size=(10, 2, 20))
    for row in range(5):
        values[row, :, 8 + row :] = 0
    (hint,) = series(values).notes
    assert "end in zeros" in hint
    assert "lengths" in hint
    assert series(RNG.normal(size=(10, 2, 20))).notes == ()


def test_minus_zero_becomes_zero_so_that_equal_samples_have_equal_bytes() -> None:
    assert series(np.array([[-0.0, 1.0]])).samples.tobytes() == series(np.array([[0.0, 1.0]])).samples.tobytes()
