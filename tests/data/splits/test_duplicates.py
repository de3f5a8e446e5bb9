import numpy as np

from offramp.data.splits.duplicates import SampleSet, find_overlap
from tests.data.samples import random_images


def samples(*rows: int) -> SampleSet:
    """Rows of ten different images, with the row modulo 2 as label."""
    return SampleSet(random_images(10, (1, 4, 4))[list(rows)], np.array(rows) % 2)


def test_samples_in_common_are_found_in_any_order_and_number() -> None:
    overlap = find_overlap(samples(0, 1, 2, 1, 3), [samples(1, 7), samples(9, 3, 3)])
    assert overlap.rows.tolist() == [False, True, False, True, True]
    assert (overlap.count, overlap.num_relabelled) == (3, 0)


def test_one_bit_makes_another_sample() -> None:
    own = samples(0, 1)
    changed = own.samples.copy()
    changed[0, 0, 3, 3] ^= 1
    assert find_overlap(SampleSet(changed, own.labels), [own]).rows.tolist() == [False, True]


def test_other_labels_are_counted() -> None:
    own = samples(0, 1, 2)
    other = SampleSet(own.samples, np.array([0, 0, 1]))
    assert find_overlap(own, [other]).num_relabelled == 2
    assert find_overlap(own, [other, own]).num_relabelled == 0


def test_views_with_other_strides_are_compared_by_content() -> None:
    images = random_images(6, (4, 4, 3)).transpose(0, 3, 1, 2)
    copied = np.ascontiguousarray(images)
    labels = np.zeros(6, dtype=np.int64)
    assert find_overlap(SampleSet(images, labels), [SampleSet(copied, labels)]).count == 6
