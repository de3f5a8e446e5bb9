import numpy as np
import pytest

from offramp.data.labelled_data import Preprocessing
from offramp.data.raw_data import RawPart, Role
from offramp.data.signals.padding import filled, same_length, valid_steps
from offramp.errors import DataError

NAN = np.nan


def part(role: Role, samples: object) -> RawPart:
    array = np.asarray(samples, dtype=np.float32)[:, :, None]
    return RawPart(role, f"{role}.npz", array, np.zeros(len(array), np.int64))


def test_parts_with_short_series_get_the_length_of_the_longest() -> None:
    train, test = same_length([part("train", [[[1, 2, NAN]]]), part("test", [[[1, 2, 3, 4]]])])
    assert train.shape == test.shape == (1, 1, 1, 4)
    assert valid_steps(train).tolist() == [2]
    assert valid_steps(test).tolist() == [4]


def test_parts_of_different_lengths_without_short_series_are_refused() -> None:
    with pytest.raises(DataError, match=r"1x1x3 in 'train\.npz', 1x1x4 in 'test\.npz'.*lengths"):
        same_length([part("train", [[[1, 2, 3]]]), part("test", [[[1, 2, 3, 4]]])])
    with pytest.raises(DataError, match=r"1x1x3 in 'train\.npz', 2x1x3"):
        same_length([part("train", [[[1, 2, NAN]]]), part("test", [[[1, 2, 3], [1, 2, 3]]])])


def test_padding_becomes_the_mean_of_its_channel() -> None:
    samples = part("train", [[[1, NAN], [5, NAN]]]).samples.astype(np.float32)
    whole = filled(samples, Preprocessing((2.0, 7.0), (1.0, 1.0), "float32"))
    assert whole[0, :, 0].tolist() == [[1, 2], [5, 7]]
