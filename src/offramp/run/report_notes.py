"""Sentences for the reader of a report: what the figures hold, and how the networks were trained."""

import math
from collections.abc import Sequence

from offramp.exits.quality.class_profiles import ClassProfiles
from offramp.nn.adoption.adopted_model import AdoptedModel
from offramp.numerics.rank_correlation import rank_correlation
from offramp.objectives.picking import rule_name
from offramp.records.run_summary import ChosenNetwork, StaticReference
from offramp.run.analog_notes import analog_notes
from offramp.run.context import Context
from offramp.run.defaults.data_defaults import default_notes

_MUCH = 0.1
"""A recall that is lower by this share is much lower."""
_FEWEST_SAMPLES = 5
"""With fewer samples, nothing is said about a class alone."""


def report_notes(
    context: Context, chosen: Sequence[ChosenNetwork], reference: StaticReference, remarks: Sequence[str]
) -> tuple[str, ...]:
    """Collect what a reader should know about the figures of a run.

    Args:
        context: The parts of the run.
        chosen: The records of the finished networks.
        reference: The network to which all reductions refer.
        remarks: Sentences of the search algorithm and about failed deployment targets.

    Returns:
        Sentences, in the order of the report.
    """
    return (
        *context.dataset.notes,
        *default_notes(context.config, context.dataset),
        *_model_notes(context),
        *remarks,
        *_precision_notes(context),
        *analog_notes(context.space, context.supernet, context.accelerator),
        *_pruning_note(context, chosen),
        *_teacher_note(context),
        *_dropped_note(chosen),
        *rank_note(chosen),
        *_exit_weight_note(context, chosen),
        *_class_notes(context, chosen, reference),
        *reference.cost.warnings,
    )


def _model_notes(context: Context) -> tuple[str, ...]:
    """Notes about an adopted model."""
    family = context.family
    if not isinstance(family, AdoptedModel):
        return ()
    classes = context.dataset.num_classes
    head = f"The model has {family.num_classes} classes, the data {classes}: it was given a new classifier."
    return family.notes if family.num_classes == classes else (head, *family.notes)


def _pruning_note(context: Context, chosen: Sequence[ChosenNetwork]) -> tuple[str, ...]:
    """The density that pruning aims at, and the one that was counted."""
    density = context.config.fine_tune.weight_density
    if density is None:
        return ()
    counted = ", ".join(f"{x.weight_density:.2%} ({x.rule})" for x in chosen if x.weight_density is not None)
    found = f" Counted in the finished networks, {counted} of all weights are not zero." if counted else ""
    return (
        "Fine-tuning prunes the weights of convolutions (other than depthwise ones) and linear layers, those of a "
        f"trained reference too, to {density:.2%} nonzero ones, and costs hold what the accelerator gains from zeros."
        f"{found} Candidates of the search are priced as pruned, but compared before pruning.",
    )


def _dropped_note(chosen: Sequence[ChosenNetwork]) -> tuple[str, ...]:
    """Exits that were dropped when the networks were finished, and parts that were cut off."""
    lost = [
        f"{rule_name(network.rule)}: tap " + ", ".join(str(choice.tap) for choice in network.dropped)
        for network in chosen
        if network.dropped
    ]
    cut = [rule_name(network.rule) for network in chosen if network.architecture.head != network.candidate.head]
    notes: tuple[str, ...] = ()
    if lost:
        notes += (
            "Exits that did not pay for their branches once trained, or at which no validation sample leaves, were "
            f"taken out ({'; '.join(lost)}).",
        )
    if cut:
        notes += (
            "All that lies behind an exit that every validation sample takes, or that alone answers at least as well "
            f"at no higher costs, was cut off ({'; '.join(cut)}).",
        )
    return notes


def _exit_weight_note(context: Context, chosen: Sequence[ChosenNetwork]) -> tuple[str, ...]:
    """The weights of early exits that were chosen among several."""
    if not context.config.fine_tune.early_exit_weights:
        return ()
    found = [f"{item.early_exit_weight:g} ({rule_name(item.rule)})" for item in chosen if item.early_exit_weight]
    return (f"The weight of early exits' losses was chosen for each network by short trainings: {', '.join(found)}.",)


