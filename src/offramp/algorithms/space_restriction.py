"""Restriction of a search space to one branch type and one exit policy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from offramp.exits.confidence_measures import Measure
from offramp.space.architecture import Architecture, PolicyChoice
from offramp.space.search_space import SearchSpace


@runtime_checkable
class HasExitChoices(Protocol):
    """A search space that states which branches and policies it offers."""

    @property
    def branches(self) -> tuple[str, ...]:
        """Branch types to choose among."""
        ...

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Confidence measures to choose among."""
        ...

    @property
    def accuracy_drops(self) -> tuple[float, ...]:
        """Accuracy drops to choose among, 0 to 1."""
        ...

    @property
    def max_exits(self) -> int:
        """Largest number of early exits."""
        ...


def preferred_branches(space: SearchSpace, wanted: Sequence[str]) -> tuple[str, ...]:
    """Select branch types that a space offers.

    Args:
        space: The search space.
        wanted: Branch types in order of preference.

    Returns:
        The wanted types that the space offers. If it offers none of them, its first type; none for a space without
        `HasExitChoices`.
    """
    offered = space.branches if isinstance(space, HasExitChoices) else ()
    return tuple(name for name in wanted if name in offered) or offered[:1]


def preferred_measure(space: SearchSpace, wanted: Measure) -> Measure | None:
    """Select a confidence measure that a space offers.

    Args:
        space: The search space.
        wanted: The preferred measure.

    Returns:
        The preferred measure if offered, else the first one offered; None for a space without `HasExitChoices`.
    """
    if not isinstance(space, HasExitChoices):
        return None
    return wanted if wanted in space.measures else space.measures[0]


def least_drop(space: SearchSpace) -> float | None:
    """Find the smallest accuracy drop that a space offers.

    Args:
        space: The search space.

    Returns:
        The drop, 0 to 1; None for a space without `HasExitChoices`.
    """
    return min(space.accuracy_drops) if isinstance(space, HasExitChoices) else None


def with_branches(architecture: Architecture, allowed: Sequence[str]) -> Architecture:
    """Replace branches of other types by the first allowed type.

    Args:
        architecture: The architecture.
        allowed: Allowed branch types; if empty, all are allowed.

    Returns:
        The architecture with allowed branches only.
    """
    if not allowed:
        return architecture
    exits = tuple(
        choice if choice.branch in allowed else replace(choice, branch=allowed[0], layers=())
        for choice in architecture.exits
    )
    return replace(architecture, exits=exits)


def with_policy(
    architecture: Architecture, measure: Measure | None = None, accuracy_drop: float | None = None
) -> Architecture:
    """Replace the confidence measure or the accuracy drop.

    Args:
        architecture: The architecture; without early exits it keeps its default policy.
        measure: The new measure; None: unchanged.
        accuracy_drop: The new accuracy drop, 0 to 1; None: unchanged.

    Returns:
        The architecture with the new policy.
    """
    if not architecture.exits:
        return architecture
    policy = architecture.policy
    return replace(
        architecture,
        policy=PolicyChoice(
            policy.measure if measure is None else measure,
            policy.accuracy_drop if accuracy_drop is None else accuracy_drop,
        ),
    )
