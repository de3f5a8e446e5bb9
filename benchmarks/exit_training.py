"""What each way of making and training exits contributes, on one backbone and one data set.

    python -m benchmarks.exit_training --data digits --seeds 3 --epochs 12

One network per variant and seed: the largest backbone of the space with three early exits, trained as fine-tuning does
from the same first weights, without a supernet. One setting is changed at a time; early exits have the weight 1 where
nothing else is said. The figure is the share of the box between a reference point (accuracy 0.5, product of the
backbone without exits) and (1, 0) that the policies dominate.
Policies are chosen on one half of the validation samples and judged on the other, both ways; beside it the same with
thresholds by class. Test samples are looked at once, with the cheapest policy within 0.5 points of the best on
validation. Logits are kept in the folder, and trainings are resumed. ``--set NAME=VALUE`` changes a setting for all
variants. Writes benchmarks/results/exit_training_<name>.json.
"""

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.curves import mean_and_interval
from benchmarks.record import save_result
from offramp.exits.calibration.class_offsets import fit_class_offsets
from offramp.exits.confidence_measures import MEASURES
from offramp.exits.exit_rule import ExitRule
from offramp.exits.thresholds import trade_off_curve
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.numerics.dominance import distinct_front
from offramp.progress import SilentReporter
from offramp.run.context import Context
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.fine_tuning import fine_tune
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.space.architecture import Architecture, ExitChoice
from offramp.train.trainer import collect_logits

