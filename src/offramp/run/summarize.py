"""From the objects of a run to the summary that the report is made of."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from offramp.hardware.accelerator import CoreKind
from offramp.objectives.evaluation import Evaluation
from offramp.objectives.fronts import Fronts
from offramp.records.report_items import EnvironmentItem, SampleDecision, TrainingCurve
from offramp.records.run_summary import DataSummary, RunSummary, StaticReference
from offramp.report.sample_pictures import sample_png
from offramp.run.checks.alerts import run_alerts
from offramp.run.context import Context
from offramp.run.finishing.finished_groups import FinishedGroups
from offramp.run.finishing.finisher import FinishedNetwork
from offramp.run.report_notes import report_notes
from offramp.train.trainer import TrainingLog, collect_logits
from offramp.version import __version__

_NUM_SAMPLES = 12
_PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "pymoo", "zigzag-dse")


def summarize(
    context: Context,
    evaluations: Sequence[Evaluation],
    statics: Sequence[Evaluation],
    fronts: Fronts,
    groups: FinishedGroups,
    reference: StaticReference,
    curve: TrainingLog,
    *,
    duration_s: float,
    remarks: Sequence[str] = (),
) -> RunSummary:
    """Make the record of a run from its results.

    Args:
        context: The parts of the run.
        evaluations: All evaluations, in the order of the proposals.
        statics: The evaluations of all static networks.
        fronts: The Pareto fronts, whose members are among ``evaluations`` and ``statics``.
        groups: The finished networks, the one to recommend first, and their static matches.
        reference: The network to which all reductions refer.
        curve: The losses of the supernet's training.
        duration_s: Seconds that the run took.
        remarks: Sentences of the search algorithm and about failed deployment targets, for the reader of the report.

    Returns:
        The record from which the report is made.
    """
    dataset, config, finished = context.dataset, context.config, groups.chosen
    members = {id(member) for member in fronts.early_exit.evaluations}
    curves = [_curve("supernet", curve)]
    curves += [_curve(item.record.rule, item.log) for item in (*finished, *groups.statics)]
    return RunSummary(
        title=f"{dataset.name} on {context.accelerator.name}",
        created=datetime.now(UTC),
        offramp_version=__version__,
        data=DataSummary(
            name=dataset.name,
            class_names=dataset.class_names,
            input_shape=dataset.input_shape,
            num_train=len(dataset.splits.train.labels),
            num_validation=len(dataset.splits.validation.labels),
            num_test=len(dataset.splits.test.labels),
            fingerprint=dataset.fingerprint,
        ),
        accelerator=context.accelerator.name,
        engine=reference.cost.engine,
        engine_version=reference.cost.engine_version,
        convention=reference.cost.convention,
        seed=config.seed,
        objectives=context.objectives,
        constraints=context.constraints,
        algorithm=config.search.algorithm,
        max_depths=tuple(max(stage.depths) for stage in context.space.backbone.stages),
        evaluations=tuple(evaluations),
        front_indices=tuple(i for i, evaluation in enumerate(evaluations) if id(evaluation) in members),
        chosen=tuple(item.record for item in finished),
        static_reference=reference,
        training=tuple(c for c in curves if c.epochs),
        samples=_samples(context, finished[0]) if finished else (),
        static_front=fronts.static.evaluations,
        num_static_candidates=len(statics),
        static_networks=tuple(item.record for item in groups.statics),
        volume_beyond_static=fronts.volume_beyond() if len(fronts) else None,
        settings_text=config.to_yaml(),
        duration_s=duration_s,
        clock_hz=context.accelerator.clock_hz,
        core_names=tuple(core.name for core in context.accelerator.cores if core.kind is not CoreKind.OFFCHIP),
        environment=_environment(context),
        warnings=report_notes(context, [item.record for item in finished], reference, remarks),
        alerts=run_alerts(context, finished, reference, curve, duration_s),
    )


def _curve(name: str, log: TrainingLog) -> TrainingCurve:
    return TrainingCurve(name, tuple(range(1, len(log.loss) + 1)), log.loss)


def _samples(context: Context, item: FinishedNetwork) -> tuple[SampleDecision, ...]:
    """Test images of each exit that is used, of every class in turn, and what the network did with them."""
    test, policy, names = context.dataset.splits.test, item.record.policy, context.dataset.class_names
    taken = None if item.record.outcomes is None else item.record.outcomes.exit_indices.astype(np.int64)
    shown = shown_samples(test.labels, taken, _NUM_SAMPLES)
    few = test.take(shown)
    logits = collect_logits(item.network, few, context.dataset.preprocessing, context.compute)
    exits = policy.decide(logits)
    decisions = []
    for row, exit_index in enumerate(exits):
        own = logits[exit_index][row : row + 1]
        decisions.append(
            SampleDecision(
                png_base64=sample_png(few.samples[row], context.dataset.input_kind),
                true_label=names[few.labels[row]],
                predicted_label=names[int(own.argmax())],
                exit_index=int(exit_index),
                confidence=float(policy.confidence(own, int(exit_index))[0]),
                network=item.record.rule,
            )
        )
    return tuple(decisions)


def shown_samples(labels: NDArray[np.int64], exits: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    """Choose samples to show: some of each exit at which samples leave, of every class in turn.

    Args:
        labels: Class numbers of the samples, (samples,).
        exits: The exit at which each sample left, (samples,); None = not known, as if all left at one.
        count: Number of samples to show.

    Returns:
        Their numbers, by exit and then in the order of the data; each exit has the same number, where it has so many,
        and those with more fill the rest.
    """
    of_exit = np.zeros_like(labels) if exits is None else exits
    queues = [_classes_in_turn(labels, np.flatnonzero(of_exit == value)) for value in np.unique(of_exit)]
    chosen: list[list[int]] = [[] for _ in queues]
    while any(queues) and sum(map(len, chosen)) < count:
        for queue, own in zip(queues, chosen, strict=True):
            if queue and sum(map(len, chosen)) < count:
                own.append(queue.pop(0))
    return np.asarray([place for own in chosen for place in sorted(own)], dtype=np.int64)


def _classes_in_turn(labels: NDArray[np.int64], rows: NDArray[np.intp]) -> list[int]:
    """The rows in an order that begins with the first of each class, then has the second of each."""
    seen: dict[int, int] = {}
    turns = []
    for row in rows.tolist():
        label = int(labels[row])
        turns.append((seen.get(label, 0), label, row))
        seen[label] = seen.get(label, 0) + 1
    return [row for _, _, row in sorted(turns)]


def _environment(context: Context) -> tuple[EnvironmentItem, ...]:
    items = [
        EnvironmentItem("Python", platform.python_version()),
        EnvironmentItem("system", f"{platform.system()} {platform.machine()}"),
        EnvironmentItem("training", f"{context.compute.device}, {context.compute.dtype}"),
    ]
    for package in _PACKAGES:
        try:
            items.append(EnvironmentItem(package, version(package)))
        except PackageNotFoundError:
            continue
    return tuple(items)
