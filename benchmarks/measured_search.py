"""A search on the measured latency of this machine: are the predicted latencies of its networks those of their bundles?

Small searches on digits with engine ``measured``, in floating point and in int8. The latency to each exit that the
report predicts is compared with that of the stage files in the bundle of each chosen network, timed in the same way:
CPU time of one thread, in units of a reference that runs beside each file, so that other load disturbs little. Goal:
within 10 %.

    python -m benchmarks.measured_search [--evaluations 12] [--epochs 6]
"""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

import offramp
from benchmarks.record import save_result
from offramp.cost.engines.measured.engine import measured_engine
from offramp.cost.engines.measured.network_files import TimedFile
from offramp.hardware.loader import load_accelerator
from offramp.jsonio import to_data

GOAL = 0.10


@dataclass(frozen=True)
class ExitLatency:
    """The latency to one exit of a chosen network."""

    arithmetic: str
    network: str
    exit: int
    predicted_us: float
    measured_us: float

    @property
    def error(self) -> float:
        return self.predicted_us / self.measured_us - 1.0


def device_file(folder: Path, arithmetic: str) -> Path:
    """The accelerator file of this machine."""
    path = folder / f"this-host-{arithmetic}.yaml"
    content = {
        "schema": 1,
        "name": f"this-host-{arithmetic}",
        "sources": ["measured on this machine; the power is an assumption"],
        "runner": "host",
        "measurement": {"arithmetic": arithmetic, "power_w": 5, "power_source": "assumed"},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def search_and_measure(folder: Path, arithmetic: str, evaluations: int, epochs: int) -> list[ExitLatency]:
    """Search, then time the stage files of each bundle."""
    path = device_file(folder, arithmetic)
    run = folder / f"run-{arithmetic}"
    result = offramp.search(
        data__source="digits",
        cost__accelerator=str(path),
        budget__evaluations=evaluations,
        train__epochs=epochs,
        fine_tune__epochs=2,
        fine_tune__quantize=arithmetic == "int8",
        run=run,
    )
    device = load_accelerator(path)
    engine = measured_engine(device)
    rows = []
    for chosen in result.summary.chosen:
        bundle = run / chosen.bundle
        measured = 0.0
        for index, stage in enumerate(chosen.cost.stages):
            content = (bundle / f"stage_{index}.onnx").read_bytes()
            measured += engine.measure(TimedFile(content, f"stage {index}")).seconds
            predicted = stage.latency_to_exit_cycles / engine.clock_hz
            rows.append(ExitLatency(arithmetic, chosen.rule, index, predicted * 1e6, measured * 1e6))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    rows: list[ExitLatency] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        for arithmetic in ("float32", "int8"):
            rows += search_and_measure(Path(folder), arithmetic, options.evaluations, options.epochs)
    table = Table("network", "exit", "predicted, us", "measured, us", "error")
    for row in rows:
        figures = (f"{row.predicted_us:.1f}", f"{row.measured_us:.1f}", f"{row.error:+.1%}")
        table.add_row(f"{row.arithmetic} {row.network}", str(row.exit), *figures)
    Console().print(table)
    within = sum(abs(row.error) <= GOAL for row in rows)
    print(f"{within} of {len(rows)} within {GOAL:.0%}; load average {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    save_result(
        "measured_search",
        {
            "rows": [{**to_data(row), "error": row.error} for row in rows],
            "goal": GOAL,
            "load_average": [load, os.getloadavg()[0]],
        },
    )


if __name__ == "__main__":
    main()
