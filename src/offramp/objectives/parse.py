"""Objectives and constraints from text such as ``min:macs`` and ``energy_pj<=3mJ``."""

import math
import re
from collections.abc import Sequence
from typing import Literal

from offramp.errors import ConstraintError
from offramp.exits.quality.quality_measures import RECALL
from offramp.objectives.evaluation import METRICS, Constraint, Direction, Metric, Objective, is_quality
from offramp.registry import unknown_name_message

DEFAULT_OBJECTIVES: tuple[Objective, ...] = (
    Objective("accuracy", "maximize"),
    Objective("energy_pj", "minimize"),
    Objective("latency_cycles", "minimize"),
)

_DIRECTIONS: dict[str, Direction] = {
    "min": "minimize",
    "minimize": "minimize",
    "max": "maximize",
    "maximize": "maximize",
}
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_PICOJOULES = {"pJ": 1.0, "nJ": 1e3, "uJ": 1e6, "µJ": 1e6, "μJ": 1e6, "mJ": 1e9, "J": 1e12}
_CONSTRAINT = re.compile(r"\s*(recall:.*?\S|[A-Za-z_]\w*)\s*(<=|>=|≤|≥)\s*(\S(?:.*\S)?)\s*")
_NUMBER = re.compile(r"([-+]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf|infinity))\s*(\w*)", re.I)


def parse_objective(text: str) -> Objective:
    """Read one objective.

    Args:
        text: A metric, or ``recall:`` and the name of a class; ``min:`` or ``max:`` before it is optional.

    Returns:
        The objective, with the only direction that is better for its metric.

    Raises:
        ConstraintError: The metric is unknown, or the prefix is not its direction.
    """
    prefix, colon, name = text.strip().partition(":")
    if not colon or f"{prefix}:" == RECALL:
        prefix, name = "", text.strip()
    metric = _metric(name.strip(), "objective")
    better: Direction = "maximize" if is_quality(metric) else "minimize"
    if prefix and _DIRECTIONS.get(prefix.strip().lower()) is None:
        raise ConstraintError(f"An objective may begin with 'min:' or 'max:', got {text!r}.")
    if prefix and _DIRECTIONS[prefix.strip().lower()] != better:
        raise ConstraintError(f"{metric} can only be {better}d, got {text!r}. Write {better[:3]}:{metric} or {metric}.")
    return Objective(metric, better)


def parse_objectives(texts: str | Sequence[str]) -> tuple[Objective, ...]:
    """Read several objectives.

    Args:
        texts: Objectives as `parse_objective` takes them, as a sequence or separated by commas.

    Returns:
        The objectives in the order given.

    Raises:
        ConstraintError: There is none, one is given twice, or one cannot be understood.
    """
    parts = [part for text in ([texts] if isinstance(texts, str) else texts) for part in text.split(",")]
    objectives = tuple(parse_objective(part) for part in parts)
    if not objectives or len(set(objectives)) != len(objectives):
        raise ConstraintError(f"Objectives must be at least one metric and none twice, got {parts}.")
    return objectives


def parse_constraint(text: str) -> Constraint:
    """Read one constraint.

    Args:
        text: A bound such as ``latency_cycles<=200000``, ``macs<=2.4M``, ``energy_pj<=3mJ``, ``accuracy>=0.9`` or
            ``recall:cat>=0.8``.
            Suffixes are k, M and G; for ``energy_pj`` also pJ, nJ, uJ, mJ and J.

    Returns:
        The constraint.

    Raises:
        ConstraintError: The text cannot be understood, or no network can keep the bound.
    """
    match = _CONSTRAINT.fullmatch(text)
    if match is None:
        raise ConstraintError(
            f"A constraint must be a metric, '<=' or '>=', and a number, such as 'macs<=2.4M', got {text!r}. "
            f"Metrics: {', '.join(METRICS)}, {RECALL}NAME."
        )
    metric = _metric(match[1], "constraint metric")
    relation: Literal["<=", ">="] = "<=" if match[2] in ("<=", "≤") else ">="
    constraint = Constraint(metric, relation, _bound(metric, match[3], text))
    _check_possible(constraint, text)
    return constraint


def parse_constraints(texts: Sequence[str]) -> tuple[Constraint, ...]:
    """Read several constraints that hold together.

    Args:
        texts: Constraints as `parse_constraint` takes them.

    Returns:
        The constraints in the order given.

    Raises:
        ConstraintError: A constraint cannot be understood, or two of them exclude each other.
    """
    constraints = tuple(parse_constraint(text) for text in texts)
    for metric in dict.fromkeys(constraint.metric for constraint in constraints):
        upper = min((c.bound for c in constraints if c.metric == metric and c.relation == "<="), default=math.inf)
        lower = max((c.bound for c in constraints if c.metric == metric and c.relation == ">="), default=-math.inf)
        if lower > upper:
            raise ConstraintError(
                f"Constraints on {metric} exclude each other: at least {lower:g}, at most {upper:g}. Relax one of them."
            )
    return constraints


def _metric(name: str, kind: str) -> Metric:
    if name in METRICS or (name.startswith(RECALL) and name.removeprefix(RECALL).strip()):
        return name
    raise ConstraintError(unknown_name_message(kind, name, [*METRICS, f"{RECALL}NAME"]))


def _bound(metric: Metric, number: str, text: str) -> float:
    match = _NUMBER.fullmatch(number)
    suffixes = {**_FACTORS, **(_PICOJOULES if metric == "energy_pj" else {})}
    if is_quality(metric):
        suffixes = {"": 1.0}
    if match is None or match[2] not in suffixes:
        names = ", ".join(name for name in suffixes if name and name not in ("µJ", "μJ"))
        allowed = f"optionally followed by one of {names}" if names else "without a suffix, a share from 0 to 1"
        raise ConstraintError(f"The bound of {metric} must be a number, {allowed}; got {number!r} in {text!r}.")
    value = float(match[1]) * suffixes[match[2]]
    if not math.isfinite(value):
        raise ConstraintError(f"The bound of {metric} must be a finite number, got {number!r} in {text!r}.")
    return value


def _check_possible(constraint: Constraint, text: str) -> None:
    if is_quality(constraint.metric):
        if not 0.0 <= constraint.bound <= 1.0:
            hint = f" Did you mean {constraint.bound / 100:g}?" if 1.0 < constraint.bound <= 100.0 else ""
            raise ConstraintError(
                f"{constraint.metric} is a share from 0 to 1, so no network can keep {text.strip()!r}.{hint}"
            )
    elif constraint.bound <= 0.0:
        raise ConstraintError(f"The bound of {constraint.metric} must be above 0, got {text.strip()!r}.")
