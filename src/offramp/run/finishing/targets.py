"""What a run finishes: candidates that rules pick from the front, and the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from offramp.objectives.evaluation import Evaluation
from offramp.objectives.pareto import ParetoFront
from offramp.objectives.picking import pick
from offramp.settings.fine_tune_config import FineTuneConfig
from offramp.space.architecture import Architecture

REFERENCE = "reference"
"""Name of the reference's folder in a run."""


@dataclass(frozen=True)
class Selection:
    """A picked candidate of the front.

    Attributes:
        rules: Names of the rules that picked it.
        evaluation: Its evaluation.
    """

    rules: tuple[str, ...]
    evaluation: Evaluation

    @property
    def name(self) -> str:
        """The names of the rules, joined by ``+``."""
        return "+".join(self.rules)


@dataclass(frozen=True)
class FinishTarget:
    """A network to finish.

    Attributes:
        selection: The picked candidate; None stands for the reference.
        folder: The folder of its weights and record.
        teacher: The folder of the finished reference that teaches its exits; None = no such teacher.
    """

    selection: Selection | None
    folder: Path
    teacher: Path | None = None

    @property
    def title(self) -> str:
        """What progress messages call it."""
        return "the reference" if self.selection is None else self.selection.name


def select(front: ParetoFront, rules: Sequence[str]) -> tuple[Selection, ...]:
    """Apply picking rules to a front.

    Args:
        front: The front.
        rules: Names of picking rules, as in the setting ``fine_tune.picks``.

    Returns:
        The picked candidates in the order of the rules. A candidate that several rules pick is in it once.
    """
    chosen: dict[Architecture, Selection] = {}
    for rule in rules:
        evaluation = pick(front, rule)
        earlier = chosen.get(evaluation.architecture)
        named = (*earlier.rules, rule) if earlier else (rule,)
        chosen[evaluation.architecture] = Selection(named, evaluation)
    return tuple(chosen.values())


def finish_targets(
    selections: Sequence[Selection], settings: FineTuneConfig, folder_of: Callable[[str], Path]
) -> tuple[FinishTarget, ...]:
    """List what a run finishes.

    Args:
        selections: The picked candidates, the one to recommend first.
        settings: Whether there is a reference, and whether it teaches.
        folder_of: Gives the folder of a network by its name.

    Returns:
        The targets in the order in which they are to be finished.
    """
    teaches = settings.teacher == "reference"
    reference = [FinishTarget(None, folder_of(REFERENCE))] if settings.reference else []
    teacher = folder_of(REFERENCE) if teaches else None
    networks = [FinishTarget(selection, folder_of(selection.name), teacher) for selection in selections]
    return tuple(reference + networks if teaches else networks + reference)
