"""Claim: `offramp search --data CIFAR-10 --budget 40m` on two cores gives test accuracy >= 0.65 at <= 2.43 M MACs.

Expected MACs charge every branch that a sample ran through. Runs as long as the budget says.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.record import save_result
from offramp.records.run_summary import load_summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data/cifar10")
    parser.add_argument("--budget", default="40m")
    parser.add_argument("--run", default="runs/benchmark-cifar10")
    parser.add_argument("--seed", default="0")
    arguments = parser.parse_args()
    command = [
        *(sys.executable, "-m", "offramp", "search", "--data", arguments.data, "--budget", arguments.budget),
        *("--run", arguments.run, "--seed", arguments.seed, "--overwrite"),
    ]
    began = time.monotonic()
    subprocess.run(command, check=True)
    seconds = time.monotonic() - began
    summary = load_summary(Path(arguments.run) / "summary.json")
    rows = []
    for network in summary.chosen:
        assert network.test is not None
        assert network.expected_test is not None
        rows.append(
            {
                "rule": network.rule,
                "test_accuracy": network.test.top1,
                "validation_accuracy": network.validation.top1,
                "expected_macs": network.expected_test.macs,
                "exit_rates": network.test.rates,
                "exit_accuracies": network.test.accuracies,
                "full_accuracies": network.test.full_accuracies,
                "macs_to_exit": [stage.macs_to_exit for stage in network.cost.stages],
                "product_j_cycles": network.expected_test.energy_delay_product_j_cycles,
                "static_product_j_cycles": network.static.expected.energy_delay_product_j_cycles,
            }
        )
        print(f"{network.rule}: test {network.test.top1:.4f} at {network.expected_test.macs / 1e6:.3f} M MACs")
    figures = {"seconds": seconds, "evaluations": len(summary.evaluations), "networks": rows}
    print(save_result("cifar10", figures))


if __name__ == "__main__":
    main()
