"""Inputs to compare on: all that were given, then copies that differ."""

import numpy as np

from offramp.deploy.bundle.check_inputs import checks_from
from tests.deploy import toys


def test_enough_inputs_stay_as_they_are() -> None:
    inputs = toys.samples(12)
    assert checks_from(inputs, 12, seed=0) is inputs
    assert checks_from(inputs, 5, seed=0) is inputs


def test_missing_ones_are_disturbed_copies_always_the_same_for_a_seed() -> None:
    inputs = toys.samples(7)
    before = inputs.copy()
    found = checks_from(inputs, 50, seed=3)
    assert found.shape == (50, *toys.INPUT_SHAPE)
    assert found.dtype == np.float32
    assert np.array_equal(found[:7], inputs)
    assert np.array_equal(inputs, before)
    assert len(np.unique(found.reshape(50, -1), axis=0)) == 50
    assert np.array_equal(found, checks_from(inputs, 50, seed=3))
    assert not np.array_equal(found, checks_from(inputs, 50, seed=4))
    # The pixels are those of the original in another order, and noise a tenth as large as their spread.
    for row in (7, 30, 49):
        moved = np.abs(np.sort(found[row].ravel()) - np.sort(inputs[(row - 7) % 7].ravel()))
        assert 0.0 < moved.mean() < 0.1


def test_one_flat_image_gives_different_copies_too() -> None:
    found = checks_from(np.zeros((1, 1, 4, 4), np.float32), 5, seed=0)
    assert len(np.unique(found.reshape(5, -1), axis=0)) == 5
    assert np.isfinite(found).all()
