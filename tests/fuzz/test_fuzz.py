"""The fuzzer tells what went wrong, and a short run of it over every reader finds nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from offramp.errors import DataError
from tests.fuzz import mutations
from tests.fuzz.fuzzer import fuzz
from tests.fuzz.isolation import Limits, ReaderProcess, read_isolated
from tests.fuzz.targets import Target

ROOT = Path(__file__).parents[2]


def refuse(path: Path) -> None:
    raise DataError(f"{str(path)!r} must hold something else than it does.")


def fail(path: Path) -> None:
    raise KeyError("sizes")


def hang(path: Path) -> None:
    time.sleep(30)


def hoard(path: Path) -> None:
    assert np.ones(2**23).sum()  # 64 MiB


def hoard_without_end(path: Path) -> None:
    assert np.ones(2**40).sum()


def die(path: Path) -> None:
    os._exit(3)


def mumble(path: Path) -> None:
    raise DataError("no")


@pytest.mark.parametrize(
    ("read", "kind", "words"),
    [
        (lambda path: None, "read", ""),
        (refuse, "refused", "must hold something else"),
        (fail, "traceback", "KeyError: 'sizes'"),
        (hang, "hang", "s of computing"),
        (hoard, "memory", ""),
        (hoard_without_end, "memory", "MemoryError"),
        (die, "died", "status 768"),
        (mumble, "bad message", "no"),
    ],
)
def test_what_a_reading_ends_with(read: object, kind: str, words: str, tmp_path: Path) -> None:
    limits = Limits(seconds=0.2 if kind == "hang" else 20.0, memory_bytes=2**25)
    outcome = read_isolated(read, tmp_path, limits)  # type: ignore[arg-type]
    assert outcome.kind == kind
    assert words in outcome.message
    assert outcome.good == (kind in ("read", "refused"))


def test_one_process_reads_many_folders_and_a_new_one_follows_a_fault(tmp_path: Path) -> None:
    """The memory of a reading is that of the reading, whatever an earlier one took."""
    processes = tmp_path / "processes"

    def read(folder: Path) -> None:
        with processes.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        {"hoard": hoard, "fail": fail}.get(folder.name, lambda path: None)(folder)

    reader = ReaderProcess(read, Limits(memory_bytes=2**28))
    outcomes = [reader.outcome(tmp_path / name) for name in ("hoard", "sound", "fail", "sound")]
    reader.close()
    assert [outcome.kind for outcome in outcomes] == ["read", "read", "traceback", "read"]
    assert outcomes[0].memory_bytes >= 2**26 > 2**24 > outcomes[1].memory_bytes
    first, second, third, fourth = processes.read_text().split()
    assert first == second == third != fourth


def test_a_reader_that_damaged_files_leave_unable_to_read_sound_ones_is_told(tmp_path: Path) -> None:
    seen = []

    def read(folder: Path) -> None:
        seen.append((folder / "size.txt").read_text(errors="replace"))
        if any(text != "12" for text in seen):
            raise DataError(f"Not read, after {len(seen)} readings.")

    target = Target("sizes", lambda folder: (folder / "size.txt").write_text("12"), ("size.txt",), read, True)
    with pytest.raises(AssertionError, match="must be readable: Not read, after"):
        fuzz(target, 20, 5, tmp_path / "a", Limits())


def read_number(folder: Path) -> None:
    """A reader with a fault: it takes any text of digits for a size."""
    text = (folder / "size.txt").read_text(errors="replace")
    if not text.strip().isdigit():
        raise DataError(f"The size must be a number, got {text[:50]!r}.")
    if int(text) == 0:
        raise ZeroDivisionError


def test_faults_are_found_and_kept(tmp_path: Path) -> None:
    target = Target("sizes", lambda folder: (folder / "size.txt").write_text("12"), ("size.txt",), read_number, True)
    first = fuzz(target, 60, 5, tmp_path / "a", Limits())
    (finding,) = [finding for finding in first.findings if "ZeroDivisionError" in finding.outcome.message]
    assert int(finding.content) == 0
    assert finding.file_name.startswith("sizes--size.txt--")
    assert sum(first.kinds.values()) == 60
    # The same seed gives the same files.
    assert fuzz(target, 60, 5, tmp_path / "b", Limits()).kinds == first.kinds


def test_every_mutation_changes_something_and_takes_anything() -> None:
    rng = np.random.default_rng(0)
    text = b'{"a": 1, "b": [2, "three"], "c": {"d": null}}'
    for mutation in (*mutations.BYTES, *mutations.TEXT):
        assert any(mutation(text, rng) != text for _ in range(20)), mutation
        for content in (b"", b"\x00", b"\xff\xfe", b"[[["):
            assert isinstance(mutation(content, rng), bytes)


def test_a_short_run_over_every_reader(finished_run: Path, tmp_path: Path) -> None:
    """In a process of its own, as forking wants one without threads. Known findings are tried again first."""
    command = [sys.executable, "-m", "tests.fuzz", "--count", "30", "--seed", "7", "--run", str(finished_run)]
    done = subprocess.run([*command, "--keep", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "bundle files" in done.stdout