LOWEST_ACCURACY = 0.5
DROP = 0.005
BRANCH = "conv"
Logits = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Variant:
    """What differs from the default."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)


VARIANTS = (
    Variant("default"),
    Variant("exits add a cascade", {"space.exit_reuse": "cascade"}),
    Variant("exits add a geometric mean", {"space.exit_reuse": "geometric_mean"}),
    Variant("samples that reach an exit", {"train.sample_weighting": "reaching"}),
    Variant("boosting", {"train.sample_weighting": "boosting"}),
    Variant("gradient equilibrium", {"train.gradient_equilibrium": True}),
    Variant("exits after the backbone", {"train.exit_training": "after_backbone"}),
    Variant("teacher: later exits", {"fine_tune.teacher": "later_exits"}),
    Variant("teacher: reference", {"fine_tune.teacher": "reference"}),
    Variant("no distillation", {"train.distillation_weight": 0.0}),
    Variant("exit weight 0.5", {"fine_tune.early_exit_weight": 0.5}),
    Variant("exit weight 2", {"fine_tune.early_exit_weight": 2.0}),
    Variant("exit weight 4", {"fine_tune.early_exit_weight": 4.0}),
    Variant(
        "exit weight 2, samples that reach an exit",
        {"fine_tune.early_exit_weight": 2.0, "train.sample_weighting": "reaching"},
    ),
    Variant(
        "exit weight 2, geometric mean",
        {"fine_tune.early_exit_weight": 2.0, "space.exit_reuse": "geometric_mean"},
    ),
)


@dataclass(frozen=True, eq=False)
class Answers:
    """Logits of a trained network, labels, and the product (J x cycles) of a sample up to each exit."""

    validation: Logits
    test: Logits
    validation_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    products: tuple[float, ...]
    static_product: float


def with_three_exits(context: Context) -> Architecture:
    """The largest backbone with exits at a quarter, half and three quarters of its taps."""
    backbone = context.space.max_architecture().without_exits()
    taps = context.space.active_taps(backbone)
    chosen = sorted({taps[round(share * (len(taps) - 1))] for share in (0.25, 0.5, 0.75)})
    return replace(backbone, exits=tuple(ExitChoice(tap, BRANCH) for tap in chosen))


def trained(variant: Variant, seed: int, arguments: argparse.Namespace) -> Answers:
    """Train a network, or read what an earlier run found."""
    name = variant.name.replace(" ", "_").replace(":", "")
    folder = Path(arguments.folder) / arguments.data.replace("/", "_") / f"{name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "answers.npz"
    if not kept.exists():
        _train(variant, seed, arguments, folder, kept)
    with np.load(kept) as found:
        count = len(found["products"])
        return Answers(
            tuple(found[f"validation_{index}"] for index in range(count)),
            tuple(found[f"test_{index}"] for index in range(count)),
            found["validation_labels"],
            found["test_labels"],
            tuple(found["products"].tolist()),
            float(found["static_product"]),
        )


def _train(variant: Variant, seed: int, arguments: argparse.Namespace, folder: Path, kept: Path) -> None:
    given = {name: json.loads(value) for name, value in (item.split("=", 1) for item in arguments.set)}
    fixed = {"data.source": arguments.data, "seed": seed, "fine_tune.epochs": arguments.epochs}
    plain = {"train.precision": "fp32", "fine_tune.early_exit_weight": 1.0}
    config = with_settings(Config(), {**fixed, **plain, **given, **variant.changes})
    context = build_context(config, build_dataset(config, SilentReporter()))
    architecture = with_three_exits(context)
    network = context.supernet.extract(architecture)
    teacher = None
    if config.fine_tune.teacher == "reference":
        teacher = context.supernet.extract(architecture.without_exits())
        tune(context, teacher, folder / "teacher.safetensors")
    tune(context, network, folder / "weights.safetensors", teacher)
    splits, cost = context.dataset.splits, context.report_cost.estimate(lower(network), context.accelerator)
    static = context.report_cost.estimate(lower(network.with_exits(())), context.accelerator)
    values: dict[str, Any] = {
        "validation_labels": splits.validation.labels,
        "test_labels": splits.test.labels,
        "products": np.asarray(cost.products_to_exits_j_cycles),
        "static_product": static.products_to_exits_j_cycles[-1],
    }
    for name, split in (("validation", splits.validation), ("test", splits.test)):
        logits = collect_logits(network, split, context.dataset.preprocessing, context.compute)
        values |= {f"{name}_{index}": item for index, item in enumerate(logits)}
    np.savez(kept, **values)


def tune(context: Context, network: EarlyExitNetwork, weights: Path, teacher: EarlyExitNetwork | None = None) -> None:
    with SilentReporter().task("training") as task:
        fine_tune(context, network, weights, task, None, resume=True, teacher=teacher)


def policies(
    logits: Logits, labels: NDArray[np.int64], products: tuple[float, ...], *, by_class: bool = False
) -> list[ExitRule]:
    """The trade-off curves of all confidence measures."""
    found: list[ExitRule] = []
    for measure in MEASURES:
        offsets = fit_class_offsets(logits, labels, measure) if by_class else ()
        curve = trade_off_curve(logits, labels, products, measure, class_offsets=offsets)
        found += [item.policy for item in curve]
    return found


def judged(
    rule: ExitRule, logits: Logits, labels: NDArray[np.int64], products: tuple[float, ...]
) -> tuple[float, float]:
    """Accuracy and mean product."""
    exits = rule.decide(logits)
    answers = np.stack([item.argmax(axis=1) for item in logits])[exits, np.arange(len(labels))]
    return float((answers == labels).mean()), float(np.asarray(products)[exits].mean())


def volume(points: list[tuple[float, float]], static_product: float) -> float:
    """The share of the box that points (accuracy, product) dominate."""
    goals = np.asarray([(1.0 - accuracy, product / static_product) for accuracy, product in points])
    front = goals[distinct_front(goals)]
    front = front[np.argsort(front[:, 1])]
    lowest, dominated = 1.0 - LOWEST_ACCURACY, 0.0
    for error, product in front:
        if error < lowest and product < 1.0:
            dominated += (lowest - error) * (1.0 - product)
            lowest = error
    return dominated / (1.0 - LOWEST_ACCURACY)


def cross_judged(answers: Answers, *, by_class: bool = False) -> float:
    """The mean volume of policies chosen on one half of the validation samples and judged on the other."""
    labels = answers.validation_labels
    first = np.random.default_rng(0).permutation(len(labels)) < len(labels) // 2
    volumes = []
    for rows in (first, ~first):
        part = tuple(item[rows] for item in answers.validation)
        found = policies(part, labels[rows], answers.products, by_class=by_class)
        others = tuple(item[~rows] for item in answers.validation)
        points = [judged(rule, others, labels[~rows], answers.products) for rule in found]
        volumes.append(volume(points, answers.static_product))
    return float(np.mean(volumes))


def measure(variant: Variant, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    answers = trained(variant, seed, arguments)
    labels = answers.validation_labels
    found = policies(answers.validation, labels, answers.products)
    points = [judged(rule, answers.validation, labels, answers.products) for rule in found]
    floor = max(accuracy for accuracy, _ in points) - DROP - 1e-12
    near = [(product, place) for place, (accuracy, product) in enumerate(points) if accuracy >= floor]
    chosen = found[min(near)[1]]
    test_accuracy, test_product = judged(chosen, answers.test, answers.test_labels, answers.products)
    return {
        "volume": cross_judged(answers),
        "volume_by_class": cross_judged(answers, by_class=True),
        "exit_accuracies_validation": [float((item.argmax(1) == labels).mean()) for item in answers.validation],
        "products_to_exits": [item / answers.static_product for item in answers.products],
        "test_accuracy": test_accuracy,
        "test_product": test_product / answers.static_product,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--name", default=None, help="name of the table (default: that of the data)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", default="", help="only variants whose name contains one of these, with commas")
    parser.add_argument("--set", action="append", default=[], help="a setting for all variants: NAME=VALUE (JSON)")
    parser.add_argument("--folder", default="runs/exit_training")
    arguments = parser.parse_args()
    figures = {}
    for variant in (item for item in VARIANTS if any(part in item.name for part in arguments.only.split(","))):
        rows = [measure(variant, seed, arguments) for seed in range(arguments.seeds)]
        mean, half = mean_and_interval([row["volume"] for row in rows])
        by_class, half_by_class = mean_and_interval([row["volume_by_class"] for row in rows])
        figures[variant.name] = {
            "volume": mean,
            "interval_95": half,
            "volume_by_class": by_class,
            "interval_95_by_class": half_by_class,
            "changes": variant.changes,
            "rows": rows,
        }
        test = " ".join(f"{row['test_accuracy']:.4f}@{row['test_product']:.3f}" for row in rows)
        print(f"{variant.name:30} {mean:.4f} +/- {half:.4f}  by class {by_class:.4f}  test: {test}", flush=True)
    name = arguments.name or Path(arguments.data).name
    print(save_result(f"exit_training_{name}", {"settings": vars(arguments), "variants": figures}))


if __name__ == "__main__":
    main()