def rank_note(networks: Sequence[ChosenNetwork]) -> tuple[str, ...]:
    """Say how well the supernet ranked the networks that were fine-tuned.

    Args:
        networks: The records of finished networks.

    Returns:
        One sentence; none where fewer than three networks are known before and after.
    """
    known = [
        (item.searched.values["accuracy"], item.validation.top1)
        for item in networks
        if item.searched is not None and "accuracy" in item.searched.values
    ]
    found = rank_correlation([before for before, _ in known], [after for _, after in known])
    if found is None:
        return ()
    return (
        f"The accuracies of {found.count} networks on validation samples, before and after fine-tuning, have a rank "
        f"correlation of {found.spearman:.2f} (Spearman) and {found.kendall:.2f} (Kendall). At 1, the search ranked "
        "them as training does; near 0 or below, its ranks say little.",
    )


def _class_notes(context: Context, chosen: Sequence[ChosenNetwork], reference: StaticReference) -> tuple[str, ...]:
    return tuple(
        note
        for network in chosen
        if network.classes is not None
        for note in worse_classes(
            rule_name(network.rule),
            network.classes,
            reference.recalls_test,
            context.dataset.class_names,
            network.measured.profile.top1,
        )
    )


def worse_classes(
    network: str,
    profiles: ClassProfiles,
    reference: Sequence[float | None],
    class_names: Sequence[str],
    accuracy: float,
) -> tuple[str, ...]:
    """Name the classes that a network, or one of its early exits, serves much worse than the reference.

    Args:
        network: Name of the network.
        profiles: What each class gets from it.
        reference: Recall of each class in the reference; empty = not measured.
        class_names: Names of the classes.
        accuracy: Accuracy of the network over all classes, a share.

    Returns:
        One sentence for each exit and class, and for each class.
    """
    notes = []
    for label, profile in enumerate(profiles.classes):
        if profile.recall is None:
            continue
        name, known = f"class “{class_names[label]}”", reference[label] if reference else None
        others = "" if known is None else f"; the reference has {known:.1%}"
        if known is not None:
            for index, (rate, recall) in enumerate(zip(profile.rates[:-1], profile.recalls, strict=False)):
                count = round(rate * profile.num_samples)
                if _much_worse(recall, known, count):
                    notes.append(
                        f"{network}: early exit {index + 1} answers {count} of the {profile.num_samples} test samples "
                        f"of {name}, {recall:.1%} of them right; the reference has a recall of {known:.1%}."
                    )
        if known is not None and _much_worse(profile.recall, known, profile.num_samples):
            notes.append(f"{network}: the recall of {name} is {profile.recall:.1%}, that of the reference {known:.1%}.")
        elif profile.recall <= accuracy / 2 and profile.num_samples >= _FEWEST_SAMPLES:
            notes.append(
                f"{network}: the recall of {name} is {profile.recall:.1%}, far below the accuracy of "
                f"{accuracy:.1%}{others}."
            )
    return tuple(notes)


def _much_worse(recall: float, reference: float, count: int) -> bool:
    """Whether a recall is lower by a tenth or more, and by more than chance explains (two standard errors)."""
    if count < 1:
        return False
    error = math.sqrt(max(reference * (1.0 - reference), 1.0 / (4.0 * count)) / count)
    return reference - recall >= max(_MUCH, 2.0 * error)


def _teacher_note(context: Context) -> tuple[str, ...]:
    """The reference and the chosen networks learned in different ways."""
    if context.config.fine_tune.teacher != "reference":
        return ()
    return (
        "The exits of the chosen networks learned from the trained reference too; the reference from labels alone.",
    )


def _precision_notes(context: Context) -> tuple[str, ...]:
    """The bit widths at which networks were priced, trained and measured."""
    cost = context.config.cost
    if context.config.searches_precision:
        reference = context.space.reference_architecture().precision
        return (
            "All networks were trained, compared and measured at their own bit widths, as they are priced; the "
            f"reference has {reference} (weights/activations).",
        )
    bits = min(cost.weight_bits, cost.activation_bits, cost.branch_weight_bits, cost.branch_activation_bits)
    if bits == 32:
        return ()
    widths = (
        f"{cost.weight_bits}-bit weights and {cost.activation_bits}-bit activations "
        f"(branches: {cost.branch_weight_bits} and {cost.branch_activation_bits})"
    )
    if context.config.space.analog_shares:
        return (f"All networks were trained, compared and measured with {widths}, as they are priced.",)
    if context.config.fine_tune.quantize:
        return (
            f"The chosen networks and the reference were trained and measured with {widths}, as they are priced; the "
            "candidates of the search were compared before quantisation.",
        )
    return (
        f"Costs are those of a network with {widths}; accuracies were measured in floating point, before quantisation.",
    )
