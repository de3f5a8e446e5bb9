"""Claim: the space of Zniber et al. is solved exactly in under 60 s once the logits are cached.

    python -m benchmarks.exact

The backbone, its exits and both classifiers are those of the study, priced on edge-tpu-quad; the logits are made up
(10,000 samples whose exits grow better with depth), for what they are makes no difference to the time. 2 x 3^10 sets of
exits, each with 20 shared thresholds: every one is judged. The front of accuracy against expected energy is then held
against what the other algorithms find on the same data. Energy adds up exactly over exits; cycles do as long as weights
arrive in time, which the classifiers of two layers prevent (see offramp.run.evaluators.exit_costs), so the claim is
about energy. What the front adds to that of the static networks (the backbone cut at each tap with each branch, and as
it is) is stated as a hypervolume: of the box between accuracy 0.5, the energy of the backbone, and (1, 0). Nothing is
trained, so that there is no rank correlation. Writes benchmarks/results/exact.json.
"""

import itertools
import time
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import save_result
from offramp.algorithms.algorithm import ALGORITHMS
from offramp.algorithms.exact.backbone_solver import TableSolver
from offramp.algorithms.exact.exact import Exact
from offramp.algorithms.exact.exit_enumeration import Enumeration
from offramp.algorithms.exact.exit_table import METRICS, ExitTable, metric_columns
from offramp.cost.pricing import build_cost_model
from offramp.cost.report import CostReport
from offramp.exits.thresholds import SHARED_THRESHOLDS
from offramp.hardware.loader import load_accelerator
from offramp.nn.backbone import BACKBONES
from offramp.nn.lowering.lower import lower
from offramp.nn.supernet.supernet import Supernet
from offramp.numerics.dominance import covered
from offramp.numerics.hypervolume import hypervolume
from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.objectives.pareto import pareto_front, values_to_minimize
from offramp.run.evaluators.exit_costs import exit_costs
from offramp.settings.cost_config import CostConfig
from offramp.space.architecture import Architecture
from offramp.space.early_exit_space import EarlyExitSpace

NUM_SAMPLES, ALLOWED_S, EVALUATIONS, LOWEST_ACCURACY = 10_000, 60.0, 300, 0.5
OBJECTIVES = (Objective("accuracy", "maximize"), Objective("energy_pj", "minimize"))
BRANCHES = ("pool_linear", "pool_mlp")
OTHERS = ("random", "nsga2", "edanas", "nachos", "aebnas", "progressive")


class TableEvaluator:
    """Judges candidates from a table, one by one and without bits: another way to the same figures."""

    def __init__(self, table: ExitTable) -> None:
        self._table = table

    def table(self, backbone: Architecture) -> ExitTable:
        return self._table

    def static_candidates(self, backbone: Architecture) -> tuple[Evaluation, ...]:
        return ()

    def evaluate(self, architecture: Architecture) -> Evaluation:
        table = self._table
        places = [table.options.index(choice) for choice in architecture.exits]
        exits = [*places, len(table.options)]
        costs = metric_columns(table.costs.to_tap[exits] + np.cumsum(table.costs.branch[exits], axis=0))
        rows = []
        for threshold in SHARED_THRESHOLDS if places else (1.0,):
            left = np.full(table.num_samples, len(places))
            for number in range(len(places) - 1, -1, -1):
                left[table.scores["max_probability"][places[number]] >= threshold] = number
            right = table.correct[[*places, -1]][left, np.arange(table.num_samples)].sum()
            rates = np.bincount(left, minlength=len(places) + 1) / table.num_samples
            rows.append((right / table.num_samples, rates @ costs))
        floor = max(accuracy for accuracy, _ in rows) - architecture.policy.accuracy_drop - 1e-12
        near = [row for row in rows if row[0] >= floor]
        accuracy, mean = min(near, key=lambda row: (row[1][-1], -row[0]))
        values = {"accuracy": float(accuracy), **dict(zip(METRICS, map(float, mean), strict=True))}
        return Evaluation(architecture, Status.COMPLETE, values)


def made_up_table(final: str, seed: int = 0) -> tuple[EarlyExitSpace, ExitTable]:
    """The study's backbone with one kind of final classifier, and logits of our own."""
    shape = (3, 32, 32)
    backbone = BACKBONES.get("mobilenetv2-zniber").space(shape)
    # The study has exits after 10 of the 12 blocks: 3 choices at each.
    space = EarlyExitSpace(
        backbone, BRANCHES, accuracy_drops=(0.0, 0.0025, 0.005, 0.01, 0.02, 0.04), max_exits=10, final_branch=final
    )
    supernet, chip = Supernet(backbone, BRANCHES, shape, 10, seed), load_accelerator("edge-tpu-quad")
    model = build_cost_model(CostConfig(mapping="layer_by_layer"), coarse=True)

    def price(architecture: Architecture) -> CostReport:
        return model.estimate(lower(supernet.extract(architecture)), chip)

    largest = space.max_architecture()
    options = tuple(choice for choice in space.exit_options(largest) if choice.tap < 10)
    rng = np.random.default_rng(seed)
    ease, correct, scores = rng.normal(size=NUM_SAMPLES), [], []
    for choice in options:
        quality = (
            1.6 * ease + 0.16 * choice.tap + 0.2 * (choice.branch == "pool_mlp") + 0.6 * rng.normal(size=NUM_SAMPLES)
        )
        correct.append(quality > -0.4)
        scores.append(1.0 / (1.0 + np.exp(-1.5 * quality - 0.4 * rng.normal(size=NUM_SAMPLES))))
    correct.append(1.6 * ease + 1.8 + 0.6 * rng.normal(size=NUM_SAMPLES) > -0.4)
    return space, ExitTable(
        backbone=largest,
        options=options,
        correct=np.asarray(correct),
        scores={"max_probability": np.asarray(scores)},
        thresholds={"max_probability": tuple(np.asarray(SHARED_THRESHOLDS) for _ in options)},
        costs=exit_costs(largest, options, price),
        shared_threshold=True,
    )


