"""Choice of the networks to finish: from both fronts, or from the candidates that are left after trials."""

from dataclasses import dataclass, replace

from offramp.objectives.fronts import Fronts
from offramp.progress import Reporter
from offramp.run.context import Context
from offramp.run.finishing.targets import Selection, select
from offramp.run.finishing.trials.candidate_trials import Notes, remaining_front, try_candidates


@dataclass(frozen=True)
class TriedSelections:
    """The networks to finish.

    Attributes:
        selections: The picked candidates, with their figures in the search.
        notes: Sentences about the trials, for the report.
    """

    selections: tuple[Selection, ...]
    notes: tuple[str, ...] = ()


def select_after_trials(context: Context, fronts: Fronts, notes: Notes, reporter: Reporter) -> TriedSelections:
    """Pick the networks to finish, after trials of early-exit candidates where the settings ask for them.

    Only candidates that no static network equals or dominates are tried, if there are any. Rules then pick by the
    figures after the trials.

    Args:
        context: The parts of the run, with a trained supernet.
        fronts: The fronts of the search.
        notes: The record of the run.
        reporter: Shows the progress.

    Returns:
        The picked candidates.

    Raises:
        Interrupted: The user pressed Ctrl-C; nothing is kept of the trials.
    """
    picks = context.config.fine_tune.picks
    begun_with = fronts.beyond_static if len(fronts.beyond_static) else fronts.early_exit
    if not len(begun_with):
        return TriedSelections(select(fronts, picks))
    trials = try_candidates(context, begun_with, notes, reporter)
    if not trials.rounds:
        return TriedSelections(select(fronts, picks), trials.notes)
    left = remaining_front(trials, begun_with, len(picks))
    searched = {item.architecture: item for item in begun_with}
    chosen = select(Fronts(left, replace(fronts.static, evaluations=())), picks)
    return TriedSelections(
        tuple(replace(item, evaluation=searched[item.evaluation.architecture]) for item in chosen), trials.notes
    )
