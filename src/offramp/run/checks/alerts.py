"""What a reader must know before any figure of a run."""

from collections.abc import Sequence

import numpy as np

from offramp.objectives.picking import rule_name
from offramp.records.run_summary import ChosenNetwork, StaticReference
from offramp.report import units
from offramp.report.wording import metric_name
from offramp.run.checks.learning import Learning, TrainedModel, learning_alerts
from offramp.run.context import Context
from offramp.run.finishing.finisher import FinishedNetwork
from offramp.train.trainer import TrainingLog

OVERRUN = 0.1
"""A run that takes longer than its budget by more than this share says so."""


def run_alerts(
    context: Context,
    finished: Sequence[FinishedNetwork],
    reference: StaticReference,
    curve: TrainingLog,
    duration_s: float,
) -> tuple[str, ...]:
    """Collect what stands above the headline of a run.

    Args:
        context: The parts of the run.
        finished: The finished networks, the recommended one first.
        reference: The largest static network.
        curve: The losses of the supernet's training.
        duration_s: Seconds that the command took.

    Returns:
        Sentences: guarantees that could not be kept, then signs that too little was learned, then a budget that was
        exceeded.
    """
    records = [item.record for item in finished]
    return (
        *guarantee_alerts(records),
        *learning_alerts(_learning(context, finished, reference, curve)),
        *budget_alerts(context.config.budget.seconds, duration_s),
    )


def budget_alerts(seconds: float | None, duration_s: float) -> tuple[str, ...]:
    """Say that a run took clearly longer than its budget.

    Args:
        seconds: The budget of the whole command; None = no limit.
        duration_s: Seconds that the command took.

    Returns:
        One sentence where the run took over a tenth longer than its budget; otherwise nothing.
    """
    if seconds is None or duration_s <= (1 + OVERRUN) * seconds:
        return ()
    return (
        f"The run took {duration_s:.0f} s, more than its budget of {seconds:.0f} s: export, tests and report are never "
        "cut short, and took longer than planned, as on a busy machine.",
    )


def guarantee_alerts(networks: Sequence[ChosenNetwork]) -> tuple[str, ...]:
    """Name the networks for which no thresholds kept the guarantee.

    Args:
        networks: The chosen networks.

    Returns:
        One sentence for each of them.
    """
    alerts = []
    for network in networks:
        guarantee = network.guarantee
        if guarantee is None or guarantee.leaves_early or network.candidate.is_static:
            continue
        lost = f"{units.significant(100.0 * guarantee.epsilon)} percentage points of {metric_name(guarantee.measure)}"
        tested = units.count(guarantee.num_calibration_samples, "validation image")
        alerts.append(
            f"The guarantee could not be kept by “{rule_name(network.rule)}”: no thresholds with which images leave "
            f"early lose at most {lost} with a confidence of {units.percent(1.0 - guarantee.delta)} ({tested} tested "
            "them). It falls back to the static network: every image runs through all of it."
        )
    return tuple(alerts)


def _learning(
    context: Context, finished: Sequence[FinishedNetwork], reference: StaticReference, curve: TrainingLog
) -> Learning:
    labels = context.dataset.splits.validation.labels
    accuracies = [item.record.validation.top1 for item in finished]
    if reference.accuracy_test is not None:
        accuracies.append(reference.accuracy_validation)
    searched = [
        (item.record.searched.values["accuracy"], item.record.validation.top1)
        for item in finished
        if item.record.searched is not None and "accuracy" in item.record.searched.values
    ]
    return Learning(
        accuracy=max(accuracies, default=None),
        chance=float(np.bincount(labels).max() / len(labels)),
        supernet=TrainedModel("the supernet", curve.loss, context.epochs),
        finished=tuple(
            TrainedModel(f"“{rule_name(item.record.rule)}”", item.log.loss, context.fine_tune_epochs)
            for item in finished
        ),
        inherited=tuple(before for before, _ in searched),
        fine_tuned=tuple(after for _, after in searched),
        has_time_budget=context.config.budget.seconds is not None,
    )