def static_points(table: ExitTable) -> NDArray[np.float64]:
    """Accuracy, negated, and energy of the static networks: cut at each exit, and whole; (networks, 2)."""
    energy = metric_columns(table.costs.to_tap + table.costs.branch)[:, METRICS.index("energy_pj")]
    return np.stack([-table.correct.mean(axis=1), energy], axis=1)


def volume_beyond_static(front: NDArray[np.float64], table: ExitTable) -> float:
    """What a front (accuracy negated, energy) adds to the static one, as a share of the box of the docstring."""
    static = static_points(table)
    reference = np.array([-LOWEST_ACCURACY, static[-1, 1]])
    box = (1.0 - LOWEST_ACCURACY) * reference[1]
    joint = hypervolume(np.concatenate([static, front]), reference)
    return (joint - hypervolume(static, reference)) / box


class _TenTaps:
    """The space without the exit after the eleventh block, which the study never offers."""

    def __init__(self, space: EarlyExitSpace) -> None:
        self.space = space

    def restrict(self, architecture: Architecture) -> Architecture:
        exits = tuple(choice for choice in architecture.exits if choice.tap < 10)
        return replace(architecture, exits=exits, policy=architecture.policy if exits else type(architecture.policy)())


def main() -> int:
    figures: dict[str, object] = {}
    seconds, networks, beaten = 0.0, 0, 0
    for final in ("pool_linear", "pool_mlp"):
        space, table = made_up_table(final)
        began = time.process_time()
        outcomes = Enumeration(table, "max_probability", 10).run()
        enumerated = time.process_time() - began
        evaluator = TableEvaluator(table)
        algorithm = Exact(space, OBJECTIVES, (), 0)
        algorithm.use_solver(TableSolver(evaluator, space, OBJECTIVES, ()))
        began = time.process_time()
        asked = itertools.chain.from_iterable(iter(partial(algorithm.ask, 100_000), []))
        found = [evaluator.evaluate(item) for item in asked if item.without_exits() == table.backbone]
        solved = time.process_time() - began
        front = pareto_front(found, OBJECTIVES)
        best = values_to_minimize(front.evaluations, OBJECTIVES)
        beyond = volume_beyond_static(best, table)
        rows: dict[str, dict[str, float]] = {}
        for name in OTHERS:
            told = others(name, space, evaluator)
            theirs = values_to_minimize(pareto_front(told, OBJECTIVES).evaluations, OBJECTIVES)
            # A relative 1e-12 is the rounding of sums in another order.
            reached = covered(theirs + 1e-12 * np.abs(theirs), best)
            equal = (np.abs(best[None] - theirs[:, None]) <= 1e-12 * np.abs(theirs[:, None])).all(axis=2).any(axis=1)
            rows[name] = {
                "front": len(theirs),
                "not_covered": int((~reached).sum()),
                "also_ours": int(equal.sum()),
                "volume_beyond_static": volume_beyond_static(theirs, table),
            }
            beaten += int((~reached).sum())
        figures[final] = {
            "networks": 3**10,
            "points": len(outcomes),
            "enumeration_cpu_s": enumerated,
            "solution_cpu_s": solved,
            "front": len(front),
            "volume_beyond_static": beyond,
            "others": rows,
        }
        seconds, networks = seconds + solved, networks + 3**10
        print(final, figures[final], flush=True)
    figures |= {"networks": networks, "cpu_s": seconds, "allowed_s": ALLOWED_S}
    print(f"{networks} networks in {seconds:.1f} s of CPU time; {beaten} points of others that are not covered")
    print(save_result("exact", figures))
    return 0 if seconds < ALLOWED_S and not beaten else 1


def others(name: str, space: EarlyExitSpace, evaluator: TableEvaluator) -> list[Evaluation]:
    """What another algorithm finds with many more evaluations than it would ever get trained."""
    algorithm, ten = ALGORITHMS.get(name)(space, OBJECTIVES, (), 0), _TenTaps(space)
    told: list[Evaluation] = []
    while len(told) < EVALUATIONS:
        asked = algorithm.ask(20)
        if not asked:
            break
        # Told under the name it was asked by; an exit that is not offered counts as not there.
        batch = [replace(evaluator.evaluate(ten.restrict(item)), architecture=item) for item in asked]
        algorithm.tell(batch)
        told += batch
    return told


if __name__ == "__main__":
    raise SystemExit(main())
