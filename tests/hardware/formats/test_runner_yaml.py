"""Files that name a runner in place of cores."""

from pathlib import Path
from typing import Any

import pytest

from offramp.errors import AcceleratorError
from offramp.hardware.loader import load_accelerator
from tests.hardware.samples import write

HOST: dict[str, Any] = {
    "schema": 1,
    "name": "laptop",
    "sources": ["measured here"],
    "runner": "host",
    "measurement": {"power_w": 15, "threads": 2, "arithmetic": "int8"},
}


def test_a_device_has_a_runner_and_a_clock_of_nanoseconds(tmp_path: Path) -> None:
    laptop = load_accelerator(write(tmp_path, HOST))
    assert laptop.runner is not None
    assert laptop.runner.is_host
    assert laptop.clock_hz == 1e9
    assert (laptop.runner.measurement.threads, laptop.runner.measurement.arithmetic) == (2, "int8")
    assert [core.name for core in laptop.cores] == ["device"]
    board = load_accelerator(write(tmp_path, {**HOST, "runner": "ssh board ./run {model}", "clock_hz": 80e6}))
    assert board.runner is not None
    assert not board.runner.is_host
    assert board.clock_hz == 80e6


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"measurement": None}, "`power_w` must be given"),
        ({"measurement": {"power_w": 0}}, "power_w"),
        ({"measurement": {"power_w": 1, "threads": 0}}, "threads"),
        ({"measurement": {"power_w": 1, "arithmetic": "int4"}}, "arithmetic"),
        ({"measurement": {"power_w": 1, "repeats": 3}}, "unknown key `repeats`, did you mean `repetitions`"),
        ({"runner": "sh 'open"}, "closed quotes"),
        ({"runner": 3}, "must be text"),
        ({"cores": {}}, "`cores` and `runner` exclude each other"),
        ({"links": []}, "`links` and `runner` exclude each other"),
        ({"schema": 2}, "must be 1, got 2"),
    ],
)
def test_faults_are_told(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AcceleratorError, match=sentence):
        load_accelerator(write(tmp_path, {**HOST, **changes}))
