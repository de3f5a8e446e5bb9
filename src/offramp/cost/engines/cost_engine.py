"""The registry of cost engines: what prices one layer on one core."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from offramp.cost.report import Goal, LayerCost, LayerEngine
from offramp.errors import ConfigError
from offramp.hardware.accelerator import Accelerator, Core
from offramp.registry import Registry
from offramp.workload.layer import LayerShape


@runtime_checkable
class MultiGoalEngine(LayerEngine, Protocol):
    """A layer engine that evaluates the mappings of a layer once for several goals.

    Attributes:
        goal: What `price` minimises.
    """

    @property
    def goal(self) -> Goal:
        """What `price` minimises."""
        ...

    def with_goal(self, goal: Goal) -> "MultiGoalEngine":
        """Return the engine with another goal and the same settings otherwise.

        Args:
            goal: What the other engine minimises.

        Returns:
            An engine that equals any other of the same settings and goal.
        """
        ...

    def price_goals(self, jobs: Sequence[tuple[LayerShape, Core]], goals: Sequence[Goal]) -> list[list[LayerCost]]:
        """Price jobs for several goals.

        Args:
            jobs: Layers and cores.
            goals: At least one goal.

        Returns:
            For each goal what the engine with that goal returns from `price`.

        Raises:
            UnpricedJobsError: Some jobs have no price; the error names all of them.
        """
        ...


@dataclass(frozen=True)
class EngineOptions:
    """What an engine is built for.

    Attributes:
        goals: What is minimised when a mapping is chosen for a layer, at least one goal. Layer-by-layer scheduling
            asks for latency; the optimized mapping compares the mappings of several goals.
        coarse: Whether speed is preferred to the best mapping, as a search does. Engines without that choice ignore it.
        accelerator: The accelerator whose cores are priced, for engines that need more of it than the core.
    """

    goals: tuple[Goal, ...] = ("latency",)
    coarse: bool = False
    accelerator: Accelerator | None = None

    def __post_init__(self) -> None:
        if not self.goals:
            raise ValueError("`goals` must name at least one goal, got none.")


@dataclass(frozen=True)
class CostEngine:
    """A cost engine as it is registered.

    Attributes:
        description: One line for `offramp list engines`.
        build: Makes the engine. It returns one LayerEngine per goal, in the order of ``options.goals``; an engine that
            knows one goal only returns a single LayerEngine. It raises ConfigError where a package is missing.
        prices_zero_weights: Whether layers with zero weights are priced on cores that gain from them. The others must
            raise UnpricedJobsError for such layers.
    """

    description: str
    build: Callable[[EngineOptions], tuple[LayerEngine, ...]]
    prices_zero_weights: bool = False


COST_ENGINES: Registry[CostEngine] = Registry(
    "cost engine", "offramp.cost.engines", entry_points="offramp.cost_engines"
)
"""All cost engines by name: the modules of `offramp.cost.engines` and the entry points of ``offramp.cost_engines``."""


def build_engines(name: str, options: EngineOptions) -> tuple[LayerEngine, ...]:
    """Build a registered engine.

    Args:
        name: The registered name.
        options: What the engine is built for.

    Returns:
        The engine for the first goal, followed by those for the other goals that it knows.

    Raises:
        UnknownNameError: No engine has this name; the message gives near names.
        ConfigError: A package that the engine needs is missing, or the plug-in gave no engine.
    """
    engines = COST_ENGINES.get(name).build(options)
    if not engines:
        raise ConfigError(
            f"Cost engine {name!r} must build at least one engine, got none. Correct the `build` of its registration."
        )
    return engines
