"""One run from data to bundles: the phases of `offramp search`, each of which can be gone on with."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from offramp.algorithms.algorithm import HasRemarks
from offramp.algorithms.exact.exit_table import UsesExitTables
from offramp.data.mini_batches import to_tensor
from offramp.deadline import Clock, Deadline
from offramp.deploy.bundle.check_inputs import NUM_CHECKS
from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.deploy.targets.deployment_target import (
    BUNDLE_TARGET,
    DEPLOYMENT_TARGETS,
    DeploymentSource,
    export_target,
)
from offramp.distributed.executor import Executor
from offramp.errors import ConfigError, ConstraintError, Interrupted
from offramp.jsonio import dumps
from offramp.nn.supernet.channel_sorting import channel_groups, sort_channels_
from offramp.objectives.evaluation import Evaluation, Evaluator, Status
from offramp.objectives.pareto import ParetoFront, least_violating, pareto_front
from offramp.progress import Reporter
from offramp.records import RunStore
from offramp.records.run_summary import RunSummary, StaticReference, save_summary
from offramp.report.pages.run_page import write_page
from offramp.run.analog_networks import analog_notes
from offramp.run.context import Context
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator
from offramp.run.evaluators.remote_evaluation import RemoteEvaluator
from offramp.run.factory import build_algorithm
from offramp.run.finishing.finish import WEIGHTS, FinishedNetwork, Finisher, Selection, select
from offramp.run.study import BatchEvaluator, FailureLimit, Study
from offramp.run.summarize import summarize
from offramp.run.trackers.tracker import build_tracker
from offramp.run.workers.search_workers import Target, finish_elsewhere, workers_for
from offramp.run.workers.worker_jobs import supernet_evaluator
from offramp.train.supernet_training import sandwich_step
from offramp.train.trainer import Schedule, TrainingData, TrainingLog, TrainingLoop, WarmUp

# Testing, export and report come after the last phase: this share of a wall-time budget is kept for them, and at least
# these seconds.
_CLOSING_SHARE, _CLOSING_S = 0.07, 20.0
# Shares of the remaining time at which a phase must have ended.
_REFERENCE = "reference"
BUNDLE_FOLDER = "bundle"
"""Folder of the bundle, inside that of a chosen network."""
_TRAINING_END, _SEARCH_END, _FINE_TUNING_END = 0.48, 0.61, 1.0


@dataclass(frozen=True)
class RunEnd:
    """What a run yielded: the front, the finished networks (first the one to recommend), and its record."""

    front: ParetoFront
    finished: tuple[FinishedNetwork, ...]
    summary: RunSummary | None
    interrupted: bool


class Pipeline:
    """Runs the phases in order; with ``resume`` each goes on from where it was."""

    def __init__(
        self,
        context: Context,
        store: RunStore,
        reporter: Reporter,
        *,
        resume: bool = False,
        started: float | None = None,
    ) -> None:
        self.context = context
        self.config = context.config
        self.store = store
        self.reporter = reporter
        self.resume = resume
        self.tracker = build_tracker(self.config.execution.tracker, store.folder)
        self.clock = Clock(_usable_seconds(self.config.budget.seconds), started)
        self._remarks: tuple[str, ...] = ()

    def run(self) -> RunEnd:
        """Train, search, finish, export, report. Ctrl-C ends it with what there is."""
        context = self.context
        self.store.check_checkpoints()
        for note in analog_notes(context):
            self.reporter.say(note)
        self.store.set("execution", dumps(self.config.execution))
        self.store.set("phase", "training")
        curve = self._train(context)
        self.store.set("phase", "search")
        evaluations, interrupted = self._search(context)
        if not evaluations and not interrupted:
            raise ConfigError(
                f"The budget ({self.config.budget.seconds:g} s) must leave time to evaluate candidates; it was over "
                "before the first one. Give more (--budget)."
            )
        self.store.set("phase", "finish")
        front = self._front(context, evaluations)
        finisher = Finisher(context)
        finished: list[FinishedNetwork] = []
        reference: StaticReference | None = None
        if not interrupted:
            try:
                reference = self._finish(context, finisher, front, finished)
            except (KeyboardInterrupt, Interrupted):
                interrupted = True
        reference = reference or finisher.untrained_reference()
        summary = self._report(context, evaluations, front, finished, reference, curve)
        self.tracker.close()
        self.store.set("phase", "stopped" if interrupted else "ended")
        return RunEnd(front, tuple(finished), summary, interrupted)

    def _train(self, context: Context) -> TrainingLog:
        settings, dataset = self.config.train, context.dataset
        step = sandwich_step(
            context.supernet,
            context.space,
            context.losses(),
            context.compute,
            random_subnets=settings.random_subnets,
        )
        deadline = self.clock.phase(_TRAINING_END)
        loop = TrainingLoop(
            context.supernet,
            TrainingData(dataset.splits.train, dataset.preprocessing, settings.batch_size, context.augmentation),
            Schedule(settings.learning_rate, None if deadline else context.epochs, deadline),
            context.compute,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            seed=self.config.seed,
            checkpoint=self.store.checkpoint,
        )
        with self.reporter.task("Training the supernet") as task:
            log = loop.run(step, task, resume=self.resume, warm_up=self._pruning(context))
        # From here on every evaluation rests on these weights.
        self.store.note_checkpoint(self.store.checkpoint, len(log.loss))
        for epoch, loss in enumerate(log.loss, start=1):
            self.tracker.log(epoch, {"supernet/loss": loss})
        return log

    def _pruning(self, context: Context) -> WarmUp | None:
        """Full widths first, then channels by importance; None where no width can be chosen or none is to be sorted."""
        settings, supernet = self.config.train, context.supernet
        if not (settings.sort_channels and context.space.has_elastic_widths and channel_groups(supernet)):
            return None
        step = sandwich_step(
            supernet,
            context.space,
            context.losses(),
            context.compute,
            random_subnets=settings.random_subnets,
            full_widths=True,
        )
        return WarmUp(settings.full_width_share, step, partial(sort_channels_, supernet))

    def _search(self, context: Context) -> tuple[tuple[Evaluation, ...], bool]:
        search = self.config.search
        deadline = self.clock.phase(_SEARCH_END)
        count = self.config.budget.evaluations or search.evaluations
        if deadline and not self.config.budget.evaluations:
            # With a wall-time budget the clock decides, not the default number of evaluations.
            count = max(search.evaluations, 100_000)
        if self.store.get("searched") is not None:
            # What was picked from this front is being finished: a resumed clock must not change the front.
            return self._ended(self._study(context, supernet_evaluator(context))), False
        with self.reporter.task("Searching") as task, workers_for(context, self.store.folder, training=False) as hired:
            evaluator = supernet_evaluator(context) if hired is None else self._remote(hired)
            study = self._study(context, evaluator)
            interrupted = study.run(count, search.batch, task, deadline).interrupted
        if study.evaluations and not interrupted:
            self.store.set("searched", "yes")
        return self._ended(study), interrupted

    def _ended(self, study: Study) -> tuple[Evaluation, ...]:
        """What a study found, after what its algorithm has to say."""
        if isinstance(study.algorithm, HasRemarks):
            self._remarks = study.algorithm.remarks
        for remark in self._remarks:
            self.reporter.say(remark)
        return study.evaluations

    def _remote(self, workers: Executor) -> RemoteEvaluator:
        return RemoteEvaluator(workers, self.config.execution.evaluation_timeout_s)

    def _study(self, context: Context, evaluator: Evaluator | BatchEvaluator) -> Study:
        """A study that stands where the record ends."""
        limit = FailureLimit(self.config.execution.max_failures)
        cached = CachedLogitsEvaluator(supernet_evaluator(context), context.space)
        algorithm = build_algorithm(context, cached)
        if isinstance(algorithm, UsesExitTables) and not isinstance(evaluator, RemoteEvaluator):
            # Attaching all exits to a backbone pays where many candidates share it; the figures are the same.
            evaluator = cached
        study = Study(algorithm, evaluator, self.store, failure_limit=limit, on_evaluation=self._track_evaluation)
        study.replay()
        return study

    def _track_evaluation(self, number: int, evaluation: Evaluation) -> None:
        values = {f"search/{name}": value for name, value in evaluation.values.items()}
        self.tracker.log(number, {**values, "search/failed": float(evaluation.status is Status.FAILED)})

    def _front(self, context: Context, evaluations: Sequence[Evaluation]) -> ParetoFront:
        front = pareto_front(evaluations, context.objectives)
        if front.evaluations or not evaluations:
            return front
        nearest = least_violating(evaluations)
        if nearest is None:
            reasons = sorted({e.error or "" for e in evaluations})
            raise ConstraintError(f"None of {len(evaluations)} candidates could be evaluated: {'; '.join(reasons[:3])}")
        values = ", ".join(f"{c.metric} = {nearest.values[c.metric]:.6g}" for c in context.constraints)
        raise ConstraintError(
            f"None of {len(evaluations)} candidates keeps all constraints "
            f"({', '.join(self.config.search.constraints)}). "
            f"The nearest one has {values}. Loosen a constraint, choose another backbone, or search longer (--budget)."
        )

    def _finish(
        self, context: Context, finisher: Finisher, front: ParetoFront, finished: list[FinishedNetwork]
    ) -> StaticReference:
        """Finish the picked networks one by one, so that those done before a stop are kept; then the reference.

        A reference that is to teach them comes first.
        """
        selections = select(front, self.config.fine_tune.picks)
        teacher = self.store.network_folder(_REFERENCE) if self.config.fine_tune.teacher == "reference" else None
        # The first pick is the one to recommend: it gets twice the time of the others.
        shares = [2.0, *[1.0] * len(selections)]
        whole = self.clock.phase(_FINE_TUNING_END)
        resume = self._finish_elsewhere(context, selections, whole, teacher) or self.resume
        spent, reference = 0.0, None
        if teacher is not None:
            spent = 1.0
            reference = self._finish_reference(finisher, _part(whole, spent / sum(shares)), resume)
        for share, selection in zip(shares, selections, strict=False):
            spent += share
            deadline = _part(whole, spent / sum(shares))
            folder = self.store.network_folder(selection.name)
            with self.reporter.task(f"Fine-tuning {selection.name}") as task:
                result = finisher.finish(selection, folder, task, deadline=deadline, resume=resume, teacher=teacher)
            self.store.note_checkpoint(folder / WEIGHTS, len(result.log.loss))
            self._export(context, selection, result, folder)
            for epoch, loss in enumerate(result.log.loss, start=1):
                self.tracker.log(epoch, {f"{result.record.rule}/loss": loss})
            finished.append(result)
        if not self.config.fine_tune.reference:
            return finisher.untrained_reference()
        return reference or self._finish_reference(finisher, whole, resume)

    def _finish_reference(self, finisher: Finisher, deadline: Deadline | None, resume: bool) -> StaticReference:
        with self.reporter.task("Fine-tuning the reference") as task:
            folder = self.store.network_folder(_REFERENCE)
            return finisher.finish_reference(folder, task, deadline=deadline, resume=resume)

    def _finish_elsewhere(
        self, context: Context, selections: Sequence[Selection], whole: Deadline | None, teacher: Path | None
    ) -> bool:
        """Let workers fine-tune, where there are any; says whether the folders hold what they made."""
        targets = [Target(selection, self.store.network_folder(selection.name), teacher) for selection in selections]
        reference = [Target(None, self.store.network_folder(_REFERENCE))] if self.config.fine_tune.reference else []
        rounds = [targets + reference] if teacher is None else [reference, targets]
        with workers_for(context, self.store.folder, training=True) as workers:
            if workers is None:
                return False
            for index, group in enumerate(rounds):
                end = _part(whole, (index + 1) / len(rounds))
                with self.reporter.task(f"Fine-tuning {len(group)} networks") as task:
                    finish_elsewhere(
                        workers,
                        group,
                        None if end is None else max(0.0, end.end - time.monotonic()),
                        task,
                        shared_folder=self.config.execution.cluster is None,
                        resume=self.resume,
                    )
        return True

    def _export(self, context: Context, selection: Selection, result: FinishedNetwork, folder: Path) -> None:
        """Write the bundle of a finished network, and the other targets of the settings, each in a folder of its own.

        A resumed run keeps the folders that are there: each appeared as a whole, after it was compared.
        """
        bundle, dataset, record = folder / BUNDLE_FOLDER, context.dataset, result.record
        others = [name for name in self.config.deploy.targets if name != BUNDLE_TARGET]
        wanted = [bundle, *(folder / name for name in others)]
        if self.resume and all(path.exists() for path in wanted):
            return
        split = dataset.splits.validation.subset(NUM_CHECKS, self.config.seed)
        checks = to_tensor(split.images, dataset.preprocessing).numpy()
        with self.reporter.task(f"Exporting {selection.name}") as task:
            task.update(0.1, "ONNX")
            result.network.to("cpu").eval()
            if not (self.resume and bundle.exists()):
                export_bundle(
                    result.network,
                    bundle,
                    policy=record.policy,
                    class_names=dataset.class_names,
                    mean=dataset.preprocessing.mean,
                    std=dataset.preprocessing.std,
                    cost=record.cost,
                    profile=record.validation,
                    guarantee=record.guarantee,
                    licence=self.config.deploy.licence,
                    checks=checks,
                    name=f"{dataset.name}-{selection.name}",
                    seed=self.config.seed,
                    input_kind=dataset.input_kind,
                    overwrite=True,
                )
            for index, name in enumerate(others, start=1):
                task.update((1 + index) / (2 + len(others)), name)
                if not (self.resume and (folder / name).exists()):
                    source = DeploymentSource(bundle, result.network)
                    export_target(DEPLOYMENT_TARGETS.get(name), source, folder / name, checks=checks, overwrite=True)

    def _report(
        self,
        context: Context,
        evaluations: Sequence[Evaluation],
        front: ParetoFront,
        finished: Sequence[FinishedNetwork],
        reference: StaticReference,
        curve: TrainingLog,
    ) -> RunSummary:
        with self.reporter.task("Writing the report") as task:
            task.update(0.1)
            summary = summarize(
                context,
                evaluations,
                front,
                finished,
                reference,
                curve,
                duration_s=self.clock.elapsed_s(),
                remarks=self._remarks,
            )
            save_summary(summary, self.store.summary)
            write_page(summary, self.store.report)
        return summary


def _usable_seconds(budget_s: float | None) -> float | None:
    """What a wall-time budget leaves for the phases."""
    return None if budget_s is None else max(0.0, min(budget_s * (1 - _CLOSING_SHARE), budget_s - _CLOSING_S))


def _part(whole: Deadline | None, share: float) -> Deadline | None:
    """The phase from now to a share of a longer one."""
    if whole is None:
        return None
    return Deadline(time.monotonic(), whole.start + (whole.end - whole.start) * share)
