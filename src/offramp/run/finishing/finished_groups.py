"""The finished networks of a run: those that rules picked, and the static ones that they are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from offramp.objectives.evaluation import Objective
from offramp.records.run_summary import ChosenNetwork, with_verdict
from offramp.run.finishing.finisher import FinishedNetwork
from offramp.run.finishing.matches import SearchedMatches, is_static_name, with_matches
from offramp.run.finishing.targets import Selection
from offramp.settings.fine_tune_config import FineTuneConfig


@dataclass(frozen=True)
class FinishedGroups:
    """The finished networks of a run.

    Attributes:
        chosen: Those that rules picked, with their matches and verdicts.
        statics: The static networks that were finished as matches, and the exits of finished networks alone that are
            matches.
    """

    chosen: tuple[FinishedNetwork, ...] = ()
    statics: tuple[FinishedNetwork, ...] = ()


def group_finished(
    finished: Sequence[FinishedNetwork],
    selections: Sequence[Selection],
    matches: Sequence[SearchedMatches],
    objectives: Sequence[Objective],
    settings: FineTuneConfig,
) -> FinishedGroups:
    """Tell chosen networks from matches, and decide the matches of each.

    Args:
        finished: The finished networks.
        selections: The picked candidates.
        matches: The matches of each picked candidate in the search, in the same order.
        objectives: The objectives of the search.
        settings: Whether matches are among trained networks, or else those of the search, and how much accuracy early
            exits may lose against them.

    Returns:
        The networks in their order, the chosen ones with matches and verdicts.
    """
    of_rule = {selection.name: own for selection, own in zip(selections, matches, strict=True)}
    alone = [part for item in finished for part in item.exits_alone]
    trained = [item.record for item in (*finished, *alone)] if settings.match else []
    statics = [item for item in finished if is_static_name(item.record.rule)]
    chosen = []
    for item in finished:
        if not is_static_name(item.record.rule):
            record = with_matches(item.record, of_rule[item.record.rule], trained, objectives)
            chosen.append(replace(item, record=replace(with_verdict(record, settings.accuracy_margin), exits_alone=())))
    needed = {match.name for item in chosen for match in (item.record.match, item.record.match_at_cost) if match}
    return FinishedGroups(tuple(chosen), (*statics, *(part for part in alone if part.record.rule in needed)))


def wins(static: ChosenNetwork, network: ChosenNetwork) -> bool:
    """Whether a static network is to be taken in place of a network whose early exits do not pay.

    Args:
        static: The static network.
        network: The chosen network, with its matches and its verdict.

    Returns:
        True where the verdict is that early exits do not pay, and the static network is the one to take.
    """
    better = network.better_static
    return better is not None and better.name == static.rule
