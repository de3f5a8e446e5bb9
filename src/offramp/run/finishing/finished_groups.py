"""The finished networks of a run: those that rules picked, and the static ones that they are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from offramp.objectives.evaluation import Objective
from offramp.records.run_summary import ChosenNetwork, with_verdict
from offramp.run.finishing.finisher import FinishedNetwork
from offramp.run.finishing.matches import SearchedMatches, is_static_name, with_matches
from offramp.run.finishing.targets import Selection


@dataclass(frozen=True)
class FinishedGroups:
    """The finished networks of a run.

    Attributes:
        chosen: Those that rules picked, with their matches and verdicts.
        statics: The static networks that were finished as matches.
    """

    chosen: tuple[FinishedNetwork, ...] = ()
    statics: tuple[FinishedNetwork, ...] = ()


def group_finished(
    finished: Sequence[FinishedNetwork],
    selections: Sequence[Selection],
    matches: Sequence[SearchedMatches],
    objectives: Sequence[Objective],
) -> FinishedGroups:
    """Tell chosen networks from matches, and decide the matches of each.

    Args:
        finished: The finished networks.
        selections: The picked candidates.
        matches: The matches of each picked candidate in the search, in the same order.
        objectives: The objectives of the search.

    Returns:
        The networks in their order, the chosen ones with matches and verdicts.
    """
    of_rule = {selection.name: own for selection, own in zip(selections, matches, strict=True)}
    records, chosen, statics = [item.record for item in finished], [], []
    for item in finished:
        if is_static_name(item.record.rule):
            statics.append(item)
        else:
            record = with_verdict(with_matches(item.record, of_rule[item.record.rule], records, objectives))
            chosen.append(replace(item, record=record))
    return FinishedGroups(tuple(chosen), tuple(statics))


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
