import numpy as np
import pytest

from offramp.data.statistics import channel_statistics, fingerprint_of
from tests.data.samples import random_images

NAMES = ("a", "b")
LABELS = np.array([0, 1], dtype=np.int64)


def test_statistics_worked_out_by_hand() -> None:
    # Channel 0: half 0, half 255: mean 0.5, deviation 0.5. Channel 1: 51 of 255 = 0.2 everywhere.
    images = np.zeros((2, 2, 2, 2), dtype=np.uint8)
    images[1, 0] = 255
    images[:, 1] = 51
    statistics = channel_statistics(images)
    assert statistics.mean == pytest.approx((0.5, 0.2))
    # A channel that never changes has deviation 0, which nobody can divide by.
    assert statistics.std == pytest.approx((0.5, 1 / 255))


def test_statistics_equal_numpys_over_several_chunks() -> None:
    images = random_images(2500, (3, 4, 4))
    statistics = channel_statistics(images)
    scaled = images / 255.0
    assert statistics.mean == pytest.approx(tuple(scaled.mean(axis=(0, 2, 3))), abs=1e-12)
    assert statistics.std == pytest.approx(tuple(scaled.std(axis=(0, 2, 3))), abs=1e-12)


def test_the_fingerprint_changes_with_a_pixel_a_label_a_name_or_a_shape() -> None:
    images = random_images(2, (1, 4, 4))
    brighter = images.copy()
    brighter[1, 0, 3, 3] ^= 1
    prints = {
        fingerprint_of([images], [LABELS], NAMES),
        fingerprint_of([brighter], [LABELS], NAMES),
        fingerprint_of([images], [LABELS[::-1]], NAMES),
        fingerprint_of([images], [LABELS], ("a", "c")),
        fingerprint_of([images.reshape(2, 1, 2, 8)], [LABELS], NAMES),
    }
    assert len(prints) == 5
    assert fingerprint_of([images.copy()], [LABELS], NAMES) in prints


def test_statistics_of_floats_equal_numpys_over_several_chunks_far_from_zero() -> None:
    samples = np.random.default_rng(0).normal(1e4, 0.5, (2500, 3, 1, 7)).astype(np.float32)
    statistics = channel_statistics(samples)
    exact = samples.astype(np.float64)
    assert statistics.mean == pytest.approx(tuple(exact.mean(axis=(0, 2, 3))), rel=1e-12)
    assert statistics.std == pytest.approx(tuple(exact.std(axis=(0, 2, 3))), rel=1e-9)


def test_padding_does_not_count_in_the_statistics() -> None:
    samples = np.array([[[[1.0, 3.0, np.nan]]], [[[5.0, np.nan, np.nan]]]], dtype=np.float32)
    statistics = channel_statistics(samples)
    # 1, 3 and 5: mean 3, variance (4 + 0 + 4) / 3.
    assert statistics.mean == (3.0,)
    assert statistics.std == pytest.approx(((8 / 3) ** 0.5,))


def test_constant_channels_of_floats_are_named_and_not_scaled() -> None:
    samples = np.random.default_rng(0).normal(size=(50, 3, 1, 4)).astype(np.float32)
    samples[:, 1] = 0.1
    samples[:, 2] = 0.0
    statistics = channel_statistics(samples)
    assert statistics.constant == (1, 2)
    assert statistics.std[1:] == (1.0, 1.0)


def test_bytes_and_floats_of_the_same_bytes_have_different_fingerprints() -> None:
    floats = np.ones((2, 1, 2, 2), np.float32)
    as_bytes = floats.view(np.uint8).reshape(2, 1, 2, 8)
    assert fingerprint_of([floats], [LABELS], NAMES) != fingerprint_of([as_bytes], [LABELS], NAMES)
