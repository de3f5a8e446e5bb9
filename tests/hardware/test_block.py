"""Blocks of an accelerator file: what is read, and every fault with its place."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from offramp.hardware.block import Block, Fault, near_name, raise_faults
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


def test_the_nearest_name_alone_is_hinted_at() -> None:
    assert near_name("srams", ["sram", "sram0", "dram"]) == " (did you mean 'sram'?)"
    assert near_name("sran", ["sram"], ", is it `{}`?") == ", is it `sram`?"
    assert near_name("flash", ["sram", "dram"]) == ""
    assert near_name(7, []) == ""


def test_no_fault_raises_nothing() -> None:
    raise_faults([])
    with pytest.raises(ValidationError):
        raise_faults([Fault("wrong")])
