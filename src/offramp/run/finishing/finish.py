"""After the search: extract a chosen candidate, fine-tune it, set thresholds on validation, measure once on test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from offramp.cost.report import CostReport
from offramp.data.labelled_data import Split
from offramp.deadline import Deadline
from offramp.errors import RunError
from offramp.exits.accuracy_guarantee import Guarantee, parse_target
from offramp.jsonio import dumps, loads, write_atomically
from offramp.nn.analog_convolution import set_noise_
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.weight_pruning import WeightPruner
from offramp.objectives.evaluation import Evaluation
from offramp.objectives.pareto import ParetoFront
from offramp.objectives.picking import pick
from offramp.progress import Task
from offramp.records.run_summary import ChosenNetwork, StaticReference
from offramp.run.analog_networks import make_assigned_
from offramp.run.context import Context
from offramp.run.evaluators.operating_point import (
    OperatingPoint,
    choose_certified_point,
    choose_operating_point,
    measure_point,
)
from offramp.run.evaluators.supernet_evaluator import EvaluationData, calibrate, placed_images, quantize_network
from offramp.run.finishing.exit_dropping import exits_worth_keeping
from offramp.run.pruned_workloads import measured_workload, planned_workload
from offramp.space.architecture import Architecture
from offramp.train.checkpoint import LoopState, load_checkpoint
from offramp.train.supernet_training import plain_step
from offramp.train.trainer import Schedule, TrainingData, TrainingLog, TrainingLoop, collect_logits
from offramp.workload.graph import Workload

WEIGHTS = "weights.safetensors"
"""Of a finished network, in its folder."""
_PRODUCT = "energy_delay_product_j_cycles"


@dataclass(frozen=True)
class FinishedNetwork:
    """A trained network, its record, and the losses of its fine-tuning."""

    network: EarlyExitNetwork
    record: ChosenNetwork
    log: TrainingLog


@dataclass(frozen=True)
class Selection:
    """A candidate of the front and the names of the rules that picked it."""

    rules: tuple[str, ...]
    evaluation: Evaluation

    @property
    def name(self) -> str:
        return "+".join(self.rules)


def select(front: ParetoFront, rules: Sequence[str]) -> tuple[Selection, ...]:
    """Apply the picking rules; a candidate that several rules pick is kept once."""
    chosen: dict[Architecture, Selection] = {}
    for rule in rules:
        evaluation = pick(front, rule)
        earlier = chosen.get(evaluation.architecture)
        named = (*earlier.rules, rule) if earlier else (rule,)
        chosen[evaluation.architecture] = Selection(named, evaluation)
    return tuple(chosen.values())


@dataclass(frozen=True)
class _Chosen:
    """An operating point on validation samples and what is promised for it, if anything."""

    point: OperatingPoint
    guarantee: Guarantee | None = None


class Finisher:
    """Makes chosen candidates ready to deploy; each has a folder with its weights and record."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def finish(
        self,
        selection: Selection,
        folder: Path,
        task: Task,
        *,
        deadline: Deadline | None,
        resume: bool,
        teacher: Path | None = None,
    ) -> FinishedNetwork:
        """Fine-tune, choose thresholds, measure; a network that was finished before is read back.

        With ``teacher``, the folder of the finished reference, every exit learns from that too.
        """
        folder.mkdir(parents=True, exist_ok=True)
        record_file = folder / "network.json"
        network = self.context.supernet.extract(selection.evaluation.architecture)
        weights = folder / WEIGHTS
        if resume and record_file.exists():
            state = self._read_back(network, weights)
            record = loads(ChosenNetwork, record_file.read_text(), what=f"Record {record_file}", error=RunError)
            network = _with_exits_of(record, network)
            self.context.compute.place(network).eval()
            return FinishedNetwork(network, record, TrainingLog(state.loss, state.progress))
        reference = None
        if teacher is not None:
            reference = self._largest_static()
            self._read_back(reference, teacher / WEIGHTS)
        log = self._fine_tune(network, weights, task, deadline, resume, reference)
        if self.context.config.fine_tune.drop_exits and network.num_exits > 1:
            network = self._without_idle_exits(network, selection)
        record = self._measure(network, selection, folder)
        # What is exported and run from here on computes without converter noise, the same every time.
        set_noise_(network, None)
        write_atomically(record_file, dumps(record))
        return FinishedNetwork(network, record, log)

    def _fine_tune(
        self,
        network: EarlyExitNetwork,
        weights: Path,
        task: Task,
        deadline: Deadline | None,
        resume: bool,
        teacher: EarlyExitNetwork | None = None,
    ) -> TrainingLog:
        context, settings = self.context, self.context.config.train
        # Inherited statistics belong to the supernet's largest network; start from this network's own.
        calibrate(network, self._evaluation_data(), context.compute)
        self._quantize(network)
        # A frozen model with its own classifier alone has nothing to learn.
        epochs = context.fine_tune_epochs if any(p.requires_grad for p in network.parameters()) else 0
        if epochs == 0:
            deadline = None
        loop = TrainingLoop(
            network,
            TrainingData(
                context.dataset.splits.train, context.dataset.preprocessing, settings.batch_size, context.augmentation
            ),
            Schedule(context.config.fine_tune.learning_rate, None if deadline else max(epochs, 1), deadline),
            context.compute,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            seed=context.config.seed + 1,
            checkpoint=weights,
        )
        losses = context.losses(context.config.fine_tune.early_exit_weight)
        if epochs == 0:
            loop.save(LoopState(0, 1.0))
            return TrainingLog((), 1.0)
        density = context.config.fine_tune.weight_density
        pruner = None if density is None else WeightPruner(network, density)
        step = plain_step(network, losses, context.compute, teacher)
        return loop.run(step, task, resume=resume, rule=pruner)

    def _quantize(self, network: EarlyExitNetwork) -> None:
        """From here on the network trains and answers at the bit widths it is priced at, if the settings ask for it."""
        context, data = self.context, self._evaluation_data()
        if context.config.quantizes:
            quantize_network(network, data, context.compute)
        if network.architecture.has_analog_shares:
            make_assigned_(network, context.accelerator, placed_images(data, context.compute), context.config.seed)

    def _without_idle_exits(self, network: EarlyExitNetwork, selection: Selection) -> EarlyExitNetwork:
        """What is left when exits that do not pay for their branches are taken out, as judged on validation samples."""
        context, split = self.context, self.context.dataset.splits.validation

        def price(places: tuple[int, ...]) -> CostReport:
            workload = measured_workload(network.keeping(places), context.accelerator)
            return context.report_cost.estimate(workload, context.accelerator)

        kept = exits_worth_keeping(
            self._logits(network, split),
            split.labels,
            price,
            network.architecture.policy,
            context.constraints,
            calibrate=context.config.search.calibrate_confidences,
            most_product=selection.evaluation.values[_PRODUCT],
        )
        return network.keeping(kept.places)

    def _measure(self, network: EarlyExitNetwork, selection: Selection, folder: Path) -> ChosenNetwork:
        context = self.context
        workload = measured_workload(network, context.accelerator)
        cost = context.report_cost.estimate(workload, context.accelerator)
        # Fine-tuning makes late exits better, which would draw samples to them: what a candidate was picked for is its
        # cost, so the gain goes into accuracy.
        most_product = selection.evaluation.values[_PRODUCT]
        chosen = self._choose(network, cost, most_product)
        validation = chosen.point
        test = self._test(network, validation, cost)
        static_cost = context.report_cost.estimate(workload.static(), context.accelerator)
        static = StaticReference(
            name=f"static {selection.name}",
            architecture=network.architecture.without_exits(),
            accuracy_validation=validation.profile.full_accuracies[-1],
            accuracy_test=test.profile.full_accuracies[-1],
            cost=static_cost,
        )
        return ChosenNetwork(
            rule=selection.name,
            architecture=network.architecture,
            policy=validation.policy,
            validation=validation.profile,
            test=test.profile,
            cost=cost,
            expected_validation=validation.expected,
            expected_test=test.expected,
            static=static,
            bundle=f"chosen/{folder.name}/bundle",
            guarantee=chosen.guarantee,
            weight_density=workload.weight_density if context.accelerator.gains_from_zero_weights else None,
            dropped=tuple(e for e in selection.evaluation.architecture.exits if e not in network.architecture.exits),
        )

    def _choose(self, network: EarlyExitNetwork, cost: CostReport, most_product: float) -> "_Chosen":
        """Thresholds from the whole validation split, with a promise where the settings ask for one."""
        context, config = self.context, self.context.config
        split, choice = context.dataset.splits.validation, network.architecture.policy
        logits, calibrate = self._logits(network, split), config.search.calibrate_confidences
        if config.fine_tune.guarantee is None:
            return _Chosen(
                choose_operating_point(
                    logits,
                    split.labels,
                    cost,
                    choice,
                    context.constraints,
                    calibrate=calibrate,
                    most_product=most_product,
                )
            )
        seen = np.zeros(len(split), dtype=bool)
        seen[split.subset_rows(config.search.validation_samples, config.seed)] = True
        certified = choose_certified_point(
            logits,
            split.labels,
            cost,
            choice,
            parse_target(config.fine_tune.guarantee),
            context.constraints,
            seed=config.seed,
            calibrate=calibrate,
            seen=seen,
        )
        return _Chosen(certified.point, certified.guarantee)

    def _test(self, network: EarlyExitNetwork, chosen: OperatingPoint, cost: CostReport) -> OperatingPoint:
        """The one look of a chosen network at the test split, with thresholds already fixed."""
        test = self.context.dataset.splits.test
        return measure_point(self._logits(network, test), test.labels, chosen.policy, cost)

    def finish_reference(self, folder: Path, task: Task, *, deadline: Deadline | None, resume: bool) -> StaticReference:
        """The one network all reductions are against: the largest backbone of the space, final classifier alone.

        It is fine-tuned like the chosen networks.
        """
        folder.mkdir(parents=True, exist_ok=True)
        record_file = folder / "network.json"
        if resume and record_file.exists():
            return loads(StaticReference, record_file.read_text(), what=f"Record {record_file}", error=RunError)
        network = self._largest_static()
        self._fine_tune(network, folder / WEIGHTS, task, deadline, resume)
        reference = self._judged(network, measured_workload(network, self.context.accelerator), with_test=True)
        write_atomically(record_file, dumps(reference))
        return reference

    def untrained_reference(self) -> StaticReference:
        """The same network as it stands in the supernet, judged on validation: where no time is spent on it."""
        network = self._largest_static()
        calibrate(network, self._evaluation_data(), self.context.compute)
        self._quantize(network)
        workload = planned_workload(network, self.context.accelerator, self.context.config.fine_tune.weight_density)
        judged = self._judged(network, workload, with_test=False)
        return replace(judged, name=f"{judged.name}, as in the supernet")

    def _read_back(self, network: EarlyExitNetwork, weights: Path) -> LoopState:
        """Make an extracted network what it was when it was finished: without converter noise."""
        self._quantize(network)
        state = load_checkpoint(weights, network)
        set_noise_(network, None)
        return state

    def _largest_static(self) -> EarlyExitNetwork:
        return self.context.supernet.extract(self.context.space.reference_architecture())

    def _judged(self, network: EarlyExitNetwork, workload: Workload, *, with_test: bool) -> StaticReference:
        context, splits = self.context, self.context.dataset.splits
        return StaticReference(
            name="largest backbone without exits",
            architecture=network.architecture,
            accuracy_validation=self._final_accuracy(network, splits.validation),
            accuracy_test=self._final_accuracy(network, splits.test) if with_test else None,
            cost=context.report_cost.estimate(workload, context.accelerator),
        )

    def _final_accuracy(self, network: EarlyExitNetwork, split: Split) -> float:
        return float((self._logits(network, split)[-1].argmax(axis=1) == split.labels).mean())

    def _logits(self, network: EarlyExitNetwork, split: Split) -> tuple[NDArray[np.float32], ...]:
        set_noise_(network, torch.Generator().manual_seed(self.context.config.seed))
        return collect_logits(network, split, self.context.dataset.preprocessing, self.context.compute)

    def _evaluation_data(self) -> EvaluationData:
        return evaluation_data(self.context)


def _with_exits_of(record: ChosenNetwork, network: EarlyExitNetwork) -> EarlyExitNetwork:
    """A candidate as it was finished: without the exits that were taken out."""
    early = network.architecture.exits
    if record.candidate.exits != early:
        raise RunError(
            f"The record of network {record.rule!r} must be of the candidate that the search found, but its exits are "
            "others. Remove its folder and go on with --resume."
        )
    return network.keeping([early.index(choice) for choice in record.architecture.exits])


def evaluation_data(context: Context) -> EvaluationData:
    """The parts of training and validation split that candidates are judged on during the search."""
    search, splits, seed = context.config.search, context.dataset.splits, context.config.seed
    return EvaluationData(
        calibration=splits.train.subset(search.calibration_samples, seed),
        validation=splits.validation.subset(search.validation_samples, seed),
        preprocessing=context.dataset.preprocessing,
    )
