"""Small search spaces and an arithmetic evaluator whose true front is found by enumeration."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from offramp.objectives.evaluation import Constraint, Evaluation, Objective, Status
from offramp.objectives.pareto import ParetoFront, pareto_front
from offramp.objectives.parse import DEFAULT_OBJECTIVES
from offramp.space.architecture import Architecture
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.search_space import BackboneSpace, SearchSpace, StageSpace


def tiny_space() -> EarlyExitSpace:
    """A space of 200 architectures."""
    stages = (StageSpace(depths=(1, 2), widths=(4, 8)), StageSpace(depths=(1, 2), widths=(8,), kernel_sizes=(3, 5)))
    return EarlyExitSpace(
        backbone=BackboneSpace("toy", (8,), stages),
        branches=("conv",),
        measures=("max_probability",),
        accuracy_drops=(0.0, 0.02),
        max_exits=2,
    )


def small_space() -> EarlyExitSpace:
    """A space far too large to try out, in the shape of a real one: three stages of up to three blocks."""
    stages = tuple(
        StageSpace(depths=(1, 2, 3), widths=(width, 2 * width), kernel_sizes=(3, 5, 7), expansions=(1, 3, 6), stride=2)
        for width in (8, 16, 32)
    )
    return EarlyExitSpace(
        backbone=BackboneSpace("toy", (16, 32), stages),
        branches=("pool_linear", "conv"),
        measures=("max_probability", "entropy"),
        accuracy_drops=(0.0, 0.01, 0.02, 0.04),
        max_exits=3,
    )


def every_architecture(space: SearchSpace) -> Iterator[Architecture]:
    """Enumerate the distinct members of a space by all its gene vectors; for tiny spaces only.

    Args:
        space: The search space.

    Yields:
        Each architecture once.
    """
    seen = set()
    for genes in itertools.product(*(range(count) for count in space.cardinalities)):
        architecture = space.decode(genes)
        if architecture not in seen:
            seen.add(architecture)
            yield architecture


def true_front(space: SearchSpace, evaluator: "ToyEvaluator", objectives: Sequence[Objective]) -> ParetoFront:
    """Find the front of the whole space by trying everything.

    Args:
        space: The search space.
        evaluator: What evaluates the members.
        objectives: The objectives.

    Returns:
        The Pareto front.
    """
    return pareto_front([evaluator.evaluate(item) for item in every_architecture(space)], objectives)


@dataclass(frozen=True)
class ToyEvaluator:
    """Judges architectures by formula: more work means more accuracy, with less and less return.

    Samples leave at an early exit in proportion to the work done until then and to the accuracy that may be given up.

    Attributes:
        constraints: Constraints whose violations are reported.
        objectives: The objectives.
    """

    constraints: tuple[Constraint, ...] = ()
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES

    def evaluate(self, architecture: Architecture) -> Evaluation:
        work = _work_at_taps(architecture)
        exits = [choice for choice in architecture.exits if choice.tap < len(work)]
        total, remaining, branches = work[-1], 1.0, 0.0
        right = cost = product = 0.0
        for choice in exits:
            convolutional = choice.branch == "conv"
            branches += 0.04 * total if convolutional else 0.01 * total
            leaving = remaining * (0.3 + 8.0 * architecture.policy.accuracy_drop) * work[choice.tap] / total
            strength = _accuracy(work[choice.tap]) + (0.05 if convolutional else 0.0)
            right += leaving * min(strength, 0.99)
            cost += leaving * (work[choice.tap] + branches)
            product += leaving * (work[choice.tap] + branches) ** 2
            remaining -= leaving
        right += remaining * _accuracy(total)
        cost += remaining * (total + branches)
        product += remaining * (total + branches) ** 2
        # Wide kernels are cheap in energy here and dear in cycles, so that the two costs do not agree.
        share = _share_of_wide_kernels(architecture)
        values = {
            "accuracy": right,
            "latency_cycles": cost * (1.0 + 0.2 * share),
            "energy_pj": 100.0 * cost * (1.0 - 0.1 * share),
            "macs": 10.0 * cost,
            "energy_delay_product_j_cycles": 1e-10 * product,
        }
        violations = tuple(constraint.violation(values[constraint.metric]) for constraint in self.constraints)
        return Evaluation(architecture, Status.COMPLETE, values, violations)


def _work_at_taps(architecture: Architecture) -> list[float]:
    """Cumulative work at each tap slot, with three slots or fewer a stage; idle slots repeat the last value."""
    slots = 2 if architecture.resolution == 8 else 3
    work: list[float] = []
    done, size = 0.0, float(architecture.resolution)
    for stage in architecture.stages:
        for block in range(slots):
            if block < stage.depth:
                done += stage.width * size * (stage.kernel_sizes[block] + 4 * stage.expansions[block])
            work.append(done)
        size /= 2
    return work


def _accuracy(work: float) -> float:
    return 0.97 * (1.0 - math.exp(-((work / 4000.0) ** 0.6)))


def _share_of_wide_kernels(architecture: Architecture) -> float:
    kernels = [size for stage in architecture.stages for size in stage.kernel_sizes]
    return sum(size > 3 for size in kernels) / len(kernels)
