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
