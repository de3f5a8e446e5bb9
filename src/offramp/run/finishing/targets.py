"""What a run finishes: candidates that rules pick from the fronts, their static matches, and the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from offramp.objectives.evaluation import Evaluation
from offramp.objectives.fronts import Fronts
from offramp.run.finishing.matches import SearchedMatches, static_name
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
        time_share: Its share of the time, relative to that of other targets.
    """

    selection: Selection | None
    folder: Path
    teacher: Path | None = None
    time_share: float = 1.0

    @property
    def title(self) -> str:
        """What progress messages call it."""
        return "the reference" if self.selection is None else self.selection.name


def select(fronts: Fronts, rules: Sequence[str]) -> tuple[Selection, ...]:
    """Apply picking rules to the fronts of a search.

    Args:
        fronts: The fronts.
        rules: Names of picking rules, as in the setting ``fine_tune.picks``.

    Returns:
        The picked candidates in the order of the rules. A candidate that several rules pick is in it once.
    """
    chosen: dict[Architecture, Selection] = {}
    for rule in rules:
        evaluation = fronts.pick(rule)
        earlier = chosen.get(evaluation.architecture)
        named = (*earlier.rules, rule) if earlier else (rule,)
        chosen[evaluation.architecture] = Selection(named, evaluation)
    return tuple(chosen.values())


def finish_targets(
    selections: Sequence[Selection],
    matches: Sequence[SearchedMatches],
    settings: FineTuneConfig,
    folder_of: Callable[[str], Path],
) -> tuple[FinishTarget, ...]:
    """List what a run finishes.

    The first picked network is the one to recommend: it and its matches get twice the time of each other target.

    Args:
        selections: The picked candidates, the one to recommend first.
        matches: The static matches of each picked candidate, in the same order. One that several candidates share is
            finished once.
        settings: Whether there is a reference, whether it teaches, and whether matches are fine-tuned.
        folder_of: Gives the folder of a network by its name.

    Returns:
        The targets in the order in which they are to be finished: picked candidates, then matches; the reference first
        where it teaches, else last.
    """
    teaches = settings.teacher == "reference"
    reference = [FinishTarget(None, folder_of(REFERENCE))] if settings.reference else []
    teacher = folder_of(REFERENCE) if teaches else None
    names: dict[str, tuple[Selection, float]] = {}
    for index, selection in enumerate(selections):
        names[selection.name] = (selection, 1.0 if index else 2.0)
    picked = {selection.evaluation.architecture for selection in selections}
    for index, own in enumerate(matches if settings.match else ()):
        for evaluation in own.all:
            name = static_name(evaluation.architecture)
            if evaluation.architecture not in picked:
                names.setdefault(name, (Selection((name,), evaluation), 1.0 if index else 2.0))
    networks = [FinishTarget(item, folder_of(item.name), teacher, share) for item, share in names.values()]
    return tuple(reference + networks if teaches else networks + reference)
