"""Finishing of a picked candidate: fine-tuning, thresholds from validation samples, one measurement on test samples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from offramp.cost.report import CostReport
from offramp.deadline import Deadline
from offramp.errors import RunError
from offramp.files.safe_files import read_file, write_atomically
from offramp.jsonio import dumps, loads
from offramp.nn.analog.make_analog import set_noise_
from offramp.nn.network import EarlyExitNetwork
from offramp.objectives.picking import PRODUCT
from offramp.progress import Task
from offramp.records.run_summary import ChosenNetwork, StaticReference
from offramp.run.context import Context
from offramp.run.evaluators.operating_point import measure_point
from offramp.run.finishing.exit_dropping import exits_worth_keeping
from offramp.run.finishing.exits_alone import cut_at_each_exit, measure_exits_alone
from offramp.run.finishing.fine_tuning import fine_tune, make_priced_
from offramp.run.finishing.network_record import final_answers, logits_of, network_record, recalls_of
from offramp.run.finishing.point_choice import choose_point
from offramp.run.finishing.targets import FinishTarget, Selection
from offramp.run.finishing.trials.exit_weight_choice import with_best_exit_weight
from offramp.run.finishing.used_exits import (
    ChosenPoint,
    Logits,
    SettledNetwork,
    as_finished,
    dropped_exits,
    end_at_dominating_exit,
    settle,
)
from offramp.run.network_preparation import calibrate_
from offramp.run.workloads import measured_workload, planned_workload
from offramp.train.checkpoint import LoopState, load_checkpoint
from offramp.train.trainer import TrainingLog
from offramp.workload.graph import Workload

WEIGHTS, RECORD = "weights.safetensors", "network.json"
"""Files in the folder of a finished network. The record is written last: where it exists, all is complete."""
Record = TypeVar("Record", ChosenNetwork, StaticReference)


@dataclass(frozen=True)
class FinishedNetwork:
    """A network that is ready to deploy.

    Attributes:
        network: The fine-tuned network.
        record: Its architecture, thresholds, accuracies and costs.
        log: The losses of its fine-tuning.
        exits_alone: Its exits alone, as static networks, those of `ChosenNetwork.exits_alone` in that order.
    """

    network: EarlyExitNetwork
    record: ChosenNetwork
    log: TrainingLog
    exits_alone: tuple["FinishedNetwork", ...] = ()


class Finisher:
    """Makes picked candidates ready to deploy. Each network has a folder with its weights and record."""

    def __init__(self, context: Context) -> None:
        """Prepare the finisher.

        Args:
            context: The parts of the run, with a trained supernet.
        """
        self.context = context

    def finish_target(
        self, target: FinishTarget, task: Task, *, deadline: Deadline | None, resume: bool
    ) -> FinishedNetwork | StaticReference:
        """Finish a picked candidate or the reference.

        Args:
            target: What to finish.
            task: Receives the progress.
            deadline: When fine-tuning must end; None = after the number of epochs of the settings.
            resume: Whether a result or a checkpoint in the folder is used.

        Returns:
            A StaticReference for the reference, a FinishedNetwork for a candidate.
        """
        if target.selection is None:
            return self.finish_reference(target.folder, task, deadline=deadline, resume=resume)
        return self.finish(
            target.selection, target.folder, task, deadline=deadline, resume=resume, teacher=target.teacher
        )

    def read_target(self, target: FinishTarget) -> FinishedNetwork | StaticReference:
        """Read what `finish_target` left in the folder of a target, in this process or another.

        Args:
            target: What was finished.

        Returns:
            The result, as `finish_target` returned it.

        Raises:
            RunError: The record is damaged or belongs to another candidate.
        """
        if target.selection is None:
            return self._read_reference(target.folder)
        return self._read_network(target.selection, target.folder)

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
        """Fine-tune a candidate, choose its thresholds on validation samples, and measure it once on test samples.

        Args:
            selection: The candidate.
            folder: The folder of its weights and record.
            task: Receives the progress.
            deadline: When fine-tuning must end; None = after the number of epochs of the settings.
            resume: Whether a finished network or a checkpoint in the folder is used.
            teacher: The folder of the finished reference, from which every exit learns too; None = no such teacher.

        Returns:
            The network with its record.

        Raises:
            Interrupted: The user pressed Ctrl-C; the last whole epoch is kept.
            RunError: The record in the folder is damaged or belongs to another candidate.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if resume and (folder / RECORD).exists():
            return self._read_network(selection, folder)
        network, weights = self.context.supernet.extract(selection.evaluation.architecture), folder / WEIGHTS
        reference = None
        if teacher is not None:
            reference = self._largest_static()
            self._load_finished(reference, teacher / WEIGHTS)
        tuned = with_best_exit_weight(self.context, selection.evaluation, task)
        log = fine_tune(tuned, network, weights, task, deadline, resume=resume, teacher=reference)
        trained = network
        if self.context.config.fine_tune.drops_exits and network.num_exits > 1:
            network = self._without_idle_exits(network, selection)
        settled = self._settled(network, selection)
        network, record = settled.network, self._measure(settled, selection, folder)
        record = replace(
            record,
            early_exit_weight=tuned.config.fine_tune.early_exit_weight,
            exits_alone=measure_exits_alone(self.context, trained, record),
        )
        # From here on, what is exported and run computes without converter noise, the same every time.
        set_noise_(trained, None)
        write_atomically(folder / RECORD, dumps(record))
        return FinishedNetwork(network, record, log, self._networks_of_exits(trained, record))

    def _read_network(self, selection: Selection, folder: Path) -> FinishedNetwork:
        trained = self.context.supernet.extract(selection.evaluation.architecture)
        state = self._load_finished(trained, folder / WEIGHTS)
        record = _read_record(ChosenNetwork, folder)
        self.context.compute.place(trained).eval()
        network = as_finished(record, trained, self.context.space.max_depths)
        log = TrainingLog(state.loss, state.progress)
        return FinishedNetwork(network, record, log, self._networks_of_exits(trained, record))

    def _without_idle_exits(self, network: EarlyExitNetwork, selection: Selection) -> EarlyExitNetwork:
        """The network without the exits whose branches cost more than they save on validation samples."""
        context, split = self.context, self.context.dataset.splits.validation

        def price(places: tuple[int, ...]) -> CostReport:
            workload = measured_workload(network.with_exits(places), context.accelerator)
            return context.report_cost.estimate(workload, context.accelerator)

        every = logits_of(context, network, split)

        def answers(places: tuple[int, ...]) -> Sequence[NDArray[np.floating]]:
            if len(network.links):
                # An exit adds what the exit before found, which is another one now.
                return logits_of(context, network.with_exits(places), split)
            return [*(every[place] for place in places), every[-1]]

        kept = exits_worth_keeping(
            network.num_exits - 1,
            answers,
            split.labels,
            price,
            network.architecture.policy,
            context.constraints,
            calibrate=context.config.search.calibrate_confidences,
            by_class=context.config.search.class_thresholds,
            most_product=selection.evaluation.values[PRODUCT],
            measures=context.measures,
        )
        return network.with_exits(kept.places)

    def _settled(self, network: EarlyExitNetwork, selection: Selection) -> SettledNetwork:
        """The network with thresholds from the whole validation split, without what no sample uses."""
        context, split = self.context, self.context.dataset.splits.validation
        seen = np.zeros(len(split), dtype=bool)
        seen[split.subset_rows(context.config.search.validation_samples, context.config.seed)] = True

        def price(part: EarlyExitNetwork) -> CostReport:
            workload = measured_workload(part, context.accelerator)
            return context.report_cost.estimate(workload, context.accelerator)

        def choose(logits: Logits, cost: CostReport) -> ChosenPoint:
            return choose_point(
                context.config,
                logits,
                split.labels,
                cost,
                network.architecture.policy,
                constraints=context.constraints,
                measures=context.measures,
                # Fine-tuning improves late exits, which would draw samples to them and raise the cost. The candidate
                # was picked for its cost, so that the gain goes into accuracy.
                most_product=selection.evaluation.values[PRODUCT],
                seen=seen,
            )

        def answers(part: EarlyExitNetwork) -> Logits:
            return logits_of(context, part, split)

        depths = context.space.max_depths
        settled = settle(
            network,
            answers=answers,
            price=price,
            choose=choose,
            measure=lambda logits, cost, policy: measure_point(logits, split.labels, policy, cost, context.measures),
            max_depths=depths,
        )
        quality = context.measures.chosen_by
        return end_at_dominating_exit(
            settled, answers=answers, price=price, choose=choose, quality=quality, max_depths=depths
        )

    def _measure(self, settled: SettledNetwork, selection: Selection, folder: Path) -> ChosenNetwork:
        # The only measurement of a network on the test split, with thresholds already fixed.
        logits = logits_of(self.context, settled.network, self.context.dataset.splits.test)
        record = network_record(self.context, settled, selection.name, logits)
        return replace(
            record,
            bundle=f"chosen/{folder.name}/bundle",
            dropped=dropped_exits(selection.evaluation.architecture, record.architecture),
            searched=replace(selection.evaluation, statics=()),
        )

    def _networks_of_exits(self, trained: EarlyExitNetwork, record: ChosenNetwork) -> tuple[FinishedNetwork, ...]:
        """The networks of `ChosenNetwork.exits_alone`. They were trained as parts of the whole network."""
        parts = {item.architecture: item for item in cut_at_each_exit(trained, self.context.space.max_depths)}
        return tuple(
            FinishedNetwork(parts[item.architecture].eval(), item, TrainingLog((), 1.0))
            for item in record.exits_alone
            if item.architecture in parts
        )

    def finish_reference(self, folder: Path, task: Task, *, deadline: Deadline | None, resume: bool) -> StaticReference:
        """Fine-tune the largest backbone of the space without early exits, to which all reductions refer.

        Args:
            folder: The folder of its weights and record.
            task: Receives the progress.
            deadline: When fine-tuning must end; None = after the number of epochs of the settings.
            resume: Whether a finished reference or a checkpoint in the folder is used.

        Returns:
            The record of the reference.

        Raises:
            Interrupted: The user pressed Ctrl-C; the last whole epoch is kept.
            RunError: The record in the folder is damaged.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if resume and (folder / RECORD).exists():
            return self._read_reference(folder)
        network = self._largest_static()
        fine_tune(self.context, network, folder / WEIGHTS, task, deadline, resume=resume)
        reference = self._judged(network, measured_workload(network, self.context.accelerator), with_test=True)
        write_atomically(folder / RECORD, dumps(reference))
        return reference

    def _read_reference(self, folder: Path) -> StaticReference:
        return _read_record(StaticReference, folder)

    def untrained_reference(self) -> StaticReference:
        """The reference without fine-tuning, with the supernet's weights, judged on validation samples alone."""
        network = self._largest_static()
        calibrate_(network, self.context.evaluator.data, self.context.compute)
        make_priced_(self.context, network)
        workload = planned_workload(network, self.context.accelerator, self.context.config.fine_tune.weight_density)
        judged = self._judged(network, workload, with_test=False)
        return replace(judged, name=f"{judged.name}, as in the supernet")

    def _load_finished(self, network: EarlyExitNetwork, weights: Path) -> LoopState:
        """Load the weights of a finished network into an extracted one, without converter noise."""
        make_priced_(self.context, network)
        state = load_checkpoint(weights, network)
        set_noise_(network, None)
        return state

    def _largest_static(self) -> EarlyExitNetwork:
        return self.context.supernet.extract(self.context.space.reference_architecture())

    def _judged(self, network: EarlyExitNetwork, workload: Workload, *, with_test: bool) -> StaticReference:
        context, splits = self.context, self.context.dataset.splits
        test = final_answers(self.context, network, splits.test) if with_test else None
        return StaticReference(
            name="largest backbone without exits",
            architecture=network.architecture,
            accuracy_validation=final_answers(self.context, network, splits.validation).accuracy,
            accuracy_test=None if test is None else test.accuracy,
            recalls_test=() if test is None else recalls_of(test),
            cost=context.report_cost.estimate(workload, context.accelerator),
        )


def _read_record(kind: type[Record], folder: Path) -> Record:
    file = folder / RECORD
    return loads(kind, read_file(file, follow_links=False), what=f"Record {file}", error=RunError)
