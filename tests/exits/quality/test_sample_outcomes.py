"""Outcomes per sample: packing, JSON both ways, and what is refused."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import InputError
from offramp.exits.quality.sample_outcomes import SampleOutcomes, sample_outcomes
from offramp.jsonio import dumps, loads


def text(*values: int) -> str:
    return base64.b64encode(bytes(values)).decode()


def test_nine_samples_are_packed_as_by_hand() -> None:
    """Right at 0, 1 and 8: bits 1100 0000 and 1000 0000."""
    found = sample_outcomes([1, 1, 0, 0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 2, 0, 0, 0, 1], 3)
    assert found == SampleOutcomes(9, 3, text(0xC0, 0x80), text(0, 0, 1, 1, 2, 0, 0, 0, 1))
    assert found.accuracy == pytest.approx(3 / 9)
    assert found.rates == pytest.approx((5 / 9, 3 / 9, 1 / 9))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=40))
def test_outcomes_survive_json(samples: list[tuple[bool, int]]) -> None:
    correct, exits = [right for right, _ in samples], [left for _, left in samples]
    found = loads(SampleOutcomes, dumps(sample_outcomes(correct, exits, 4)))
    assert found.is_correct.tolist() == correct
    assert found.exit_indices.tolist() == exits


def test_ten_thousand_samples_take_15_kilobytes() -> None:
    found = sample_outcomes(np.ones(10_000), np.zeros(10_000, dtype=int), 1)
    assert len(dumps(found)) < 15_200


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ((0, 1, "", ""), "num_samples"),
        ((1, 0, text(0), text(0)), "num_exits"),
        ((1, 257, text(0), text(0)), "num_exits"),
        ((9, 1, text(0), text(*[0] * 9)), "2 bytes"),
        ((2, 1, text(0), text(0)), "2 bytes"),
        ((1, 1, text(0x01), text(0)), "zeros behind the last sample"),
        ((2, 2, text(0), text(0, 2)), "below `num_exits`"),
        ((1, 1, "not base64!", text(0)), "base64"),
        ((1, 1, text(0), "ä"), "base64"),
    ],
)
def test_outcomes_that_contradict_themselves_are_refused(outcomes: tuple[int, int, str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleOutcomes(*outcomes)
    number, exits, correct, left = outcomes
    with pytest.raises(InputError, match=message):
        loads(
            SampleOutcomes,
            dumps({"num_samples": number, "num_exits": exits, "correct": correct, "exits": left}),
        )


@pytest.mark.parametrize(
    ("correct", "exits", "message"),
    [([1], [0, 0], "one value per sample"), ([1], [-1], "indices"), ([1], [300], "indices"), ([], [], "num_samples")],
)
def test_arrays_that_do_not_fit_are_refused(correct: list[int], exits: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_outcomes(correct, exits, 2)
