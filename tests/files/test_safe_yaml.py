"""YAML from elsewhere becomes plain data within bounds."""

import time
import tracemalloc

import pytest

from offramp.errors import ConfigError
from offramp.files.safe_yaml import MAX_NODES, YamlFaultError, parse_yaml
from offramp.settings.by_name import parse_assignment
from offramp.settings.config_file import config_from_text

NINE = [", ".join([f"*a{i}"] * 9) for i in range(12)]
MERGES = "\n".join(["a0: &a0 {k: v}", *(f"a{i + 1}: &a{i + 1} {{<<: [{nine}]}}" for i, nine in enumerate(NINE))])
ALIASES = "\n".join(["a0: &a0 [x]", *(f"a{i + 1}: &a{i + 1} [{nine}]" for i, nine in enumerate(NINE))])


@pytest.mark.parametrize("text", [MERGES, ALIASES, "a: &a {<<: *a}", "a: &a [*a]"])
def test_aliases_and_merges_that_multiply_are_refused_before_they_are_written_out(text: str) -> None:
    started = time.perf_counter()
    tracemalloc.start()
    with pytest.raises(ConfigError, match=r"must be YAML text, but.*aliases are written out"):
        config_from_text(text, origin="The file")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert time.perf_counter() - started < 5
    with pytest.raises(ConfigError, match="aliases are written out"):
        parse_assignment("execution.evaluation_resources={" + ", ".join(text.splitlines()) + "}")


def test_as_many_values_as_are_allowed_are_read() -> None:
    entries = ["x"] * (MAX_NODES - 1)
    assert parse_yaml(f"[{','.join(entries)}]").data == entries
    with pytest.raises(YamlFaultError, match="remove the nested aliases"):
        parse_yaml(f"[{','.join([*entries, 'x'])}]")


def test_ordinary_merges_work() -> None:
    assert parse_yaml("a: &a {size: 1}\nc: {<<: *a, cost: 2}").data["c"] == {"size": 1, "cost": 2}


def test_objects_of_python_are_no_yaml() -> None:
    with pytest.raises(YamlFaultError, match="could not determine a constructor"):
        parse_yaml("!!python/object/apply:os.system ['true']")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "[[" + "{a: " * 60_000,
        "- " * 100_000,
        "? " * 100_000,
        "[" + "1," * 120_000,
        "[" + "'" * 200_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    """PyYAML alone takes more than a minute for 20,000 brackets."""
    started = time.perf_counter()
    with pytest.raises(YamlFaultError):
        parse_yaml(text)
    assert time.perf_counter() - started < 30


def test_lists_may_be_nested_a_hundred_deep() -> None:
    value = parse_yaml("[" * 100 + "]" * 100).data
    for _ in range(99):
        (value,) = value
    assert value == []
    with pytest.raises(YamlFaultError, match="nested at most 100 deep"):
        parse_yaml("[" * 101 + "]" * 101)


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "9" * 5000, "1" + ":59" * 2000, "0b" + "1" * 5000])
def test_numbers_of_thousands_of_digits_are_refused(number: str) -> None:
    """Python cannot write such a number in a message."""
    with pytest.raises(YamlFaultError, match="at most 1000 digits"):
        parse_yaml(f"a: {number}")
    with pytest.raises(ConfigError):
        config_from_text(f"seed: {number}", "config.yaml")
