"""Reading YAML safely."""

import os
import time
from pathlib import Path

import pytest
import yaml

from offramp.errors import AcceleratorError
from offramp.files.safe_yaml import MAX_YAML_BYTES
from offramp.hardware.formats.yaml_file import read_yaml
from tests.hardware.samples import write


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
        read_yaml(write(tmp_path, "a: 1\n" + "#" * MAX_YAML_BYTES))
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\x7fELF\xff\xfe\x00")
    with pytest.raises(AcceleratorError, match="binary file"):
        read_yaml(path)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(AcceleratorError, match="is a pipe"):
        read_yaml(tmp_path / "pipe.yaml")


def test_repeated_keys_are_found_with_their_line(tmp_path: Path) -> None:
    file = read_yaml(write(tmp_path, "a: 1\nb:\n  c: 1\n  c: 2\n"))
    assert file.doubtful == ("'c' stands a second time in line 4",)
    assert file.data["b"] == {"c": 2}


def test_numbers_in_other_bases_are_doubtful(tmp_path: Path) -> None:
    (clause,) = read_yaml(write(tmp_path, "a: 1\nb: 010\n")).doubtful
    assert "'010' in line 2 is a number in base 8" in clause


def test_an_error_without_words_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> None:
        raise RecursionError

    path = tmp_path / "chip.yaml"
    path.write_text("name: chip")
    monkeypatch.setattr(yaml.SafeLoader, "construct_document", silent)
    with pytest.raises(AcceleratorError, match="it cannot be read: RecursionError"):
        read_yaml(path)
