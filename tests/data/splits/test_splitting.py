import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.data.splits.splitting import SplitIndices, stratified_split
from offramp.errors import ConfigError, DataError

SHARES = st.sampled_from([0.0, 0.01, 0.1, 0.2, 0.33, 0.45])


def split(labels: list[int], validation: float, test: float, seed: int = 0) -> SplitIndices:
    numbers = np.array(labels, dtype=np.int64)
    names = tuple(str(number) for number in range(max(labels) + 1))
    return stratified_split(numbers, names, seed=seed, validation_share=validation, test_share=test, where="toy")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(3, 30), min_size=2, max_size=6), SHARES, SHARES, st.integers(0, 2**31), st.randoms())
def test_parts_never_overlap_and_leave_nothing_out(counts, validation, test, seed, random) -> None:  # type: ignore[no-untyped-def]
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    random.shuffle(labels)
    parts = split(labels, validation, test, seed)
    together = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(together.tolist()) == list(range(len(labels)))
    for part, share in ((parts.train, 1.0), (parts.validation, validation), (parts.test, test)):
        present = {labels[index] for index in part.tolist()}
        assert present == (set(range(len(counts))) if share else set())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(20, 60), min_size=2, max_size=4), st.integers(0, 1000))
def test_each_class_gives_its_share_to_within_one_sample(counts: list[int], seed: int) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    parts = split(labels, 0.2, 0.3, seed)
    for label, count in enumerate(counts):
        of_class = [int((np.array(labels)[part] == label).sum()) for part in (parts.validation, parts.test)]
        assert abs(of_class[0] - 0.2 * count) <= 0.5
        assert abs(of_class[1] - 0.3 * count) <= 0.5


def test_sizes_worked_out_by_hand() -> None:
    # 10 of class 0: 2 + 3 cut; 4 of class 1: round(0.8) = 1 and round(1.2) = 1 cut.
    parts = split([0] * 10 + [1] * 4, 0.2, 0.3)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (5 + 2, 2 + 1, 3 + 1)


def test_large_shares_of_a_small_class_still_leave_one_to_train_on() -> None:
    # Rounding alone would give 2 + 2 of 4 away.
    parts = split([0] * 4 + [1] * 4, 0.49, 0.49)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (2, 2, 4)


def test_the_seed_decides_and_nothing_else() -> None:
    labels = [0, 1] * 50
    first, again, other = split(labels, 0.2, 0.2, 1), split(labels, 0.2, 0.2, 1), split(labels, 0.2, 0.2, 2)
    assert first.validation.tolist() == again.validation.tolist()
    assert first.validation.tolist() != other.validation.tolist()


def test_samples_of_sorted_data_are_mixed() -> None:
    labels = np.array([0] * 100 + [1] * 100)
    head = labels[split(labels.tolist(), 0.2, 0.2).validation[:20]]
    assert set(head.tolist()) == {0, 1}


def test_a_class_with_too_few_samples_is_named() -> None:
    with pytest.raises(DataError, match=r"at least 3 samples.*class '1' has 2\b"):
        split([0] * 9 + [1] * 2, 0.2, 0.2)
    # Two parts need two samples only.
    assert len(split([0] * 9 + [1] * 2, 0.2, 0.0).test) == 0


def test_shares_must_leave_something() -> None:
    with pytest.raises(ConfigError, match=r"sum below 1.*0\.5 \+ 0\.5"):
        split([0, 1] * 10, 0.5, 0.5)
