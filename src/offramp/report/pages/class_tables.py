"""Tables of the report of a run about single classes."""

from collections.abc import Sequence

from offramp.objectives.picking import rule_name
from offramp.records.run_summary import ChosenNetwork, RunSummary
from offramp.report import units
from offramp.report.architecture_layout import exit_label
from offramp.report.table import Cell, Column, Table

MOST_CLASSES = 30
"""With more classes, the table shows those with the lowest recall alone, and there is no confusion matrix."""


def classes_table(network: ChosenNetwork, summary: RunSummary) -> Table | None:
    """Table of what each class gets from a network, at every exit.

    Args:
        network: The network.
        summary: The run, with the names of the classes and the static reference.

    Returns:
        The table, one row per class; None where classes were not measured.
    """
    if network.classes is None:
        return None
    profiles, names = network.classes.classes, summary.data.class_names
    reference = summary.static_reference.recalls_test
    order = list(range(len(profiles)))
    if len(order) > MOST_CLASSES:
        order.sort(key=lambda label: 2.0 if (recall := profiles[label].recall) is None else recall)
        order = order[:MOST_CLASSES]
    rows = []
    for label in order:
        profile = profiles[label]
        exits = [
            Cell(_percent(rate), f"right: {_percent(recall)}" if rate else "")
            for rate, recall in zip(profile.rates, profile.recalls, strict=True)
        ] or [Cell(units.NO_VALUE)] * network.num_exits
        rows.append((
            Cell(names[label]),
            Cell(str(profile.num_samples)),
            Cell(_percent(profile.recall), f"reference: {_percent(reference[label])}" if reference else ""),
            Cell(_percent(profile.precision)),
            Cell(_percent(profile.f1)),
            *exits,
        ))  # fmt: skip
    leave = [f"Leave at {exit_label(index, network.num_exits)}" for index in range(network.num_exits)]
    shown = f" The {MOST_CLASSES} with the lowest recall." if len(profiles) > MOST_CLASSES else ""
    caption = (
        f"Classes of the network “{rule_name(network.rule)}” on the test images: balanced accuracy "
        f"{_percent(network.classes.balanced_accuracy)}, macro F1 {_percent(network.classes.macro_f1)}.{shown}"
    )
    headings = ("Images", "Recall", "Precision", "F1", *leave)
    return Table(caption, (Column("Class", numeric=False), *map(Column, headings)), tuple(rows))


def confusion_table(network: ChosenNetwork, class_names: Sequence[str]) -> Table | None:
    """The confusion matrix of a network.

    Args:
        network: The network.
        class_names: Names of the classes, in the order of the labels.

    Returns:
        The table, one row per true class and one column per answer; None for many classes or without figures.
    """
    if network.classes is None or not network.classes.confusion or len(class_names) > MOST_CLASSES:
        return None
    rows = [
        (Cell(name), *(Cell(str(count)) for count in counts))
        for name, counts in zip(class_names, network.classes.confusion, strict=True)
    ]
    caption = f"Confusion matrix of the network “{rule_name(network.rule)}”: true classes in rows, answers in columns."
    return Table(caption, (Column("Class", numeric=False), *map(Column, class_names)), tuple(rows))


def _percent(share: float | None) -> str:
    return units.NO_VALUE if share is None else units.percent(share)
