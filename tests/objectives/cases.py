"""Evaluations with chosen values, for the tests of this folder."""

from offramp.objectives.evaluation import Evaluation, Metric, Objective, Status
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, StageChoice

ACCURACY_MACS = (Objective("accuracy", "maximize"), Objective("macs", "minimize"))


def architecture(number: int, drop: float = 0.0) -> Architecture:
    """A different network for every number; the policy's accuracy drop does not make another network."""
    stage = StageChoice(1, number + 1, (3,), (1,))
    return Architecture("toy", 32, (stage,), (ExitChoice(0, "conv"),), policy=PolicyChoice(accuracy_drop=drop))


def evaluation(number: int, violations: tuple[float, ...] = (), **values: float) -> Evaluation:
    return Evaluation(architecture(number), Status.COMPLETE, dict(values), violations)


def point(number: int, accuracy: float, macs: float, violations: tuple[float, ...] = ()) -> Evaluation:
    return evaluation(number, violations, accuracy=accuracy, macs=macs)


def failed(number: int) -> Evaluation:
    return Evaluation(architecture(number), Status.FAILED, {}, error="diverged")


def point_3d(number: int, accuracy: float, energy_pj: float, latency_cycles: float) -> Evaluation:
    return evaluation(number, accuracy=accuracy, energy_pj=energy_pj, latency_cycles=latency_cycles)


def metric_names() -> tuple[Metric, ...]:
    return ("accuracy", "latency_cycles", "energy_pj", "macs", "energy_delay_product_j_cycles")
