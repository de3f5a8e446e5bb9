"""Learned confidences (NACHOS) against thresholds on what an exit answers, on the same network and training effort.

    python -m benchmarks.learned_confidence                                  # the digits, three seeds, minutes
    python -m benchmarks.learned_confidence --data ../shared/data/cifar10 --seeds 1 --epochs 20 --most 2.43e6

Per seed one supernet; from its largest network with as many early exits as may be, two networks are trained for the
same number of epochs: one with the losses of all exits, early ones learning from the final one too, and one as NACHOS
describes it, confidences and exits together, with the bound on the mean cost and, in the second half, confidences drawn
to the accuracies per class of a tenth of the training samples that is held out for it. The rule is then the most
accurate on validation samples whose mean MACs, every executed branch charged, keep the bound; test is looked at once.
What is finished is kept in the folder. Writes benchmarks/results/learned_confidence_<data>.json.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.confidence_loss import ConfidenceLossSettings, CostBound, Support, confidence_step
from benchmarks.confident_network import ConfidentNetwork, split_units
from benchmarks.curves import mean_and_interval
from benchmarks.record import save_result
from benchmarks.supernets import Prepared, fine_tune, inherited, prepare
from offramp.data.labelled_data import Split
from offramp.data.mini_batches import to_tensor
from offramp.data.splits.splitting import stratified_split
from offramp.exits.exit_rule import CachedOutputs, ExitRule
from offramp.exits.rule_curve import rule_curve
from offramp.exits.score_thresholds import ScoreChoice, ThresholdGrid, score_curve
from offramp.exits.threshold_combinations import ScoredSamples
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture
from offramp.train.loss import LossSettings
from offramp.train.supernet_training import plain_step
from offramp.train.trainer import WarmUp, collect_logits

ON_ANSWERS = ("threshold", "cumulative", "patience")
"""Rules that need no more than logits."""
LEARNED = "learned, cumulative"


@dataclass(frozen=True)
class Reached:
    """What a rule reaches on the test split."""

    accuracy: float
    macs: float
    rates: tuple[float, ...]


@dataclass(frozen=True)
class Task:
    """One seed: where it starts and what it must keep to."""

    prepared: Prepared
    architecture: Architecture
    costs: tuple[float, ...]
    most: float
    epochs: int


def set_up(arguments: argparse.Namespace, seed: int) -> Task:
    folder = Path(arguments.folder) / f"{Path(arguments.data).name}-{seed}"
    changes = {
        "data.source": arguments.data,
        "seed": seed,
        "space.branches": (arguments.branch,),
        "train.epochs": arguments.supernet_epochs,
        "train.precision": "auto",
    }
    prepared = prepare(folder, changes)
    space = prepared.context.space
    largest = space.max_architecture().without_exits()
    options = space.exit_options(largest)
    picked = np.unique(np.linspace(0, len(options) - 1, space.max_exits).round().astype(int))
    architecture = replace(largest, exits=tuple(options[place] for place in picked))
    costs = tuple(float(x) for x in lower(prepared.context.supernet.extract(architecture)).macs_to_exit())
    return Task(prepared, architecture, costs, arguments.most or arguments.share * costs[-1], arguments.epochs)


def plainly_trained(task: Task) -> EarlyExitNetwork:
    network = inherited(task.prepared, task.architecture)
    step = plain_step(network, LossSettings(), task.prepared.context.compute)
    fine_tune(task.prepared, "plain", network, step, task.epochs)
    return network


def confidently_trained(task: Task) -> ConfidentNetwork:
    """Half of the epochs without the accuracies per class, then half with them."""
    network, context = ConfidentNetwork(inherited(task.prepared, task.architecture)), task.prepared.context
    dataset = context.dataset
    parts = stratified_split(
        dataset.splits.train.labels,
        dataset.class_names,
        seed=context.config.seed,
        validation_share=0.1,
        test_share=0.0,
        where=dataset.name,
    )
    learned_from, held_out = (
        Split(dataset.splits.train.samples[rows], dataset.splits.train.labels[rows])
        for rows in (parts.train, parts.validation)
    )
    settings = ConfidenceLossSettings(bound=CostBound(task.costs, task.most))
    context.compute.place(network)
    support = Support(
        context.compute.place_images(to_tensor(held_out.samples, dataset.preprocessing)),
        torch.as_tensor(held_out.labels).to(context.compute.device),
    )
    step = confidence_step(network, settings, context.compute, support)
    warm_up = WarmUp(0.5, confidence_step(network, settings, context.compute), finish=lambda: None)
    fine_tune(task.prepared, "confident", network, step, task.epochs, split=learned_from, warm_up=warm_up)
    return network


def learned_outputs(
    task: Task, network: ConfidentNetwork, split: Split
) -> tuple[tuple[NDArray[np.float32], ...], tuple[NDArray[np.float64], ...]]:
    """Logits and learned confidences."""
    context = task.prepared.context
    logits, units = split_units(collect_logits(network, split, context.dataset.preprocessing, context.compute))
    return logits, tuple(1.0 / (1.0 + np.exp(-unit.astype(np.float64))) for unit in units)


def chosen(task: Task, outputs: CachedOutputs, name: str) -> ExitRule:
    """The most accurate rule of a kind that keeps the bound on these samples; the cheapest where none does."""
    points = rule_curve(name, outputs)
    within = [point for point in points if point.expected_cost <= task.most]
    return max(within, key=lambda point: point.accuracy).rule if within else points[0].rule


def accumulated(confidences: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """The cumulative confidence 1 - (1 - c_1) ... (1 - c_i) up to each exit i: (exits, samples)."""
    return 1.0 - np.cumprod(1.0 - np.stack(confidences).astype(np.float64), axis=0)


def learned_curve(
    outputs: CachedOutputs, confidences: Sequence[NDArray[np.floating]], grid: ThresholdGrid | None = None
) -> tuple[ScoreChoice, ...]:
    """The trade-off curve of thresholds on the learned confidences, (samples,) per early exit, added up."""
    samples = outputs.scored()
    return score_curve(ScoredSamples(accumulated(confidences), samples.correct, samples.costs), grid)


def learned_exits(thresholds: Sequence[float], confidences: Sequence[NDArray[np.floating]]) -> NDArray[np.intp]:
    """At which exit each sample leaves by thresholds on the learned confidences added up."""
    reached = np.vstack([accumulated(confidences) >= np.asarray(thresholds)[:, None], np.ones_like(confidences[0])])
    return reached.argmax(axis=0)


def reached(task: Task, exits: NDArray[np.intp], logits: tuple[NDArray[np.float32], ...], split: Split) -> Reached:
    right = np.stack([item.argmax(axis=1) == split.labels for item in logits])[exits, np.arange(len(split))]
    rates = np.bincount(exits, minlength=len(logits)) / len(split)
    return Reached(float(right.mean()), float(rates @ task.costs), tuple(rates.tolist()))


def measure(task: Task) -> dict[str, Reached]:
    """All rules of one seed."""
    context = task.prepared.context
    validation, test = context.dataset.splits.validation, context.dataset.splits.test
    plain, found = plainly_trained(task), {}
    known, unseen = (
        collect_logits(plain, split, context.dataset.preprocessing, context.compute) for split in (validation, test)
    )
    for name in ON_ANSWERS:
        rule = chosen(task, CachedOutputs(known, validation.labels, task.costs), name)
        found[name] = reached(task, rule.decide(unseen), unseen, test)
    network = confidently_trained(task)
    logits, confidences = learned_outputs(task, network, validation)
    curve = learned_curve(CachedOutputs(logits, validation.labels, task.costs), confidences)
    within = [point for point in curve if point.expected_cost <= task.most]
    learned = max(within, key=lambda point: point.accuracy) if within else curve[0]
    rule = chosen(task, CachedOutputs(logits, validation.labels, task.costs), "threshold")
    logits, confidences = learned_outputs(task, network, test)
    found[LEARNED] = reached(task, learned_exits(learned.thresholds, confidences), logits, test)
    found["threshold, the network of learned confidences"] = reached(task, rule.decide(logits), logits, test)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--branch", default="conv")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--supernet-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.5, help="the bound, as a share of the MACs to the final exit")
    parser.add_argument("--most", type=float, default=None, help="the bound in MACs")
    parser.add_argument("--folder", default="runs/learned-confidence")
    arguments = parser.parse_args()
    tasks = [set_up(arguments, seed) for seed in range(arguments.seeds)]
    runs = [measure(task) for task in tasks]
    for name in runs[0]:
        accuracy, half = mean_and_interval([run[name].accuracy for run in runs])
        macs, _ = mean_and_interval([run[name].macs for run in runs])
        print(f"{name:48} test accuracy {accuracy:.4f} +/- {half:.4f} at {macs:.0f} MACs", flush=True)
    figures = [{name: asdict(row) for name, row in run.items()} for run in runs]
    bounds = [task.most for task in tasks]
    name = f"learned_confidence_{tasks[0].prepared.context.dataset.name}"
    print(save_result(name, {"settings": vars(arguments), "most_macs": bounds, "runs": figures}))


if __name__ == "__main__":
    main()
