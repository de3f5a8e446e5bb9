"""Field types of an accelerator file: what is read, and what is refused."""

from typing import Any

import pytest

from tests.hardware.test_block import faults_of, read


def test_numbers_are_read() -> None:
    assert read({"n": 3}).n == 3
    assert read({"n": 2.0}).n == 2
    assert isinstance(read({"n": 2.0}).n, int)
    assert read({"cost": "1e9"}).cost == 1e9
    assert read({"cost": 3}).cost == 3.0
    assert read({"cost": 0}).cost == 0
    assert read({"n": None}).n == 1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (2.5, "`n` must be a whole number, got 2.5"),
        (True, "`n` must be a whole number, got True"),
        ("7", "`n` must be a whole number, got '7'"),
        (2**70, f"`n` must be <= {2**62}, got {2**70}"),
        (0, "`n` must be >= 1, got 0"),
        ([1], "`n` must be a whole number, got [1]"),
    ],
)
def test_what_is_no_whole_number_is_a_fault(value: Any, says: str) -> None:
    assert faults_of({"n": value}) == [f"core 'a': {says}"]


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), 1e300, 10**400, "many", True, [1]])
def test_impossible_figures_are_faults(value: Any) -> None:
    (fault,) = faults_of({"cost": value})
    assert fault.startswith("core 'a': `cost` must be a")


def test_zero_is_a_fault_only_where_it_must_be_positive() -> None:
    assert faults_of({"clock": 0}) == ["core 'a': `clock` must be a finite number > 0, got 0"]


def test_text_is_one_line() -> None:
    assert read({"text": "a  b\n c"}).text == "a b c"


def test_long_values_are_shortened() -> None:
    (fault,) = faults_of({"n": "x" * 1000})
    assert len(fault) < 120
