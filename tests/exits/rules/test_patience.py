"""Answers in a row, counted by hand."""

import numpy as np
import pytest

from offramp.exits.exit_rule import CachedOutputs, RuleNotation
from offramp.exits.rules.patience import Patience
from offramp.exits.score_thresholds import ThresholdGrid

# Answers of five exits for four samples.
ANSWERS = [
    [0, 0, 0, 1],
    [0, 1, 1, 0],
    [0, 1, 0, 1],
    [0, 1, 0, 0],
    [1, 1, 0, 0],
]
LOGITS = [np.eye(2)[row] for row in ANSWERS]


@pytest.mark.parametrize(
    ("num_agreeing", "expected"),
    [
        (1, [0, 0, 0, 0]),
        # The second sample answers 1 twice at exit 2, the third 0 twice at exit 3; the fourth never does.
        (2, [1, 2, 3, 4]),
        (3, [2, 3, 4, 4]),
        (4, [3, 4, 4, 4]),
        # The final exit's answer decides nothing: whoever comes there leaves there.
        (5, [4, 4, 4, 4]),
    ],
)
def test_by_hand(num_agreeing: int, expected: list[int]) -> None:
    assert Patience(num_agreeing).decide(LOGITS).tolist() == expected


def test_patience_starts_anew_after_another_answer() -> None:
    logits = [np.eye(2)[[answer]] for answer in (0, 0, 1, 1, 1, 0)]
    assert Patience(3).decide(logits).tolist() == [4]


def test_a_single_exit() -> None:
    assert Patience(1).decide(LOGITS[:1]).tolist() == [0] * 4


def test_every_number_of_agreeing_exits_is_tried() -> None:
    given = CachedOutputs(tuple(LOGITS[:3]), np.zeros(4, dtype=int), (1.0, 2.0, 3.0))
    assert list(Patience.choices(given, ThresholdGrid())) == [Patience(1), Patience(2), Patience(3)]


@pytest.mark.parametrize(
    ("thresholds", "faults"),
    [
        ((), []),
        ((1.0, 1.0), []),
        ((3.0, 3.0), []),
        ((0.0, 0.0), ["be whole numbers from 1 to 3, got [0.0]"]),
        ((4.0, 4.0), ["be whole numbers from 1 to 3, got [4.0]"]),
        ((1.5, 1.5), ["be whole numbers from 1 to 3, got [1.5]"]),
        ((1.0, 2.0), ["all be the same, got [1.0, 2.0]"]),
        ((1.0, 2.5), ["be whole numbers from 1 to 3, got [1.0, 2.5]", "all be the same, got [1.0, 2.5]"]),
    ],
)
def test_faults_of_a_notation(thresholds: tuple[float, ...], faults: list[str]) -> None:
    notation = RuleNotation("patience", "margin", thresholds)
    assert list(Patience.faults(notation, 3)) == [f"thresholds of patience must {fault}" for fault in faults]


def test_one_number_is_read_from_text_and_from_the_thresholds_of_a_bundle() -> None:
    like = RuleNotation("patience", "margin", (2.0,))
    assert Patience.from_notation(like) == Patience(2)
    assert Patience.from_numbers((3.0,), like) == Patience(3)
    with pytest.raises(ValueError, match=r"must be a whole number, got 1\.5"):
        Patience.from_numbers((1.5,), like)


def test_no_patience_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="`num_agreeing`"):
        Patience(0)
