"""One run from data to bundles: the phases of `offramp search` in order, each resumable."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import HasRemarks
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
from offramp.errors import ConfigError, Interrupted, OfframpError
from offramp.objectives.evaluation import Evaluation, Evaluator, Status
from offramp.objectives.fronts import Fronts
from offramp.progress import Reporter
from offramp.records import RunStore
from offramp.records.run_summary import RunSummary, StaticReference, save_summary
from offramp.report.pages.run_page import write_page
from offramp.run.analog_notes import analog_notes
from offramp.run.context import Context
from offramp.run.evaluators.batch_evaluator import BatchEvaluator
from offramp.run.evaluators.remote_evaluation import RemoteEvaluator
from offramp.run.finishing.finished_groups import FinishedGroups, group_finished, wins
from offramp.run.finishing.finisher import WEIGHTS, FinishedNetwork, Finisher
from offramp.run.finishing.matches import SearchedMatches, is_static_name, searched_matches
from offramp.run.finishing.remote_finishing import RemoteFinishing
from offramp.run.finishing.strategy import FinishingStrategy, InProcessFinishing
from offramp.run.finishing.targets import Selection, finish_targets
from offramp.run.finishing.trials.tried_selections import select_after_trials
from offramp.run.input_fingerprints import accepted_changes
from offramp.run.larger_budget import SEARCHED, remove_other_networks
from offramp.run.search_fronts import fronts_of
from offramp.run.study import Study
from offramp.run.study_factory import build_study
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
class _Searched:
    """What a search found: evaluations in the order of the proposals, and those of all static networks."""

    evaluations: tuple[Evaluation, ...]
    statics: tuple[Evaluation, ...]
    interrupted: bool


@dataclass(frozen=True)
class RunEnd:
    """The results of a run.

    Attributes:
        fronts: The Pareto fronts of early-exit and of static networks, with figures of the validation split.
        finished: The finished networks that were picked from the fronts, in the order of the rules.
        statics: The finished static networks that they are compared with.
        summary: The record of the run from which the report is made; None = there is none.
        interrupted: Whether the user stopped the run with Ctrl-C.
        written_targets: The deployment targets that were written beside the bundles.
        failed_targets: One sentence for each deployment target that could not be written for a network.
    """

    fronts: Fronts
    finished: tuple[FinishedNetwork, ...]
    statics: tuple[FinishedNetwork, ...]
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
        searched = self._search()
        evaluations, interrupted = searched.evaluations, searched.interrupted
        if not evaluations and not interrupted:
            raise ConfigError(f"The search algorithm {self.config.search.algorithm!r} proposed no candidate.")
        self.store.set("phase", "finish")
        fronts = fronts_of(evaluations, searched.statics, context.objectives, context.constraints)
        finisher = Finisher(context)
        finished: list[FinishedNetwork] = []
        reference: StaticReference | None = None
        selections: tuple[Selection, ...] = ()
        matches: list[SearchedMatches] = []
        if not interrupted:
            try:
                tried = select_after_trials(context, fronts, self.store, self.reporter)
                selections, self._remarks = tried.selections, (*self._remarks, *tried.notes)
                matches = [
                    searched_matches(item.evaluation, searched.statics, context.objectives) for item in selections
                ]
                for result in self._finish_all(finisher, selections, matches):
                    if isinstance(result, StaticReference):
                        reference = result
                    else:
                        self._keep(result)
                        finished.append(result)
            except (KeyboardInterrupt, Interrupted):
                interrupted = True
        reference = reference or finisher.untrained_reference()
        groups = group_finished(finished, selections, matches, context.objectives, self.config.fine_tune)
        statics = tuple(self._export_static(item, groups.chosen) for item in groups.statics)
        groups = replace(groups, statics=statics)
        summary = self._report(searched, fronts, groups, reference, curve)
        self.tracker.close()
        self.store.set("phase", "stopped" if interrupted else "ended")
        written, failed = tuple(self._written_targets), tuple(self._failed_targets)
        return RunEnd(fronts, groups.chosen, groups.statics, summary, interrupted, written, failed)

    def _train(self) -> TrainingLog:
        deadline = self.clock.phase(_TRAINING_END)
        with self.reporter.task("Training the supernet") as task:
            log = train_supernet(self.context, self.store.checkpoint, deadline, task, resume=self.resume)
        # From here on every evaluation depends on these weights.
        self.store.record_checkpoint(self.store.checkpoint, len(log.loss))
        for epoch, loss in enumerate(log.loss, start=1):
            self.tracker.log(epoch, {"supernet/loss": loss})
        return log

    def _search(self) -> _Searched:
        """All evaluations, and whether the user stopped the search."""
        search, budget = self.config.search, self.config.budget
        deadline = self.clock.phase(_SEARCH_END)
        count = budget.evaluations or search.evaluations
        if deadline and not budget.evaluations:
            count = max(search.evaluations, _EVALUATIONS_WITHOUT_LIMIT)
        if self.store.get(SEARCHED) is not None:
            # Networks of this front are being finished: a resumed clock must not change the front.
            study = build_study(self.context, self.store, self.context.evaluator, self._track_evaluation)
            return self._searched(study, interrupted=False)
        with self.reporter.task("Searching") as task, self._open_evaluator() as evaluator:
            study = build_study(self.context, self.store, evaluator, self._track_evaluation)
            interrupted = study.run(count, search.batch, task, deadline).interrupted
        if study.evaluations and not interrupted:
            self.store.set(SEARCHED, "yes")
        return self._searched(study, interrupted=interrupted)

    @contextmanager
    def _open_evaluator(self) -> Iterator[Evaluator | BatchEvaluator]:
        """The evaluator of this process, or one that leaves the work to workers."""
        execution = self.config.execution
        if not uses_workers(execution, training=False):
            yield self.context.evaluator
            return
        with open_executor(self.context, self.store.folder, training=False) as executor:
            yield RemoteEvaluator(executor, execution.evaluation_timeout_s)

    def _searched(self, study: Study, *, interrupted: bool) -> _Searched:
        """What a study found; the remarks of its algorithm are shown and kept for the report."""
        if isinstance(study.algorithm, HasRemarks):
            self._remarks = study.algorithm.remarks
        for remark in self._remarks:
            self.reporter.say(remark)
        return _Searched(study.evaluations, study.static_candidates, interrupted)

    def _track_evaluation(self, number: int, evaluation: Evaluation) -> None:
        values = {f"search/{name}": value for name, value in evaluation.values.items()}
        self.tracker.log(number, {**values, "search/failed": float(evaluation.status is Status.FAILED)})

    def _finish_all(
        self, finisher: Finisher, selections: Sequence[Selection], matches: Sequence[SearchedMatches]
    ) -> Iterator[FinishedNetwork | StaticReference]:
        """The finished networks, their static matches and the reference, as they become available."""
        targets = finish_targets(selections, matches, self.config.fine_tune, self.store.network_folder)
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
        """Record a finished network, log its training, and export it; a match is exported once it is known to win."""
        folder = self.store.network_folder(result.record.rule)
        self.store.record_checkpoint(folder / WEIGHTS, len(result.log.loss))
        if not is_static_name(result.record.rule):
            self._export(result, folder)
        for epoch, loss in enumerate(result.log.loss, start=1):
            self.tracker.log(epoch, {f"{result.record.rule}/loss": loss})

    def _export_static(self, result: FinishedNetwork, chosen: Sequence[FinishedNetwork]) -> FinishedNetwork:
        """Export a match where the early exits that it is compared with do not pay; else its record has no bundle."""
        if not any(wins(result.record, item.record) for item in chosen):
            return replace(result, record=replace(result.record, bundle=""))
        self._export(result, self.store.network_folder(result.record.rule))
        return result

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
        checks = to_tensor(split.samples, dataset.preprocessing).numpy()
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
                    padded=dataset.padded,
                    sound=dataset.sound,
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
        searched: _Searched,
        fronts: Fronts,
        groups: FinishedGroups,
        reference: StaticReference,
        curve: TrainingLog,
    ) -> RunSummary:
        with self.reporter.task("Writing the report") as task:
            task.update(0.1)
            summary = summarize(
                self.context,
                searched.evaluations,
                searched.statics,
                fronts,
                groups,
                reference,
                curve,
                duration_s=self.clock.elapsed_s(),
                remarks=(
                    *(f"The run went on with changes: {changes}." for changes in accepted_changes(self.store)),
                    *self._remarks,
                    *self._failed_targets,
                ),
            )
            save_summary(summary, self.store.summary)
            write_page(summary, self.store.report)
        return summary
