"""Restriction of a search space to one branch type and one exit policy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from offramp.exits.confidence_measures import Measure
from offramp.space.architecture import Architecture, PolicyChoice
from offramp.space.search_space import SearchSpace


@runtime_checkable
class HasExitChoices(Protocol):
    """A space that says which branches and policies it offers."""

    @property
    def branches(self) -> tuple[str, ...]: ...

    @property
    def measures(self) -> tuple[Measure, ...]: ...

    @property
    def accuracy_drops(self) -> tuple[float, ...]: ...

    @property
    def max_exits(self) -> int: ...


def preferred_branches(space: SearchSpace, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of ``wanted`` that the space offers; its first one where it offers none of them."""
    offered = space.branches if isinstance(space, HasExitChoices) else ()
    return tuple(name for name in wanted if name in offered) or offered[:1]


def preferred_measure(space: SearchSpace, wanted: Measure) -> Measure | None:
    """``wanted`` or, where the space does not offer it, the first one that it does; None for a space that says
    nothing."""
    if not isinstance(space, HasExitChoices):
        return None
    return wanted if wanted in space.measures else space.measures[0]


def least_drop(space: SearchSpace) -> float | None:
    """The smallest accuracy drop on offer."""
    return min(space.accuracy_drops) if isinstance(space, HasExitChoices) else None


def with_branches(architecture: Architecture, allowed: Sequence[str]) -> Architecture:
    """Every exit of another type gets the first allowed one."""
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
    """Another measure or accuracy drop; a network without early exits keeps its default policy."""
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
