"""The record of a network with fixed thresholds: figures on validation samples, and what it did to test samples."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from offramp.data.labelled_data import Split
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import answers_at
from offramp.exits.quality.class_profiles import class_profiles
from offramp.exits.quality.quality_measures import ConfusionMatrix, confusion_matrix
from offramp.exits.quality.sample_outcomes import SampleOutcomes, sample_outcomes
from offramp.nn.analog.make_analog import set_noise_
from offramp.nn.network import EarlyExitNetwork
from offramp.records.run_summary import ChosenNetwork, StaticReference
from offramp.run.context import Context
from offramp.run.evaluators.operating_point import measure_point
from offramp.run.finishing.used_exits import Logits, SettledNetwork
from offramp.run.workloads import measured_workload
from offramp.train.trainer import collect_logits


def logits_of(context: Context, network: EarlyExitNetwork, split: Split) -> tuple[NDArray[np.float32], ...]:
    """Run a network on a split, with the converter noise of the run's seed where it is analog.

    Args:
        context: The parts of the run.
        network: The network.
        split: The samples.

    Returns:
        One array (samples, classes) per exit, the final one last.
    """
    set_noise_(network, torch.Generator().manual_seed(context.config.seed))
    return collect_logits(network, split, context.dataset.preprocessing, context.compute)


def final_answers(context: Context, network: EarlyExitNetwork, split: Split) -> ConfusionMatrix:
    """Compare the answers of a network's final classifier with the labels.

    Args:
        context: The parts of the run.
        network: The network.
        split: The samples.

    Returns:
        How often each class was answered for each.
    """
    answers = logits_of(context, network, split)[-1].argmax(axis=1)
    return confusion_matrix(split.labels, answers, network.num_classes)


def recalls_of(answers: ConfusionMatrix) -> tuple[float | None, ...]:
    """List the recall of each class.

    Args:
        answers: How often each class was answered for each.

    Returns:
        The recalls, None for a class without samples.
    """
    return tuple(None if np.isnan(value) else float(value) for value in answers.recalls)


def network_record(context: Context, settled: SettledNetwork, name: str, logits: Logits) -> ChosenNetwork:
    """Make the record of a network with fixed thresholds.

    Args:
        context: The parts of the run.
        settled: The network, its costs and its thresholds.
        name: Its name.
        logits: Its logits on the test split: one array (samples, classes) per exit, the final one last.

    Returns:
        The record, without a bundle, and without what the search found.
    """
    network, cost, validation = settled.network, settled.cost, settled.chosen.point
    workload, split = measured_workload(network, context.accelerator), context.dataset.splits.test
    test = measure_point(logits, split.labels, validation.policy, cost, context.measures)
    classes = class_profiles(logits, split.labels, validation.policy)
    static = StaticReference(
        name=f"static {name}",
        architecture=network.architecture.without_exits(),
        accuracy_validation=validation.profile.full_accuracies[-1],
        accuracy_test=test.profile.full_accuracies[-1],
        cost=context.report_cost.estimate(workload.static(), context.accelerator),
        recalls_test=tuple(item.full_recalls[-1] if item.full_recalls else None for item in classes.classes),
    )
    if len(network.links):
        static = _without_links(context, network, static)
    return ChosenNetwork(
        rule=name,
        architecture=network.architecture,
        policy=validation.policy,
        validation=validation.profile,
        test=test.profile,
        cost=cost,
        expected_validation=validation.expected,
        expected_test=test.expected,
        static=static,
        guarantee=settled.chosen.guarantee,
        weight_density=workload.weight_density if context.accelerator.gains_from_zero_weights else None,
        classes=classes,
        values=validation.values(),
        outcomes=_outcomes(logits, split, validation.policy),
    )


def _without_links(context: Context, network: EarlyExitNetwork, static: StaticReference) -> StaticReference:
    """The record of a backbone with its final classifier alone, which has no earlier exit to read."""
    splits, alone = context.dataset.splits, network.with_exits(())
    test = final_answers(context, alone, splits.test)
    return replace(
        static,
        accuracy_validation=final_answers(context, alone, splits.validation).accuracy,
        accuracy_test=test.accuracy,
        recalls_test=recalls_of(test),
    )


def _outcomes(logits: Sequence[NDArray[np.floating]], split: Split, policy: ExitPolicy) -> SampleOutcomes:
    """What the network did to each sample."""
    taken = policy.decide(logits)
    return sample_outcomes(answers_at(logits, taken) == split.labels, taken, len(logits))
