"""Calls of cost engines, whose answers are checked: an engine may be of another package."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from offramp.cost.engines.cost_engine import MultiGoalEngine
from offramp.cost.report import Goal, LayerCost, LayerEngine
from offramp.cost.unsupported import describe
from offramp.errors import ConfigError, OfframpError
from offramp.hardware.accelerator import Core
from offramp.workload.layer import LayerShape

Jobs = Sequence[tuple[LayerShape, Core]]


def price(engine: LayerEngine, jobs: Jobs) -> list[LayerCost]:
    """Have an engine price layers on cores.

    Args:
        engine: The engine.
        jobs: Layers and cores.

    Returns:
        One cost per job, in order; all figures are finite and at least 0.

    Raises:
        UnpricedJobsError: The engine cannot price some jobs; the error names all of them.
        ConfigError: The engine fails, or answers with something else than costs; the message names the engine.
    """
    with _engine_errors(engine):
        costs = engine.price(jobs)
    _check(engine, jobs, costs)
    return costs


def price_goals(engine: MultiGoalEngine, jobs: Jobs, goals: Sequence[Goal]) -> list[list[LayerCost]]:
    """Have an engine price layers on cores for several goals at once.

    Args:
        engine: The engine.
        jobs: Layers and cores.
        goals: The goals.

    Returns:
        For each goal one cost per job, in order; all figures are finite and at least 0.

    Raises:
        UnpricedJobsError: The engine cannot price some jobs; the error names all of them.
        ConfigError: The engine fails, or answers with something else than costs; the message names the engine.
    """
    with _engine_errors(engine):
        answers = engine.price_goals(jobs, goals)
    if not isinstance(answers, list) or len(answers) != len(goals):
        raise ConfigError(f"Cost engine {engine.name!r} must answer with one list for each of {len(goals)} goals.")
    for costs in answers:
        _check(engine, jobs, costs)
    return answers


@contextmanager
def _engine_errors(engine: LayerEngine) -> Iterator[None]:
    """Convert what the code of an engine raises into an error that names the engine."""
    try:
        yield
    except OfframpError:
        raise
    # A plug-in may raise anything, and what it calls may end the program.
    except (Exception, SystemExit) as exc:
        reason = f"{type(exc).__name__}: {' '.join(str(exc).split())}".rstrip(": .")
        raise ConfigError(
            f"Cost engine {engine.name!r} must price layers without an error, got {reason}. Correct the engine, or "
            "choose another one; `offramp list engines` shows all."
        ) from exc


def _check(engine: LayerEngine, jobs: Jobs, costs: object) -> None:
    if not isinstance(costs, list) or len(costs) != len(jobs):
        given = f"{len(costs)}" if isinstance(costs, list) else f"an object of type {type(costs).__name__}"
        raise ConfigError(
            f"Cost engine {engine.name!r} must answer {len(jobs)} jobs with a list of costs, got {given}."
        )
    for (shape, core), cost in zip(jobs, costs, strict=True):
        fault = _fault(cost)
        if fault is not None:
            raise ConfigError(
                f"Cost engine {engine.name!r} must give finite figures of at least 0, got {fault} for "
                f"{describe(shape)} on core {core.name!r}. Correct the engine, or choose another one; "
                "`offramp list engines` shows all."
            )


def _fault(cost: object) -> str | None:
    if not isinstance(cost, LayerCost):
        return f"an object of type {type(cost).__name__}"
    figures = {name: getattr(cost, name) for name in _FIGURES}
    figures |= {f"memory_energy of {part.memory!r}": part.energy_pj for part in cost.memory_energy}
    for name, value in figures.items():
        if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
            return f"{name} = {value!r}"
    return None


_FIGURES = (
    "temporal_cycles",
    "stall_cycles",
    "onload_cycles",
    "offload_cycles",
    "mac_energy_pj",
    "utilization",
)
