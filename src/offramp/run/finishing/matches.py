"""Static matches of chosen networks: found among the candidates of the search, decided among trained networks.

Trained networks are those that were finished by themselves, and each exit of a finished network alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from offramp.jsonio import dumps
from offramp.objectives.evaluation import Evaluation, Objective, quality_metric
from offramp.objectives.picking import cost_of
from offramp.records.run_summary import ChosenNetwork
from offramp.records.static_match import StaticMatch
from offramp.space.architecture import Architecture

STATIC = "static-"
"""Names of static networks begin so."""


def static_name(architecture: Architecture, exit_of: str = "") -> str:
    """Name a static network, the same in every run and however often it is resumed.

    Args:
        architecture: The network.
        exit_of: Name of the finished network whose exit it is; empty = it is trained by itself. Both may have the same
            architecture, but they have other weights.

    Returns:
        A name that is also that of its folder.
    """
    return f"{STATIC}{hashlib.sha256(f'{dumps(architecture)}{exit_of}'.encode()).hexdigest()[:8]}"


def is_static_name(name: str) -> bool:
    """Whether a network is there to be compared with, not because a rule picked it.

    Args:
        name: Name of the network.

    Returns:
        True for names of `static_name`.
    """
    return name.startswith(STATIC)


@dataclass(frozen=True)
class SearchedMatches:
    """Static candidates that a chosen candidate is compared with, by figures of the search.

    Attributes:
        as_accurate: The cheapest that is at least as accurate; None = there is none.
        no_dearer: The most accurate that costs no more; None = there is none.
    """

    as_accurate: Evaluation | None = None
    no_dearer: Evaluation | None = None

    @property
    def all(self) -> tuple[Evaluation, ...]:
        """The candidates, each once."""
        found = [item for item in (self.as_accurate, self.no_dearer) if item is not None]
        return tuple({item.architecture: item for item in found}.values())


def searched_matches(
    network: Evaluation, statics: Sequence[Evaluation], objectives: Sequence[Objective]
) -> SearchedMatches:
    """Find the static candidates that a chosen candidate is compared with.

    Args:
        network: The chosen candidate.
        statics: The static candidates; those that fail or violate a constraint are left out.
        objectives: The objectives of the search: the first measure of good answers among them, and what costs are
            compared by (see `offramp.objectives.picking.cost_of`).

    Returns:
        The matches; none for a network that is static itself.
    """
    if network.architecture.is_static:
        return SearchedMatches()
    feasible = [item for item in statics if item.feasible]
    places = _matches(network.values, [item.values for item in feasible], objectives)
    return SearchedMatches(*(None if place is None else feasible[place] for place in places))


def with_matches(
    network: ChosenNetwork, searched: SearchedMatches, trained: Sequence[ChosenNetwork], objectives: Sequence[Objective]
) -> ChosenNetwork:
    """Decide which static networks a finished network is compared with, by validation figures after training.

    Args:
        network: The finished network.
        searched: Its matches in the search.
        trained: Networks that were trained in the same way, also exits of finished networks alone; those that are not
            static are left out. Without any, the matches are those of the search.
        objectives: The objectives of the search.

    Returns:
        The record with its matches. Where no trained static network is as accurate, it is the most accurate one; where
        none costs as little, the cheapest.
    """
    if network.num_exits == 1:
        return network
    statics = [item for item in trained if item.num_exits == 1]
    if not statics:
        return replace(
            network,
            match=_untrained(network, searched.as_accurate, objectives),
            match_at_cost=_untrained(network, searched.no_dearer, objectives),
        )
    as_accurate, no_dearer = _matches(network.values, [item.values for item in statics], objectives)
    good, cost = quality_metric(objectives), [cost_of(item.values, objectives) for item in statics]
    if as_accurate is None:
        as_accurate = min(range(len(statics)), key=lambda place: (-statics[place].values[good], cost[place]))
    if no_dearer is None:
        no_dearer = min(range(len(statics)), key=lambda place: (cost[place], -statics[place].values[good]))
    return replace(
        network,
        match=_trained(network, statics[as_accurate], objectives),
        match_at_cost=_trained(network, statics[no_dearer], objectives),
    )


def _matches(
    values: dict[str, float], others: Sequence[dict[str, float]], objectives: Sequence[Objective]
) -> tuple[int | None, int | None]:
    """Place of the cheapest of the others that is at least as good, and of the best that costs no more."""
    quality = quality_metric(objectives)
    good, cost = [item[quality] for item in others], [cost_of(item, objectives) for item in others]
    as_good = [place for place, value in enumerate(good) if value >= values[quality]]
    as_cheap = [place for place, value in enumerate(cost) if value <= cost_of(values, objectives)]
    return (
        min(as_good, key=lambda place: (cost[place], -good[place]), default=None),
        min(as_cheap, key=lambda place: (-good[place], cost[place]), default=None),
    )


def _trained(network: ChosenNetwork, static: ChosenNetwork, objectives: Sequence[Objective]) -> StaticMatch:
    quality = quality_metric(objectives)
    return StaticMatch(
        name=static.rule,
        architecture=static.architecture,
        accuracy_validation=static.validation.top1,
        accuracy_test=None if static.test is None else static.test.top1,
        cost=static.cost,
        trained=True,
        as_accurate=static.values[quality] >= network.values[quality],
        no_dearer=cost_of(static.values, objectives) <= cost_of(network.values, objectives),
        outcomes=static.outcomes,
        exit_of=static.exit_of,
    )


def _untrained(
    network: ChosenNetwork, static: Evaluation | None, objectives: Sequence[Objective]
) -> StaticMatch | None:
    """A match as the search judged it, against the candidate as the search judged it."""
    if static is None or static.details is None or network.searched is None:
        return None
    quality, before = quality_metric(objectives), network.searched.values
    return StaticMatch(
        name=static_name(static.architecture),
        architecture=static.architecture,
        accuracy_validation=static.values["accuracy"],
        accuracy_test=None,
        cost=static.details.cost,
        trained=False,
        as_accurate=static.values[quality] >= before[quality],
        no_dearer=cost_of(static.values, objectives) <= cost_of(before, objectives),
    )
