"""Values to JSON and back; damaged text is one readable error."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from offramp.errors import ConfigError, InputError
from offramp.jsonio import check_finite, check_integers, describe_faults, dumps, from_data, loads, to_data
from offramp.workload.layer import LayerShape, Op


@dataclass(frozen=True)
class Inner:
    names: tuple[str, ...]
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"`share` must be from 0 to 1, got {self.share}.")


@dataclass(frozen=True)
class Outer:
    count: int
    inner: Inner
    maybe: Inner | None = None
    table: tuple[tuple[str, int], ...] = ()


def test_plain_data() -> None:
    value = Outer(3, Inner(("a", "b")), table=(("x", 1),))
    expected = {"count": 3, "inner": {"names": ["a", "b"], "share": 0.5}, "maybe": None, "table": [["x", 1]]}
    assert to_data(value) == expected
    assert from_data(Outer, expected) == value
    assert from_data(Outer, {"count": 1, "inner": {"names": []}}) == Outer(1, Inner(()))


@given(
    st.builds(
        Outer,
        st.integers(-(2**60), 2**60),
        st.builds(Inner, st.lists(st.text()).map(tuple), st.floats(0, 1)),
        st.none() | st.builds(Inner, st.just(("ä", "\n"))),
        st.lists(st.tuples(st.text(), st.integers(0, 9))).map(tuple),
    )
)
def test_text_both_ways(value: Outer) -> None:
    text = dumps(value)
    assert loads(Outer, text) == value
    assert loads(Outer, text.encode()) == value


def test_text_is_compact_and_in_a_fixed_order() -> None:
    text = dumps(Inner(("a",)))
    assert text == '{"names":["a"],"share":0.5}'


def test_enumerations_are_written_as_their_values() -> None:
    shape = LayerShape(Op.CONV, k=8, c=3, fy=3, fx=3, padding=(1, 1, 1, 1))
    assert to_data(shape)["op"] == "conv"
    assert loads(LayerShape, dumps(shape)) == shape


def test_all_faults_are_in_one_error() -> None:
    data = {"count": "many", "inner": {"names": [1], "share": 7}}
    with pytest.raises(ConfigError) as caught:
        from_data(Outer, data, what="The settings", error=ConfigError)
    message = str(caught.value)
    assert message.startswith("The settings has 2 fault(s): ")
    assert "count: " in message
    assert "(given: 'many')" in message
    assert "inner.names.0: " in message
    assert "share" not in message  # pydantic builds a dataclass only from sound parts


def test_a_check_of_the_class_itself_is_reported_in_its_own_words() -> None:
    with pytest.raises(InputError, match=r"fault\(s\): inner: `share` must be from 0 to 1, got 7\.0"):
        from_data(Outer, {"count": 1, "inner": {"names": [], "share": 7}})


def test_long_values_are_quoted_in_part() -> None:
    with pytest.raises(InputError) as caught:
        from_data(Outer, {"é" * 5000: 1, "inner": "x" * 5000})
    assert len(str(caught.value)) < 1000
    assert "(given: 'xxx" in str(caught.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InputError, match="inner: Field required"):
        from_data(Outer, {"count": 1})


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "nonsense", b"\xff\xfe{}", "[" * 100_000])
def test_text_that_is_not_json(text: str | bytes) -> None:
    with pytest.raises(InputError, match=r"The record must be JSON text, but it cannot be read"):
        loads(Outer, text, what="The record")


@pytest.mark.parametrize("text", ["3", "null", '"text"', "[]", "NaN"])
def test_json_of_another_shape(text: str) -> None:
    with pytest.raises(InputError, match="the value itself"):
        loads(Outer, text)


class Strict(BaseModel, extra="forbid"):
    epochs: int = 1


def test_only_an_unknown_name_is_answered_with_a_near_one() -> None:
    with pytest.raises(ValidationError) as caught:
        Strict.model_validate({"epochs": "many", "epoch": 3, "x": 1})
    clauses = describe_faults(caught.value, known=lambda place: ["epochs"]).split("; ")
    assert clauses[0].startswith("epochs: Input should be a valid integer")
    assert clauses[1] == "epoch: there is no such name. Did you mean 'epochs'? (given: 3)"
    assert clauses[2] == "x: there is no such name. (given: 1)"
    # Where no names are known, pydantic's own words stay.
    assert "Extra inputs are not permitted" in describe_faults(caught.value)
    assert describe_faults(caught.value, limit=1).count(";") == 0


def test_numbers_that_are_not_finite_are_found_with_their_place() -> None:
    check_finite({"a": [1, 2.5, {"b": None}]})
    for number in (float("nan"), float("inf"), json.loads("1e999")):
        with pytest.raises(InputError, match=rf"record must have finite numbers, got {number} at a\.2\.b\."):
            check_finite({"a": [1, 2.5, {"b": number}]}, what="record")


def test_whole_numbers_have_64_bits() -> None:
    check_integers({"a": [2**63 - 1, -(2**63)]})
    for number in (2**63, -(2**63) - 1, 10**400):
        with pytest.raises(InputError, match=r"record must have numbers below 2\*\*63, got more at a\.0\."):
            check_integers({"a": [number]}, what="record")
