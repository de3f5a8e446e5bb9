"""Devices for tests: accelerator files whose runner is a shell script with a known answer."""

from pathlib import Path
from typing import Any

import yaml

from offramp.hardware.accelerator import Accelerator
from offramp.hardware.loader import load_accelerator

SIZE_AS_TIME = 'echo "latency_ns: $(wc -c < "$1")"\n'
"""A nanosecond per byte of the file: the same time whenever it is measured."""


def device_file(folder: Path, script: str = SIZE_AS_TIME, arguments: str = "{model}", **measurement: Any) -> Path:
    """Write a script and an accelerator file whose runner is that script."""
    program = folder / "timer.sh"
    program.write_text(script)
    path = folder / "device.yaml"
    content = {
        "schema": 1,
        "name": "board",
        "sources": ["this test"],
        "runner": f"sh {program} {arguments}",
        "measurement": {"power_w": 2, **measurement},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def device(folder: Path, script: str = SIZE_AS_TIME, arguments: str = "{model}", **measurement: Any) -> Accelerator:
    """The device of such a file."""
    return load_accelerator(device_file(folder, script, arguments, **measurement))
