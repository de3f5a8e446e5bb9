import numpy as np
import pytest

from offramp.data.images.pixel_units import NamedArray
from offramp.data.signals.array_samples import samples_from_arrays
from offramp.errors import DataError

SERIES = np.random.default_rng(0).normal(size=(4, 2, 9))
LENGTHS = NamedArray("lengths_train", np.array([5, 9, 9, 9]))


def test_lengths_of_one_part_alone_are_refused_since_padding_of_the_other_would_count() -> None:
    parts = [NamedArray("x_train", SERIES), NamedArray("x_test", SERIES)]
    with pytest.raises(DataError, match=r"lengths_train has, but x_test has none.*they all are 9"):
        samples_from_arrays(parts, None, lengths=[LENGTHS, None])
    marked = SERIES.copy()
    marked[1, :, 7:] = np.nan
    found = samples_from_arrays([parts[0], NamedArray("x_test", marked)], None, lengths=[LENGTHS, None])
    assert [int(np.isnan(own[:, 0, 0]).sum()) for own in found.samples] == [4, 2]


def test_lengths_of_what_is_no_series_are_refused() -> None:
    with pytest.raises(DataError, match="says how long series are, but the samples are feature maps"):
        samples_from_arrays([NamedArray("x", SERIES[:, None])], "feature_maps", lengths=[LENGTHS])
