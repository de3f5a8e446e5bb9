"""Do early exits pay? The default search on a task, one run per seed, against static networks of the same accuracy.

    python -m benchmarks.early_exits_pay spoken_digits --seeds 3

Tasks: `spoken_digits` (ds-cnn on mcu; no speaker is in two parts, and seeds 0 to 2 test other speakers each),
`digits` (resnet on edge-tpu-quad), `cifar10` (resnet-large on edge-tpu-quad), `cifar10_int8` (resnet8, 8 bits, on
diana). Goals are about the product of energy and latency: that of the network over that of its match, the cheapest
static network at least as accurate on validation. The network is the one that the rule near_best picks: the cheapest
with early exits within half a point of the best static network. All choices are made on validation samples; test
samples are looked at once, with networks and thresholds fixed. Runs are kept in --runs and resumed.
``--set NAME=VALUE`` changes a setting for all runs. Writes benchmarks/results/early_exits_pay_<name>.json.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curves import mean_and_interval
from benchmarks.record import save_result
from benchmarks.spoken_digits_features import write_features
from offramp.objectives.verdict import GAIN_METRICS
from offramp.progress import TerminalReporter
from offramp.records.run_summary import ChosenNetwork, RunSummary
from offramp.records.static_match import StaticMatch
from offramp.run.api import search
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config

SPEEDS = (1.0, 0.88, 1.14)
RULE = "near_best"


@dataclass(frozen=True)
class Task:
    """A task of the table of goals.

    Attributes:
        source: Data, beside the checkout or by name.
        settings: What differs from the defaults.
        goal: Largest product of the network over that of its match; None = whatever is true.
    """

    source: str
    settings: dict[str, Any] = field(default_factory=dict)
    goal: float | None = None


TASKS = {
    "spoken_digits": Task(
        "../shared/data/spoken_digits", {"space.backbone": "ds-cnn", "cost.accelerator": "mcu"}, goal=2 / 3
    ),
    "digits": Task("digits"),
    "cifar10": Task("../shared/data/cifar10", {"space.backbone": "resnet-large"}, goal=1 / 2),
    "cifar10_int8": Task(
        "../shared/data/cifar10",
        {"space.backbone": "resnet8", "cost.accelerator": "diana", "fine_tune.quantize": True},
        goal=2 / 3,
    ),
}


def data_of(name: str, task: Task, seed: int, runs: Path) -> str:
    """The data of a run; features of spoken digits are made once per seed."""
    if name != "spoken_digits":
        return task.source
    target = runs / f"spoken_digits_{seed % 3}.npz"
    if not target.exists():
        write_features(Path(task.source), target, fold=seed % 3, speeds=SPEEDS)
    return str(target)


def run(name: str, seed: int, arguments: argparse.Namespace) -> RunSummary:
    """One search, or what is there of it."""
    task, runs = TASKS[name], Path(arguments.runs)
    folder = runs / f"{arguments.name or name}_{seed}"
    if (folder / "run.sqlite").exists():
        found = search(run=folder, resume=True, reporter=TerminalReporter()).summary
    else:
        given = {key: json.loads(value) for key, value in (item.split("=", 1) for item in arguments.set)}
        fixed = {"data.source": data_of(name, task, seed, runs), "seed": seed}
        picks = {"fine_tune.picks": (RULE, "knee", "cheapest")}
        config = with_settings(Config(), {**task.settings, **picks, **fixed, **given})
        found = search(config, run=folder, reporter=TerminalReporter()).summary
    assert found is not None
    return found


def figures_of_match(match: StaticMatch | None) -> dict[str, Any] | None:
    if match is None:
        return None
    return {
        "name": match.name,
        "exit_of": match.exit_of,
        "validation_accuracy": match.accuracy_validation,
        "test_accuracy": match.accuracy_test,
        "as_accurate_on_validation": match.as_accurate,
        "no_dearer_on_validation": match.no_dearer,
        **{metric: getattr(match.expected, metric) for metric in GAIN_METRICS},
    }


def figures_of(network: ChosenNetwork) -> dict[str, Any]:
    assert network.test is not None
    assert network.expected_test is not None
    verdict = network.verdict
    row: dict[str, Any] = {
        "rule": network.rule,
        "exits": network.num_exits,
        "validation_accuracy": network.validation.top1,
        "test_accuracy": network.test.top1,
        "exit_rates_validation": network.validation.rates,
        "exit_rates_test": network.test.rates,
        "exit_accuracies_test": network.test.full_accuracies,
        "products_to_exits_j_cycles": network.cost.products_to_exits_j_cycles,
        **{metric: getattr(network.expected_test, metric) for metric in GAIN_METRICS},
        "match": figures_of_match(network.match),
        "match_at_cost": figures_of_match(network.match_at_cost),
        "verdict": None if verdict is None else verdict.answer,
    }
    if verdict is not None:
        row["gains"] = {item.metric: [item.ratio.value, item.ratio.low, item.ratio.high] for item in verdict.gains}
        difference, second = verdict.accuracy_difference, verdict.difference_at_cost
        row["accuracy_difference"] = [difference.value, difference.low, difference.high]
        row["difference_at_cost"] = None if second is None else [second.value, second.low, second.high]
    return row


def measure(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    summary = run(name, seed, arguments)
    networks = [figures_of(item) for item in summary.chosen]
    statics = [*summary.static_networks, *(item for item in summary.chosen if item.num_exits == 1)]
    best = max((item.validation.top1 for item in statics), default=None)
    wanted = next(item for item in networks if RULE in item["rule"].split("+"))
    gain = wanted.get("gains", {}).get("energy_delay_product_j_cycles")
    return {
        "seed": seed,
        "data": vars(summary.data) | {"class_names": len(summary.data.class_names)},
        "alerts": summary.alerts,
        "evaluations": len(summary.evaluations),
        "volume_beyond_static": summary.volume_beyond_static,
        "best_static_validation_accuracy": best,
        "recommended": None if summary.recommended is None else summary.recommended.rule,
        # The product of the network over that of its match; 1 where no network with early exits was left.
        "product_share": 1.0 if gain is None else 1.0 / gain[0],
        "near_best": wanted,
        "networks": networks,
        "static_front_in_search": [item.values for item in summary.static_front],
        "early_exit_front_in_search": [item.values for item in summary.front],
    }


def show(row: dict[str, Any]) -> None:
    print(f"seed {row['seed']}: product {row['product_share']:.3f} of the match; hypervolume beyond static "
          f"{row['volume_beyond_static']:.4f}; recommended {row['recommended']}")  # fmt: skip
    for item in row["networks"]:
        match = item["match"]
        against = "no match" if match is None else f"match {match['test_accuracy']:.4f} ({match['exit_of'] or 'own'})"
        gains = {
            key: f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})" for key, value in item.get("gains", {}).items()
        }
        print(f"  {item['rule']}: {item['test_accuracy']:.4f}, {against}, {item['verdict']}, {gains}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--name", default="", help="name of the result and of the runs (default: that of the task)")
    parser.add_argument("--runs", default="runs/early_exits_pay")
    parser.add_argument("--set", action="append", default=[], help="a setting for all runs: NAME=VALUE (JSON)")
    arguments = parser.parse_args()
    Path(arguments.runs).mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        rows.append(measure(arguments.task, seed, arguments))
        show(rows[-1])
    shares, goal = [row["product_share"] for row in rows], TASKS[arguments.task].goal
    mean, half = mean_and_interval(shares)
    volumes = [row["volume_beyond_static"] or 0.0 for row in rows]
    figures = {
        "goal_product_share": goal,
        "product_share": mean,
        "product_share_interval_95": half,
        "met": None if goal is None else bool(mean <= goal),
        "verdicts": [row["near_best"]["verdict"] for row in rows],
        "volume_beyond_static": float(np.mean(volumes)),
        "rows": rows,
    }
    word = "no goal" if goal is None else "goal met" if mean <= goal else "GOAL MISSED"
    print(f"{word}: product {mean:.3f} +/- {half:.3f} of the match over {len(rows)} seeds")
    print(save_result(f"early_exits_pay_{arguments.name or arguments.task}", figures))


if __name__ == "__main__":
    main()
