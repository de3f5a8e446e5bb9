"""Claim: a front with precision and pruning searched dominates the front without, for the same budget.

Digits. Four searches per seed, each with the same epochs of supernet training and the same number of evaluations,
judged quantised on the validation split: bit widths 8/8 or searched per stage, widths full or searched. The hypervolume
is that of accuracy, energy and latency, with one reference point: an accuracy of 0.9 at the costs of the largest
network without exits at 8/8. Finished searches are read back.

    python -m benchmarks.precision_front [--seeds 3] [--epochs 20] [--evaluations 120]
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.record import save_result
from offramp.nn.lowering.lower import lower
from offramp.numerics.dominance import non_dominated
from offramp.objectives.fronts import Fronts, split_fronts
from offramp.objectives.pareto import ParetoFront, pareto_front
from offramp.progress import TerminalReporter
from offramp.run.context import Context
from offramp.run.factory import build_context, build_dataset
from offramp.run.study import Study
from offramp.run.study_factory import build_algorithm
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.train.supernet_training import sandwich_step
from offramp.train.trainer import Schedule, TrainingData, TrainingLoop

ARMS = {"neither": (False, False), "precision": (True, False), "pruning": (False, True), "both": (True, True)}
WORST_ACCURACY = 0.9


@dataclass(frozen=True)
class ArmResult:
    """One search: hypervolume in accuracy x pJ x cycles, the part beyond the static front, and the points of its front.

    The part is None where it was not computed.
    """

    arm: str
    seed: int
    hypervolume: float
    beyond_static: float | None
    points: tuple[tuple[float, float, float], ...]


def settings(arm: str, seed: int, epochs: int, evaluations: int) -> Config:
    precision, pruning = ARMS[arm]
    return with_settings(
        Config(),
        {
            "seed": seed,
            "train.epochs": epochs,
            "search.evaluations": evaluations,
            "space.precision": "stage" if precision else "network",
            "space.precisions": ("8/8", "8/4", "4/8", "4/4", "32/32") if precision else ("8/8",),
            "space.elastic_widths": pruning,
        },
    )


def train(context: Context) -> None:
    config, dataset, train = context.config, context.dataset, context.config.train
    losses = context.losses()
    loop = TrainingLoop(
        context.supernet,
        TrainingData(dataset.splits.train, dataset.preprocessing, context.batch_size, context.augmentation),
        Schedule(train.learning_rate, context.epochs),
        context.compute,
        momentum=train.momentum,
        weight_decay=train.weight_decay,
        seed=config.seed,
    )
    step = sandwich_step(context.supernet, context.space, losses, context.compute, random_subnets=train.random_subnets)
    with TerminalReporter().task("Training the supernet") as task:
        loop.run(step, task)


def reference(context: Context) -> tuple[float, float, float]:
    """Accuracy, energy and latency that a point must beat."""
    plain = build_context(with_settings(context.config, {"space.precision": "fixed"}), context.dataset)
    network = plain.supernet.extract(plain.space.max_architecture())
    end = context.search_cost.estimate(lower(network), context.accelerator).stages[-1]
    return WORST_ACCURACY, end.energy_to_exit_pj, end.latency_to_exit_cycles


def front_of(arm: str, seed: int, epochs: int, evaluations: int) -> tuple[ParetoFront, Fronts, tuple[float, ...]]:
    """The front of all candidates, both fronts, and the point from which volumes are measured."""
    config = settings(arm, seed, epochs, evaluations)
    context = build_context(config, build_dataset(config, TerminalReporter()))
    train(context)
    study = Study(build_algorithm(context), context.evaluator)
    with TerminalReporter().task(f"Searching: {arm}, seed {seed}") as task:
        end = study.run(evaluations, config.search.batch, task, None)
    early = [item for item in end.evaluations if not item.architecture.is_static]
    fronts = split_fronts([*early, *study.static_candidates], context.objectives)
    return pareto_front(end.evaluations, context.objectives), fronts, reference(context)


def measure(arm: str, seed: int, epochs: int, evaluations: int) -> ArmResult:
    front, fronts, point = front_of(arm, seed, epochs, evaluations)
    values = [(e.values["accuracy"], e.values["energy_pj"], e.values["latency_cycles"]) for e in front.evaluations]
    return ArmResult(arm, seed, front.hypervolume(point), fronts.volume_beyond(point), tuple(values))


def share_dominated(ours: ArmResult, theirs: ArmResult) -> float:
    """Share of their points that one of ours is at least as good as everywhere and better somewhere."""
    sign = np.array([-1.0, 1.0, 1.0])
    a, b = np.array(ours.points) * sign, np.array(theirs.points) * sign
    return float(np.mean(~non_dominated(np.vstack([b, a]))[: len(b)]))


def kept(folder: Path, arm: str, seed: int, epochs: int, evaluations: int) -> ArmResult:
    file = folder / f"{arm}-{seed}-{epochs}-{evaluations}.json"
    if file.exists():
        data = json.loads(file.read_text())
        return ArmResult(
            arm, seed, data["hypervolume"], data.get("beyond_static"), tuple((p[0], p[1], p[2]) for p in data["points"])
        )
    result = measure(arm, seed, epochs, evaluations)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(vars(result)))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=120)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-precision-front"))
    options = parser.parse_args()
    results = {
        (arm, seed): kept(options.work, arm, seed, options.epochs, options.evaluations)
        for seed in range(options.seeds)
        for arm in options.arms
    }
    table = Table("seed", *(f"{arm}: hypervolume" for arm in options.arms), "neither's points dominated by both")
    rows = []
    for seed in range(options.seeds):
        volumes = {arm: results[arm, seed].hypervolume for arm in options.arms}
        row: dict[str, object] = {"seed": seed, "hypervolume": volumes}
        row["beyond_static"] = {arm: results[arm, seed].beyond_static for arm in options.arms}
        row["ratio_to_neither"] = {arm: volume / max(volumes["neither"], 1e-9) for arm, volume in volumes.items()}
        if "both" in volumes:
            row["share_of_neither_dominated_by_both"] = share_dominated(results["both", seed], results["neither", seed])
            row["share_of_both_dominated_by_neither"] = share_dominated(results["neither", seed], results["both", seed])
        rows.append(row)
        shares = str(row.get("share_of_neither_dominated_by_both", ""))[:5]
        table.add_row(
            str(seed), *(f"{volume / max(volumes['neither'], 1e-9):.3f} x" for volume in volumes.values()), shares
        )
    Console(width=150).print(table)
    met = all(results["both", s].hypervolume > results["neither", s].hypervolume for s in range(options.seeds))
    fronts = [vars(result) for result in results.values()]
    figures = {"epochs": options.epochs, "evaluations": options.evaluations, "rows": rows, "met": met, "fronts": fronts}
    print("goal met" if met else "GOAL MISSED", save_result("precision_front", figures))


if __name__ == "__main__":
    main()
