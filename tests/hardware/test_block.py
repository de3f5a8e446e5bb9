"""Field types of an accelerator file, and faults with their places."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from offramp.errors import AcceleratorError
from offramp.hardware.block import Block
from offramp.hardware.field_types import Count, Figure, Flag, Items, Names, PositiveFigure, Text
from offramp.hardware.formats.faults import Faults, read_block


@dataclass(frozen=True)
class Inner(Block):
    name: Text
    size: Count = 1


@dataclass(frozen=True)
class Outer(Block):
    n: Count = 1
    cost: Figure = 0.0
    clock: PositiveFigure = 1.0
    names: Names = ()
    flag: Flag = False
    kind: Literal["compute", "simd"] = "compute"
    text: Text = ""
    sizes: Items[Count] = ()
    inner: Inner | None = None
    ports: Items[Inner] = ()
    memories: dict[str, Inner] = field(default_factory=dict)


def faults_of(data: Any, place: str = "core 'a'") -> list[str]:
    faults = Faults()
    block = read_block(Outer, data, place, faults)
    assert (block is None) == bool(faults.items)
    return faults.items


def read(data: Any) -> Outer:
    block = read_block(Outer, data, "", Faults())
    assert block is not None
    return block


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


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"names": ["a", "a"]}, "`names` names 'a' twice"),
        ({"names": ["a", 1]}, "`names` must hold names, got 1"),
        ({"names": "abc"}, "`names` must be a list, got 'abc'"),
        ({"names": {"a"}}, "`names` must be a list, got {'a'}"),
        ({"flag": "yes please"}, "`flag` must be true or false, got 'yes please'"),
        ({"flag": 1}, "`flag` must be true or false, got 1"),
        ({"kind": "tpu"}, "`kind` must be one of compute, simd, got 'tpu'"),
        ({"kind": "sind"}, "`kind` must be one of compute, simd, got 'sind', did you mean 'simd'?"),
        ({"kind": [1]}, "`kind` must be one of compute, simd, got [1]"),
        ({"text": " "}, "`text` must be text, got ' '"),
        ({"text": 5}, "`text` must be text, got 5"),
        ({"sizes": [1, 0]}, "`sizes` must be >= 1, got 0"),
        ({"sizes": {"a": 1}}, "`sizes` must be a list, got {'a': 1}"),
        ({"sise": 2, "n": 1}, "unknown key `sise`, did you mean `sizes`?"),
        ({"qqq": 3}, "unknown key `qqq`"),
        ({"qqq": None}, "unknown key `qqq`"),
        ({7: 1}, "unknown key `7`"),
    ],
)
def test_faults_of_one_value(data: Any, says: str) -> None:
    assert faults_of(data) == [f"core 'a': {says}"]


def test_text_is_one_line() -> None:
    assert read({"text": "a  b\n c"}).text == "a b c"


def test_places() -> None:
    data = {
        "inner": {"size": 0},
        "ports": [{"name": "a"}, {"name": "b", "siz": 1}, 3],
        "memories": {"sram": {}, "dram": [1]},
    }
    assert faults_of(data, "") == [
        "inner: `name` is missing",
        "inner: `size` must be >= 1, got 0",
        "port 2: unknown key `siz`, did you mean `size`?",
        "port 3: must be a mapping, got 3",
        "memory 'sram': `name` is missing",
        "memory 'dram': must be a mapping, got [1]",
    ]
    assert faults_of({"memories": 3}) == ["core 'a'.memories: must be a mapping, got 3"]


def test_what_is_no_mapping_is_one_fault_and_its_keys_are_not_missed() -> None:
    faults = Faults()
    assert read_block(Inner, [1, 2], "link 3", faults) is None
    assert faults.items == ["link 3: must be a mapping, got [1, 2]"]


def test_long_values_are_shortened() -> None:
    (fault,) = faults_of({"n": "x" * 1000})
    assert len(fault) < 120


def test_all_faults_come_in_one_sentence() -> None:
    faults = Faults()
    faults.raise_if_any("x.yaml")
    faults.add("core 'a'", "is odd")
    faults.add("core 'a'", "is odd")
    with pytest.raises(AcceleratorError, match=r"Accelerator 'x.yaml' has 1 fault: core 'a': is odd\.$"):
        faults.raise_if_any("x.yaml")
    faults.add("", "and more")
    with pytest.raises(AcceleratorError, match=r"has 2 faults: core 'a': is odd; and more\.$"):
        faults.raise_if_any("x.yaml")
