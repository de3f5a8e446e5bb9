"""The registry of cost engines: what prices one layer on one core."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from offramp.cost.report import Goal, LayerCost, LayerEngine
from offramp.errors import ConfigError, OfframpError
from offramp.hardware.accelerator import Accelerator, Core
from offramp.registry import Registry, instance_of, object_like
from offramp.workload.layer import LayerShape

Loads = Literal["before", "overlap"]
"""Whether data that is loaded once arrives before the computation, or beside it where memories have bandwidth left."""

Unrolling = Literal["best", "zigzag"]
"""How a dataflow's loop on several array dimensions is divided for a smaller layer: the best way, or zigzag-dse's."""

MemoryFill = Literal["full", "best"]
"""How much of the memories a mapping fills: as much as it can, or as much as is best."""


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
        loads: When data that is loaded once arrives. Engines without that choice ignore it.
        unrolling: How a dataflow is cut down to a smaller layer. Engines without that choice ignore it.
        memory_fill: How much of the memories a mapping fills. Engines without that choice ignore it.
    """

    goals: tuple[Goal, ...] = ("latency",)
    coarse: bool = False
    accelerator: Accelerator | None = None
    loads: Loads = "before"
    unrolling: Unrolling = "best"
    memory_fill: MemoryFill = "full"

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
    "cost engine", "offramp.cost.engines", entry_points="offramp.cost_engines", expects=instance_of(CostEngine)
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
        ConfigError: A package that the engine needs is missing, or `build` of the plug-in failed or gave something
            else than engines.
        OfframpError: What `build` of the plug-in raises of this family, such as AcceleratorError.
    """
    factory = COST_ENGINES.get(name)
    try:
        engines = factory.build(options)
    except OfframpError:
        raise
    # A plug-in may raise anything, and what it calls may end the program.
    except (Exception, SystemExit) as exc:
        reason = f"{type(exc).__name__}: {' '.join(str(exc).split())}".rstrip(": .")
        raise ConfigError(
            f"Cost engine {name!r} must build its engines without an error, got {reason}. Correct the `build` of its "
            "registration, or choose another engine; `offramp list engines` shows all."
        ) from exc
    fault = _engines_fault(engines, len(options.goals))
    if fault is not None:
        raise ConfigError(f"Cost engine {name!r} must build {fault}. Correct the `build` of its registration.")
    return engines


def _engines_fault(engines: object, num_goals: int) -> str | None:
    """Say what a `build` should have returned instead; None if it returned what it should."""
    if not isinstance(engines, tuple):
        return f"a tuple of engines, got an object of type {type(engines).__name__}"
    if not engines:
        return "at least one engine, got none"
    if len(engines) not in (1, num_goals):
        expected = "one engine" if num_goals == 1 else f"one engine, or one for each of the {num_goals} goals"
        return f"{expected}, got {len(engines)} engines"
    faults = (_LAYER_ENGINE.fault(engine) for engine in engines)
    return next((f"layer engines: each {fault}" for fault in faults if fault is not None), None)


_LAYER_ENGINE = object_like(LayerEngine)
