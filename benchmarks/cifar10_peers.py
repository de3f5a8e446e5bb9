"""Claims on CIFAR-10: accuracy at 2.43 M expected MACs beside the peers', and the product against the static network.

    python -m benchmarks.cifar10_peers macs                  # ours, EDANAS, NACHOS, AEBNAS, one after the other
    python -m benchmarks.cifar10_peers macs --only exact     # one of them; what is finished is kept
    python -m benchmarks.cifar10_peers product               # on edge-tpu-quad

Every run is an `offramp search` with the same numbers of epochs; one that was stopped goes on when the command is given
again. `macs`: every executed branch is charged; thresholds are set on validation samples, test is touched once. The
peers search the same backbones as ours (--peer-backbone mobilenetv2 is the family nearest to theirs). `product`: the
most accurate network of at most --most-product joule cycles, expected energy-delay product, against the largest
backbone without exits, trained as long; same mapping engine for both. Both claims start from the same supernet: the
checkpoint of one run may be copied into the other's folder, and so may its finished reference. Writes
benchmarks/results/cifar10_<claim>.json, with --taught cifar10_<claim>_taught.json.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import yaml

from benchmarks.record import save_result
from offramp.records.run_summary import RunSummary, load_summary

MOST_MACS = 2_430_000


def settings(arguments: argparse.Namespace, algorithm: str) -> dict[str, object]:
    """Little training for the supernet, much for the network that is chosen."""
    ours = algorithm == "exact"
    macs = arguments.claim == "macs"
    product = "energy_delay_product_j_cycles"
    return {
        "seed": arguments.seed,
        "data": {"source": arguments.data},
        "space": {"backbone": arguments.backbone if ours else arguments.peer_backbone},
        "train": {"epochs": arguments.epochs},
        "search": {
            "algorithm": algorithm,
            "evaluations": arguments.evaluations,
            "objectives": ["accuracy", "macs" if macs else product],
            "constraints": [f"macs<={MOST_MACS}" if macs else f"{product}<={arguments.most_product}"],
        },
        "fine_tune": {
            "epochs": arguments.fine_tune_epochs,
            "picks": ["most_accurate"],
            # One reference is enough where all algorithms have the same backbones.
            "reference": ours,
            "teacher": "reference" if ours and arguments.taught else "final_exit",
        },
    }


def run(arguments: argparse.Namespace, algorithm: str) -> RunSummary:
    """Search, or go on, or read what is finished."""
    name = f"{arguments.claim}-{algorithm}-{arguments.seed}"
    folder = Path(arguments.folder) / (f"{name}-taught" if arguments.taught else name)
    config = folder.with_suffix(".yaml")
    summary = folder / "summary.json"
    if not summary.exists():
        config.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "offramp", "search", "--run", str(folder)]
        if folder.exists():
            command += ["--resume"]
        else:
            config.write_text(yaml.safe_dump(settings(arguments, algorithm)))
            command += ["--config", str(config)]
        subprocess.run(command, check=True)
    return load_summary(summary)


def rows(summary: RunSummary) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for network in summary.chosen:
        assert network.test is not None
        assert network.expected_test is not None
        product = network.expected_test.energy_delay_product_j_cycles
        static = network.static.expected.energy_delay_product_j_cycles
        largest = summary.static_reference
        found.append(
            {
                "rule": network.rule,
                "test_accuracy": network.test.top1,
                "static_test_accuracy": network.static.accuracy_test,
                "expected_macs_test": network.expected_test.macs,
                "expected_macs_validation": network.expected_validation.macs,
                "exit_rates": network.test.rates,
                "exit_accuracies": network.test.accuracies,
                "full_accuracies": network.test.full_accuracies,
                "product_j_cycles": product,
                "static_product_j_cycles": static,
                "product_share": product / static,
                "largest_static_test_accuracy": largest.accuracy_test,
                "largest_static_product_j_cycles": largest.expected.energy_delay_product_j_cycles,
                "share_of_largest": product / largest.expected.energy_delay_product_j_cycles,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim", choices=("macs", "product"))
    parser.add_argument("--data", default="../shared/data/cifar10")
    parser.add_argument("--only", default="", help="algorithms, separated by commas")
    parser.add_argument("--backbone", default="resnet")
    parser.add_argument("--peer-backbone", default="resnet")
    parser.add_argument("--most-product", type=float, default=0.36)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--fine-tune-epochs", type=int, default=50)
    parser.add_argument("--evaluations", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--taught", action="store_true", help="ours: the largest static network teaches what is chosen")
    parser.add_argument("--folder", default="runs/cifar10-peers")
    arguments = parser.parse_args()
    names = ("exact", "nachos", "edanas", "aebnas") if arguments.claim == "macs" else ("exact",)
    figures = {}
    for name in arguments.only.split(",") if arguments.only else names:
        figures[name] = rows(run(arguments, name))
        for row in figures[name]:
            print(
                f"{name} {row['rule']}: test {row['test_accuracy']:.4f} at {row['expected_macs_test']:.0f} MACs, "
                f"product {row['share_of_largest']:.3f} of the largest static network's"
            )
    file = f"cifar10_{arguments.claim}_taught" if arguments.taught else f"cifar10_{arguments.claim}"
    print(save_result(file, {"settings": vars(arguments), "runs": figures}))


if __name__ == "__main__":
    main()
