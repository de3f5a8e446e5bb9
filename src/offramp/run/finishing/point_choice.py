"""Thresholds of a network from validation samples, with a guarantee where the settings ask for one."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.cost.report import CostReport
from offramp.exits.accuracy_guarantee import parse_target
from offramp.exits.quality.quality_measures import QualityMeasures
from offramp.objectives.evaluation import Constraint
from offramp.run.evaluators.operating_point import choose_certified_point, choose_operating_point
from offramp.run.finishing.used_exits import ChosenPoint
from offramp.settings.config import Config
from offramp.space.architecture import PolicyChoice


def choose_point(
    config: Config,
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    cost: CostReport,
    choice: PolicyChoice,
    *,
    constraints: Sequence[Constraint],
    measures: QualityMeasures,
    most_product: float = math.inf,
    seen: NDArray[np.bool_] | None = None,
) -> ChosenPoint:
    """Choose the thresholds of a network.

    Args:
        config: All settings of a search.
        logits: One array (samples, classes) per exit, the final one last.
        labels: The true classes (samples,).
        cost: Costs of the network to each exit.
        choice: The confidence measure, and how much accuracy may be lost.
        constraints: What the network should keep.
        measures: The measures of good answers.
        most_product: The largest expected energy-delay product (J x cycles) that is considered; without effect where
            there is a guarantee.
        seen: Which samples the search has used, (samples,); None = none of them. For a guarantee alone.

    Returns:
        The operating point, with its guarantee if there is one.
    """
    calibrate = config.search.calibrate_confidences
    if config.fine_tune.guarantee is None:
        point = choose_operating_point(
            logits,
            labels,
            cost,
            choice,
            constraints,
            calibrate=calibrate,
            by_class=config.search.class_thresholds,
            most_product=most_product,
            measures=measures,
        )
        return ChosenPoint(point)
    certified = choose_certified_point(
        logits,
        labels,
        cost,
        choice,
        parse_target(config.fine_tune.guarantee),
        constraints,
        seed=config.seed,
        calibrate=calibrate,
        by_class=config.search.class_thresholds,
        seen=seen,
        guaranteed=config.fine_tune.guarantee_measure,
        measures=measures,
    )
    return ChosenPoint(certified.point, certified.guarantee)
