"""What each part contributes: searched branches, a threshold per exit, calibrated confidences, distillation.

    python -m benchmarks.ablations

On the digits, mean of several seeds: one part is changed at a time against the default. The figure is the share of the
box between a reference point (accuracy 0.5, product of the largest static network) and (1, 0) that the front of the
exact search dominates after a fixed number of trained candidates, on validation samples; what early exits add to the
front of static networks stands beside it. Trained supernets are kept in the folder. Writes
benchmarks/results/ablations.json.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.curves import mean_and_interval
from benchmarks.record import save_result
from benchmarks.supernets import prepare
from offramp.algorithms.exact.backbone_solver import TableSolver
from offramp.algorithms.exact.exact import Exact
from offramp.objectives.evaluation import Evaluation, Objective
from offramp.objectives.fronts import split_fronts
from offramp.objectives.pareto import pareto_front
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator

PRODUCT = "energy_delay_product_j_cycles"
OBJECTIVES = (Objective("accuracy", "maximize"), Objective("energy_delay_product_j_cycles", "minimize"))
LOWEST_ACCURACY = 0.5
SEARCHED = ("searched", "searched_mlp", "searched_grid", "searched_grid_mlp")
DEFAULT_BRANCHES = ("pool_linear", "pool_mlp", "depthwise_separable", "conv", "global_pool")


@dataclass(frozen=True)
class Variant:
    """What differs from the default; variants with the same ``training`` share a supernet."""

    name: str
    training: str = "default"
    changes: dict[str, Any] = field(default_factory=dict)
    shared_threshold: bool = False
    calibrate: bool = False


VARIANTS = (
    Variant("default"),
    Variant("thresholds: one for all exits", shared_threshold=True),
    Variant("confidences calibrated", calibrate=True),
    Variant("one branch type (conv)", "conv", {"space.branches": ("conv",)}),
    Variant("branches searched layer by layer", "searched", {"space.branches": SEARCHED}),
    Variant("named and searched branches", "both", {"space.branches": (*DEFAULT_BRANCHES, *SEARCHED)}),
    Variant("no distillation", "no-distillation", {"train.distillation_weight": 0.0}),
)


def measure(variant: Variant, seed: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Volume and best accuracy of one search."""
    changes = {"seed": seed, "train.epochs": arguments.epochs, **variant.changes}
    folder = Path(arguments.folder) / f"{variant.training}-{seed}"
    prepared = prepare(folder, changes, calibrate_confidences=variant.calibrate)
    space = prepared.context.space
    evaluator = CachedLogitsEvaluator(prepared.direct, space, shared_threshold=variant.shared_threshold)
    algorithm = Exact(space, OBJECTIVES, (), seed)
    algorithm.use_solver(TableSolver(evaluator, space, OBJECTIVES, ()))
    told: list[Evaluation] = []
    while evaluator.num_forwards < arguments.candidates:
        asked = algorithm.ask(8)
        if not asked:
            break
        told += [evaluator.evaluate(item) for item in asked]
        algorithm.tell(told[-len(asked) :])
    # Without distillation the largest network is the same size: one reference point for all.
    largest = prepared.direct.evaluate(space.max_architecture()).values[PRODUCT]
    front = pareto_front(told, OBJECTIVES)
    box, point = (1.0 - LOWEST_ACCURACY) * largest, [LOWEST_ACCURACY, largest]
    volume = front.hypervolume(point) / box
    # What early exits add to the front of static networks, which came along with the candidates.
    statics = {item.architecture: item for evaluation in told for item in evaluation.statics}
    early = [item for item in told if not item.architecture.is_static]
    beyond = split_fronts([*early, *statics.values()], OBJECTIVES).volume_beyond(point) / box
    return {"volume": volume, "volume_beyond_static": beyond, "best_accuracy": max(e.values["accuracy"] for e in front)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--folder", default="runs/ablations")
    arguments = parser.parse_args()
    figures = {}
    for variant in VARIANTS:
        rows = [measure(variant, seed, arguments) for seed in range(arguments.seeds)]
        volume, half = mean_and_interval([row["volume"] for row in rows])
        accuracy, _ = mean_and_interval([row["best_accuracy"] for row in rows])
        beyond, beyond_half = mean_and_interval([row["volume_beyond_static"] for row in rows])
        figures[variant.name] = {
            "volume": volume,
            "interval_95": half,
            "volume_beyond_static": beyond,
            "beyond_interval_95": beyond_half,
            "best_accuracy": accuracy,
            "rows": rows,
        }
        print(
            f"{variant.name:36} {volume:.4f} +/- {half:.4f}  beyond the static front {beyond:.4f} +/- {beyond_half:.4f}"
            f"  best accuracy {accuracy:.4f}",
            flush=True,
        )
    print(save_result("ablations", {"settings": vars(arguments), "variants": figures}))


if __name__ == "__main__":
    main()
