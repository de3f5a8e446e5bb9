from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.data.splits.group_splitting import GroupSplit, check_groups_apart, split_by_groups
from offramp.errors import ConfigError, DataError

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def split(
    labels: np.ndarray, groups: np.ndarray, seed: int = 0, validation: float = 0.2, test: float = 0.2
) -> GroupSplit:
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return split_by_groups(
        labels,
        groups,
        names,
        seed=seed,
        validation_share=validation,
        test_share=0.2 if validation < 0.5 else 0.5,
        where="sounds",
    )


def spoken() -> tuple[np.ndarray, np.ndarray]:
    """Ten digits by six speakers, five of each."""
    return np.tile(np.arange(10), 30), np.repeat(np.array(SPEAKERS), 50)


def test_speakers_are_apart_and_each_split_has_every_digit() -> None:
    labels, groups = spoken()
    parts = split(labels, groups).indices
    held = [set(groups[rows]) for rows in (parts.train, parts.validation, parts.test)]
    assert sorted(len(one) for one in held) == [1, 1, 4]
    assert len(held[0]) == 4
    assert len(set.union(*held)) == 6
    assert sorted(np.concatenate([parts.train, parts.validation, parts.test]).tolist()) == list(range(300))
    assert all(set(labels[rows]) == set(range(10)) for rows in (parts.train, parts.validation, parts.test))


def test_the_seed_repeats_a_split_and_rotates_who_is_tested() -> None:
    labels, groups = spoken()
    first, again = split(labels, groups, seed=3), split(labels, groups, seed=3)
    assert (first.indices.test == again.indices.test).all()
    assert (first.indices.train == again.indices.train).all()
    tested = Counter(groups[split(labels, groups, seed=seed).indices.test[0]] for seed in range(40))
    assert set(tested) == set(SPEAKERS)


def test_the_best_split_by_hand_is_found() -> None:
    # 10 samples of each class; a fifth of each is 2. Only c (2 and 2) gives the test part exactly that.
    labels = np.repeat([0, 1, 0, 1, 0, 1, 0, 1], [4, 0, 0, 4, 2, 2, 4, 4])
    groups = np.repeat(np.array(["a", "a", "b", "b", "c", "c", "d", "d"]), [4, 0, 0, 4, 2, 2, 4, 4])
    for seed in range(5):
        parts = split(labels, groups, seed, validation=0.0).indices
        assert set(groups[parts.test]) == {"c"}
        assert len(parts.validation) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 12), st.integers(1, 4), st.integers(0, 99))
def test_groups_are_never_torn_and_no_part_is_empty(num_groups: int, num_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.array(
        [f"g{number}" for number in rng.integers(0, num_groups, 200)] + [f"g{n}" for n in range(num_groups)]
    )
    labels = rng.integers(0, num_classes, len(groups))
    try:
        parts = split(labels, groups, seed).indices
    except DataError as exc:
        assert "in the groups that are trained on" in str(exc)  # noqa: PT017 - either outcome is right
        return
    rows = (parts.train, parts.validation, parts.test)
    assert all(len(part) for part in rows)
    assert sum(len(set(groups[part])) for part in rows) == len(set(groups))
    assert set(labels[parts.train]) == set(labels)


def test_what_each_split_holds_and_lacks_is_said() -> None:
    labels, groups = spoken()
    (note,) = split(labels, groups).notes
    assert note.startswith("6 groups of 'sounds' are kept apart, none is in two splits: training: ")
    # Only g0 and g1 have class 1: one of the other two parts lacks it.
    labels = np.array([0, 1, 0, 1, 0, 0, 0, 0])
    groups = np.repeat(np.array(["g0", "g1", "g2", "g3"]), 2)
    notes = split(labels, groups).notes
    assert any("split has no samples of '1'" in note for note in notes)


def test_what_cannot_be_split_is_refused() -> None:
    labels, groups = spoken()
    with pytest.raises(DataError, match=r"at least 3 groups.*it has 2: 'george', 'jackson'"):
        split(labels[:100], groups[:100])
    by_class = np.array([f"class {label}" for label in labels])
    with pytest.raises(DataError, match=r"is in group 'class .' alone"):
        split(labels, by_class)
    with pytest.raises(ConfigError, match="something to train on"):
        split(labels, groups, validation=0.5)


def test_given_parts_that_share_a_group_are_refused() -> None:
    check_groups_apart([("train.npz", np.array(["a", "b"])), ("test.npz", np.array(["c"]))])
    with pytest.raises(DataError, match=r"Group 'b' must be in one part, but it is in 'train\.npz' and in 'test\.npz'"):
        check_groups_apart([("train.npz", np.array(["a", "b"])), ("test.npz", np.array(["b"]))])
