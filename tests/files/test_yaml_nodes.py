import pytest
import yaml

from offramp.files.yaml_nodes import ambiguous_numbers, repeated_names


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 8), ("-012", -10), ("00_17", 15), ("1:30", 90), ("-1:0:0", -3600), ("1:30.5", 90.5), ("+2:05", 125)],
)
def test_numbers_that_yaml_reads_in_another_base_are_found(text: str, value: float) -> None:
    assert yaml.safe_load(text) == value  # what would be read
    (clause,) = ambiguous_numbers(yaml.compose(f"a: 1\nb: [{text}]"))
    assert repr(text) in clause
    assert "line 2" in clause
    assert ("base 60" if ":" in text else "base 8") in clause


@pytest.mark.parametrize(
    "text",
    ["0", "00", "007", "10", "1_000", "0x10", "0b11", "0.10", "-0.5", "1e3", "08", "'010'", '"1:30"', "a:b", "0o17"],
)
def test_other_values_are_plain(text: str) -> None:
    assert ambiguous_numbers(yaml.compose(f"[{text}]")) == ()


def test_repeated_names_are_found_at_every_depth_and_merges_are_none() -> None:
    text = "x: &x {a: 1}\ny: &y {b: 1}\nz:\n  <<: *x\n  <<: *y\n  a: 2\n  a: 3\nx: 4\n"
    assert set(repeated_names(yaml.compose(text))) == {
        "'a' stands a second time in line 7",
        "'x' stands a second time in line 8",
    }
    assert repeated_names(None) == ()


def test_aliases_in_a_circle_end() -> None:
    assert repeated_names(yaml.compose("a: &a [*a, {b: 010}]")) == ()
    assert len(ambiguous_numbers(yaml.compose("a: &a [*a, {b: 010}]"))) == 1
