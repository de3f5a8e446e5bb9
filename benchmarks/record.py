"""Keeping what a benchmark measured, with the command and the machine that measured it."""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def save_result(name: str, figures: Any) -> Path:
    """Write ``benchmarks/results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    script = Path(sys.argv[0])
    module = script.parent.name if script.stem == "__main__" else script.stem
    package = script.parent.parent.name if script.stem == "__main__" else "benchmarks"
    record = {
        "command": " ".join(["python", "-m", f"{package}.{module}", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in ("offramp", "torch", "numpy", "zigzag-dse")},
        "figures": figures,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path
