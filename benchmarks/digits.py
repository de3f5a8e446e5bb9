"""Claim: on the digits the default search finds a network of >= 0.97 test accuracy at <= 50 % of the static product.

Mean over seeds; the static network is the same backbone with its final classifier alone, priced by the same engine.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.record import save_result
from offramp.cost.expected import expected_cost
from offramp.progress import TerminalReporter
from offramp.run.api import search
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config


def measure(seed: int) -> dict[str, float | int]:
    """One default search; the figures of the network it recommends, on the test split."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        config = with_settings(Config(), {"seed": seed})
        result = search(config, run=Path(folder) / "run", reporter=TerminalReporter())
    chosen = result.chosen[0]
    assert chosen.test is not None
    assert chosen.expected_test is not None
    static = expected_cost(chosen.static.cost, (1.0,)).energy_delay_product_j_cycles
    product = chosen.expected_test.energy_delay_product_j_cycles
    return {
        "seed": seed,
        "seconds": time.monotonic() - began,
        "front_points": len(result.front),
        "test_accuracy": chosen.test.top1,
        "static_test_accuracy": chosen.static.accuracy_test or 0.0,
        "product_j_cycles": product,
        "static_product_j_cycles": static,
        "product_share": product / static,
        "expected_macs": chosen.expected_test.macs,
        "num_early_exits": len(chosen.policy.thresholds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    rows = [measure(seed) for seed in range(parser.parse_args().seeds)]
    table = Table(title="Default search on the digits, recommended network, test split")
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{value:.4g}" for value in row.values()))
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if name != "seed"}
    table.add_row("mean", *(f"{value:.4g}" for value in means.values()))
    Console(width=180).print(table)
    goal = {"test_accuracy": 0.97, "product_share": 0.50}
    met = means["test_accuracy"] >= goal["test_accuracy"] and means["product_share"] <= goal["product_share"]
    print(
        "goal met" if met else "GOAL MISSED",
        save_result("digits", {"rows": rows, "mean": means, "goal": goal, "met": met}),
    )


if __name__ == "__main__":
    main()
