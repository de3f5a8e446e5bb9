"""One run from data to bundles: the phases of `offramp search` in order, each resumable."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import HasRemarks
from offramp.algorithms.exact.backbone_solver import BackboneSolver, TableSolver
from offramp.data.mini_batches import to_tensor
from offramp.deadline import Clock
from offramp.deploy.bundle.check_inputs import NUM_CHECKS
from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.bundle.widened_bundle import has_narrow_weights
from offramp.deploy.targets.deployment_target import (
    BUNDLE_TARGET,
    DEPLOYMENT_TARGETS,
    INT8_TARGET,
    DeploymentSource,
    WrittenTarget,
    export_target,
)
from offramp.errors import ConfigError, ConstraintError, Interrupted, OfframpError
from offramp.objectives.evaluation import Evaluation, Evaluator, Status
from offramp.objectives.pareto import ParetoFront, least_violating, pareto_front
from offramp.progress import Reporter
from offramp.records import RunStore
from offramp.records.run_summary import RunSummary, StaticReference, save_summary
from offramp.report.pages.run_page import write_page
from offramp.run.analog_notes import analog_notes
from offramp.run.context import Context
from offramp.run.evaluators.batch_evaluator import BatchEvaluator
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator
from offramp.run.evaluators.recorded_solver import RecordedSolver, SolvedCandidates
from offramp.run.evaluators.remote_evaluation import RemoteEvaluator
from offramp.run.evaluators.remote_solver import RemoteSolver
from offramp.run.finishing.candidate_trials import remaining_front, try_candidates
from offramp.run.finishing.finisher import WEIGHTS, FinishedNetwork, Finisher
from offramp.run.finishing.remote_finishing import RemoteFinishing
from offramp.run.finishing.strategy import FinishingStrategy, InProcessFinishing
from offramp.run.finishing.targets import finish_targets, select
from offramp.run.input_fingerprints import accepted_changes
from offramp.run.larger_budget import SEARCHED, remove_other_networks
from offramp.run.search_algorithm import build_algorithm
from offramp.run.study import FailureLimit, Study
from offramp.run.summarize import summarize
from offramp.run.trackers.tracker import build_tracker
from offramp.run.training_phase import train_supernet
from offramp.run.workers.executors import open_executor, uses_workers
from offramp.settings.execution_config import places_of_work
from offramp.train.trainer import TrainingLog

BUNDLE_FOLDER = "bundle"
"""Folder of the bundle, inside that of a chosen network."""
# Shares of the remaining time at which a phase must have ended.
_TRAINING_END, _SEARCH_END, _FINISHING_END = 0.48, 0.61, 1.0
# With a time budget the clock ends the search, not the default number of evaluations.
_EVALUATIONS_WITHOUT_LIMIT = 100_000


@dataclass(frozen=True)
class RunEnd:
    """The results of a run.

    Attributes:
        front: The Pareto front, with figures of the validation split.
        finished: The finished networks, first the one to recommend.
        summary: The record of the run from which the report is made; None = there is none.
        interrupted: Whether the user stopped the run with Ctrl-C.
        written_targets: The deployment targets that were written beside the bundles.
        failed_targets: One sentence for each deployment target that could not be written for a network.
    """

    front: ParetoFront
    finished: tuple[FinishedNetwork, ...]
    summary: RunSummary | None
    interrupted: bool
    written_targets: tuple[WrittenTarget, ...]
    failed_targets: tuple[str, ...]


class Pipeline:
    """Runs all phases in order: training, search, finishing, export, report.

    Attributes:
        context: The parts of the run.
        config: The settings of the run.
        store: The run folder, which records every result.
        reporter: Shows the progress.
        resume: Whether each phase continues from where the record ends.
        tracker: Logs figures for other programs.
        clock: The time budget.
    """

    def __init__(
        self,
        context: Context,
        store: RunStore,
        reporter: Reporter,
        *,
        resume: bool = False,
        started: float | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            context: The parts of the run.
            store: The run folder, open for writing.
            reporter: Shows the progress.
            resume: Whether each phase continues from where the record ends.
            started: When the time budget began, in seconds of the monotonic clock; None = now.
        """
        self.context = context
        self.config = context.config
        self.store = store
        self.reporter = reporter
        self.resume = resume
        self.tracker = build_tracker(self.config.execution.tracker, store.folder)
        self.clock = Clock(self.config.budget.usable_seconds, started)
        self._remarks: tuple[str, ...] = ()
        self._failed_targets: list[str] = []
        self._written_targets: list[WrittenTarget] = []

    def run(self) -> RunEnd:
        """Run all phases. Ctrl-C during the search or later ends the run with the results so far.

        Returns:
            The results of the run.

        Raises:
            ConfigError: The search algorithm proposed no candidate.
            ConstraintError: No candidate keeps all constraints, or none could be evaluated.
            Interrupted: The user pressed Ctrl-C during the training of the supernet.
            RunError: A recorded checkpoint is missing or changed, too many candidates failed, or a worker failed.
        """
        context = self.context
        self.store.verify_checkpoints()
        for note in analog_notes(context.space, context.supernet, context.accelerator):
            self.reporter.say(note)
        self.store.set("given anew", " ".join(places_of_work(self.config.execution)))
        self.store.set("phase", "training")
        curve = self._train()
        self.store.set("phase", "search")
        evaluations, interrupted = self._search()
        if not evaluations and not interrupted:
            raise ConfigError(f"The search algorithm {self.config.search.algorithm!r} proposed no candidate.")
        self.store.set("phase", "finish")
        front = self._front(evaluations)
        finisher = Finisher(context)
        finished: list[FinishedNetwork] = []
        reference: StaticReference | None = None
        if not interrupted:
            try:
                trials = try_candidates(context, front, self.store, self.reporter)
                self._remarks = (*self._remarks, *trials.notes)
                left = remaining_front(trials, front, len(self.config.fine_tune.picks))
                for result in self._finish_all(finisher, left):
                    if isinstance(result, StaticReference):
                        reference = result
                    else:
                        self._keep(result)
                        finished.append(result)
            except (KeyboardInterrupt, Interrupted):
                interrupted = True
        reference = reference or finisher.untrained_reference()
        summary = self._report(evaluations, front, finished, reference, curve)
        self.tracker.close()
        self.store.set("phase", "stopped" if interrupted else "ended")
        written, failed = tuple(self._written_targets), tuple(self._failed_targets)
        return RunEnd(front, tuple(finished), summary, interrupted, written, failed)

    def _train(self) -> TrainingLog:
        deadline = self.clock.phase(_TRAINING_END)
        with self.reporter.task("Training the supernet") as task:
            log = train_supernet(self.context, self.store.checkpoint, deadline, task, resume=self.resume)
        # From here on every evaluation depends on these weights.
        self.store.record_checkpoint(self.store.checkpoint, len(log.loss))
        for epoch, loss in enumerate(log.loss, start=1):
            self.tracker.log(epoch, {"supernet/loss": loss})
        return log

    def _search(self) -> tuple[tuple[Evaluation, ...], bool]:
        """All evaluations, and whether the user stopped the search."""
        search, budget = self.config.search, self.config.budget
        deadline = self.clock.phase(_SEARCH_END)
        count = budget.evaluations or search.evaluations
        if deadline and not budget.evaluations:
            count = max(search.evaluations, _EVALUATIONS_WITHOUT_LIMIT)
        if self.store.get(SEARCHED) is not None:
            # Networks of this front are being finished: a resumed clock must not change the front.
            return self._evaluations_of(self._study(self.context.evaluator)), False
        with self.reporter.task("Searching") as task, self._open_evaluator() as evaluator:
            study = self._study(evaluator)
            interrupted = study.run(count, search.batch, task, deadline).interrupted
        if study.evaluations and not interrupted:
            self.store.set(SEARCHED, "yes")
        return self._evaluations_of(study), interrupted

    @contextmanager
    def _open_evaluator(self) -> Iterator[Evaluator | BatchEvaluator]:
        """The evaluator of this process, or one that leaves the work to workers."""
        execution = self.config.execution
        if not uses_workers(execution, training=False):
            yield self.context.evaluator
            return
        with open_executor(self.context, self.store.folder, training=False) as executor:
            yield RemoteEvaluator(executor, execution.evaluation_timeout_s)

    def _evaluations_of(self, study: Study) -> tuple[Evaluation, ...]:
        """The evaluations of a study; the remarks of its algorithm are shown and kept for the report."""
        if isinstance(study.algorithm, HasRemarks):
            self._remarks = study.algorithm.remarks
        for remark in self._remarks:
            self.reporter.say(remark)
        return study.evaluations

    def _study(self, evaluator: Evaluator | BatchEvaluator) -> Study:
        """A study that continues from the end of the record."""
        context, limit = self.context, FailureLimit(self.config.execution.max_failures)
        cached = CachedLogitsEvaluator(context.evaluator, context.space)
        solver: BackboneSolver = TableSolver(cached, context.space, context.objectives, context.constraints)
        if isinstance(evaluator, RemoteEvaluator):
            solver = RemoteSolver(evaluator.executor, evaluator.timeout_s)
        solver = RecordedSolver(solver, self.store)
        algorithm = build_algorithm(context, solver)
        candidates = SolvedCandidates(solver, evaluator)
        study = Study(algorithm, candidates, self.store, failure_limit=limit, on_evaluation=self._track_evaluation)
        study.replay()
        return study

    def _track_evaluation(self, number: int, evaluation: Evaluation) -> None:
        values = {f"search/{name}": value for name, value in evaluation.values.items()}
        self.tracker.log(number, {**values, "search/failed": float(evaluation.status is Status.FAILED)})

    def _front(self, evaluations: Sequence[Evaluation]) -> ParetoFront:
        front = pareto_front(evaluations, self.context.objectives)
        if front.evaluations or not evaluations:
            return front
        nearest = least_violating(evaluations)
        if nearest is None:
            reasons = sorted({e.error or "" for e in evaluations})
            raise ConstraintError(f"None of {len(evaluations)} candidates could be evaluated: {'; '.join(reasons[:3])}")
        values = ", ".join(f"{c.metric} = {nearest.values[c.metric]:.6g}" for c in self.context.constraints)
        bounds = ", ".join(f"{c.metric}{c.relation}{c.bound:g}" for c in self.context.constraints)
        raise ConstraintError(
            f"None of {len(evaluations)} candidates keeps all constraints ({bounds}). The nearest one has {values}. "
            f"{_too_large(nearest)}Loosen a constraint, choose another backbone, or search longer (--budget)."
        )

    def _finish_all(self, finisher: Finisher, front: ParetoFront) -> Iterator[FinishedNetwork | StaticReference]:
        """The finished networks and the reference, as they become available."""
        settings = self.config.fine_tune
        targets = finish_targets(select(front, settings.picks), settings, self.store.network_folder)
        if self.resume:
            remove_other_networks(self.store, targets)
        return self._finishing(finisher).finish_all(targets, self.clock.phase(_FINISHING_END))

    def _finishing(self, finisher: Finisher) -> FinishingStrategy:
        execution = self.config.execution
        if not uses_workers(execution, training=True):
            return InProcessFinishing(finisher, self.reporter, resume=self.resume)
        return RemoteFinishing(
            partial(open_executor, self.context, self.store.folder, training=True),
            finisher,
            self.reporter,
            shared_folder=execution.cluster is None,
            resume=self.resume,
        )

    def _keep(self, result: FinishedNetwork) -> None:
        """Record a finished network, export it, and log its training."""
        folder = self.store.network_folder(result.record.rule)
        self.store.record_checkpoint(folder / WEIGHTS, len(result.log.loss))
        self._export(result, folder)
        for epoch, loss in enumerate(result.log.loss, start=1):
            self.tracker.log(epoch, {f"{result.record.rule}/loss": loss})

    def _export(self, result: FinishedNetwork, folder: Path) -> None:
        """Write the bundle of a finished network, and the other targets of the settings, each in a folder of its own.

        A resumed run keeps the folders that are there: each appeared as a whole, after it was compared. It tries the
        missing ones again.
        """
        bundle, dataset, record = folder / BUNDLE_FOLDER, self.context.dataset, result.record
        if self.resume and bundle.exists():
            missing = [name for name in self._targets_beside(bundle) if not (folder / name).exists()]
            if not missing:
                self._note_targets(record.rule, bundle)
                return
        split = dataset.splits.validation.subset(NUM_CHECKS, self.config.seed)
        checks = to_tensor(split.images, dataset.preprocessing).numpy()
        with self.reporter.task(f"Exporting {record.rule}") as task:
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
                    name=f"{dataset.name}-{record.rule}",
                    seed=self.config.seed,
                    input_kind=dataset.input_kind,
                    long_sounds=self.config.data.long_sounds,
                    overwrite=True,
                )
            others = self._targets_beside(bundle)
            for index, name in enumerate(others, start=1):
                task.update((1 + index) / (2 + len(others)), name)
                if not (self.resume and (folder / name).exists()):
                    self._export_target(name, result, folder, checks)
        self._note_targets(record.rule, bundle)

    def _targets_beside(self, bundle: Path) -> list[str]:
        """The targets to write beside a bundle: those of the settings, and a copy for runtimes without narrow types."""
        others = [name for name in self.config.deploy.targets if name != BUNDLE_TARGET]
        narrow = has_narrow_weights(load_manifest(bundle))
        return [*others, INT8_TARGET] if narrow and INT8_TARGET not in others else others

    def _note_targets(self, rule: str, bundle: Path) -> None:
        for name in self._targets_beside(bundle):
            if (bundle.parent / name).exists():
                self._written_targets.append(WrittenTarget(name, rule, bundle.parent / name))

    def _export_target(self, name: str, result: FinishedNetwork, folder: Path, checks: NDArray[np.float32]) -> None:
        """Write one target beside the bundle; a failure is shown and recorded, and the run goes on."""
        source = DeploymentSource(folder / BUNDLE_FOLDER, result.network)
        try:
            export_target(DEPLOYMENT_TARGETS.get(name), source, folder / name, checks=checks, overwrite=True)
        except Interrupted:
            raise
        except OfframpError as exc:
            failure = (
                f"Deployment target {name!r} was not written for network {result.record.rule!r}: "
                f"{str(exc).rstrip('.')}. All other results are kept; resume the run to try this target again."
            )
            self._failed_targets.append(failure)
            self.reporter.say(failure)

    def _report(
        self,
        evaluations: Sequence[Evaluation],
        front: ParetoFront,
        finished: Sequence[FinishedNetwork],
        reference: StaticReference,
        curve: TrainingLog,
    ) -> RunSummary:
        with self.reporter.task("Writing the report") as task:
            task.update(0.1)
            summary = summarize(
                self.context,
                evaluations,
                front,
                finished,
                reference,
                curve,
                duration_s=self.clock.elapsed_s(),
                remarks=(
                    *(f"The run went on with changes: {changes}." for changes in accepted_changes(self.store)),
                    *self._remarks,
                    *self._failed_targets,
                ),
                statics=self.store.static_candidates(),
            )
            save_summary(summary, self.store.summary)
            write_page(summary, self.store.report)
        return summary


def _too_large(evaluation: Evaluation) -> str:
    """What does not fit the accelerator's memories, and how to allow it; empty where all fits."""
    needs = evaluation.details.cost.memory if evaluation.details is not None else ()
    sentences = [need.sentence for need in needs if not need.fits]
    return " ".join([*sentences, "search.fit_memory=false allows that.", ""]) if sentences else ""
