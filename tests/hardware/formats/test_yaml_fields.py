"""Reading YAML safely, and noting every fault of a mapping."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from offramp.errors import AcceleratorError
from offramp.hardware.formats.yaml_fields import MAX_FILE_BYTES, Faults, Section, read_yaml
from tests.hardware.samples import write


def section(data: Any) -> Section:
    return Section(data, "core 'a'", Faults())


def test_a_mapping_is_read(tmp_path: Path) -> None:
    assert read_yaml(write(tmp_path, "a: 1\nb: [x, y]\n")).data == {"a": 1, "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("# only a comment\n", "it is empty"),
        ("- 1\n- 2\n", "must hold a mapping"),
        ("just words", "must hold a mapping"),
        ("1: 2\n", "must hold a mapping"),
        ("a: [1, 2", "must be YAML"),
        ("a: b: c", "must be YAML"),
        ("a: *nothing", "must be YAML"),
        ("a: !!python/object/apply:os.system ['true']", "must be YAML"),
        ("a: !!int ''", "must be YAML"),
        ("a: !!bool maybe", "must be YAML"),
        ("a: !!timestamp never", "must be YAML"),
        ("a: " + "9" * 5000, "must be YAML"),
        ("a: 2001-99-99", "must be YAML"),
        ("? [a, b]\n: 1\n", "must be YAML"),
        ("--- {a: 1}\n--- {b: 2}\n", "must be YAML"),
        ("a: " + "[" * 20000, "must be YAML"),
        ("a: &x [*x]", "YAML values once its aliases are written out"),
    ],
)
def test_what_is_not_a_mapping_in_yaml_is_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(AcceleratorError, match=says) as caught:
        read_yaml(write(tmp_path, text))
    assert "chip.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_yaml_bomb_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    start = time.perf_counter()
    with pytest.raises(AcceleratorError, match="aliases"):
        read_yaml(write(tmp_path, "\n".join(lines)))
    assert time.perf_counter() - start < 2


def test_a_bomb_of_merge_keys_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 {k: v}"] + [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 40)]
    with pytest.raises(AcceleratorError, match="aliases"):
        read_yaml(write(tmp_path, "\n".join(lines)))


def test_ordinary_anchors_work(tmp_path: Path) -> None:
    data = read_yaml(write(tmp_path, "a: &a {size: 1}\nb: *a\nc: {<<: *a, cost: 2}\n")).data
    assert data["b"] == {"size": 1}
    assert data["c"] == {"size": 1, "cost": 2}


def test_large_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AcceleratorError, match="at most 256 KiB"):
        read_yaml(write(tmp_path, "a: 1\n" + "#" * MAX_FILE_BYTES))
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\x7fELF\xff\xfe\x00")
    with pytest.raises(AcceleratorError, match="binary file"):
        read_yaml(path)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(AcceleratorError, match="not a regular file"):
        read_yaml(tmp_path / "pipe.yaml")


def test_repeated_keys_are_noted_with_their_line(tmp_path: Path) -> None:
    file = read_yaml(write(tmp_path, "a: 1\nb:\n  c: 1\n  c: 2\n"))
    assert file.repeated_keys == ("line 4: key 'c' is given twice",)
    assert file.data["b"] == {"c": 2}


def test_numbers_are_checked() -> None:
    given = section({"n": 3, "f": 2.0, "half": 2.5, "bool": True, "text": "7", "big": 2**70, "low": 0, "exp": "1e9"})
    assert given.integer("n", minimum=1) == 3
    assert given.integer("f", minimum=1) == 2
    assert given.number("exp") == 1e9
    assert given.number("n") == 3.0
    assert given.faults.items == []
    for key in ("half", "bool", "text", "big", "low", "missing"):
        assert given.integer(key, minimum=1) == 1
    assert given.faults.items == [
        "core 'a': `half` must be a whole number, got 2.5",
        "core 'a': `bool` must be a whole number, got True",
        "core 'a': `text` must be a whole number, got '7'",
        f"core 'a': `big` must be <= {2**62}, got {2**70}",
        "core 'a': `low` must be >= 1, got 0",
        "core 'a': `missing` is missing",
    ]


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), 1e300, "many", True, [1]])
def test_impossible_figures_are_faults(value: Any) -> None:
    given = section({"cost": value})
    given.number("cost")
    assert len(given.faults.items) == 1
    assert "`cost` must be a" in given.faults.items[0]


def test_zero_is_a_fault_only_where_it_must_be_positive() -> None:
    given = section({"cost": 0})
    assert given.number("cost") == 0
    assert given.faults.items == []
    given.number("cost", positive=True)
    assert given.faults.items == ["core 'a': `cost` must be a finite number > 0, got 0"]


def test_words_flags_and_choices_are_checked() -> None:
    given = section({"w": ["a", "a", 1], "s": "abc", "flag": "yes please", "kind": "tpu", "empty": " ", "ok": "a  b"})
    assert given.words("w") == ["a"]
    assert given.words("s") == []
    assert given.flag("flag") is False
    assert given.choice("kind", ("compute", "simd")) == "compute"
    assert given.text("empty") == ""
    assert given.text("ok") == "a b"
    assert len(given.faults.items) == 6
    assert "core 'a': `kind` must be one of compute, simd, got 'tpu'" in given.faults.items


def test_unknown_keys_are_named_with_the_near_one() -> None:
    given = section({"size": 1, "sise": 2, "noise": 3})
    given.integer("size", minimum=1)
    given.done()
    assert given.faults.items == [
        "core 'a': unknown key `sise`, did you mean `size`?",
        "core 'a': unknown key `noise`",
    ]


def test_what_is_no_mapping_is_one_fault_and_its_keys_are_not_missed() -> None:
    faults = Faults()
    given = Section([1, 2], "link 3", faults)
    given.integer("bandwidth_bits", minimum=1)
    given.section("inner").text("name")
    assert faults.items == ["link 3: must be a mapping, got [1, 2]"]


def test_a_missing_section_is_one_fault() -> None:
    given = section({})
    given.section("memories").integer("size", minimum=1)
    assert given.faults.items == ["core 'a': `memories` is missing"]


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
