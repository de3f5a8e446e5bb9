"""The samples that a report shows."""

import numpy as np

from offramp.run.summarize import shown_samples


def test_samples_of_each_exit_are_shown_of_every_class_in_turn() -> None:
    """Exit 0 takes samples 0 to 7 (classes 0 0 1 1 2 2 0 1), exit 1 takes 8 and 9, exit 2 takes 10; six are shown.

    In turn: 0, 8, 10, then 2, 9, then 4: exit 0 shows its first of classes 0, 1 and 2.
    """
    labels = np.array([0, 0, 1, 1, 2, 2, 0, 1, 5, 6, 7])
    exits = np.array([0] * 8 + [1, 1, 2])
    assert shown_samples(labels, exits, 6).tolist() == [0, 2, 4, 8, 9, 10]
    assert shown_samples(labels, exits, 3).tolist() == [0, 8, 10]


def test_all_samples_are_shown_where_there_are_few_and_exits_need_not_be_known() -> None:
    labels = np.array([1, 1, 0])
    assert shown_samples(labels, np.array([2, 2, 0]), 12).tolist() == [2, 0, 1]
    # The first of class 0 and of class 1.
    assert shown_samples(labels, None, 2).tolist() == [0, 2]
