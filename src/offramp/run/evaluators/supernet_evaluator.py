"""Architecture to Evaluation without training: weights come from the supernet, costs from the cost model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from offramp.cost.report import CostModel
from offramp.data.labelled_data import Preprocessing, Split
from offramp.data.mini_batches import batches
from offramp.hardware.accelerator import Accelerator
from offramp.nn.batch_norm import recalibrate_batch_norm_
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import is_prepared, prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.objectives.evaluation import Constraint, Details, Evaluation, Status
from offramp.run.analog_networks import make_assigned_
from offramp.run.evaluators.operating_point import choose_operating_point
from offramp.run.pruned_workloads import planned_workload
from offramp.space.architecture import Architecture
from offramp.train.compute import Compute, one_thread
from offramp.train.trainer import collect_logits
from offramp.workload.graph import Workload

_CALIBRATION_BATCH = 256
_GRID_BATCHES = 2
_NOISE_SEED = 0
_LONGEST_REASON = 500


@dataclass(frozen=True)
class EvaluationData:
    """``calibration`` is a part of the training split, ``validation`` the samples that decide."""

    calibration: Split
    validation: Split
    preprocessing: Preprocessing


class SupernetEvaluator:
    """Judges a candidate by the weights it inherits, after its batch norms were calibrated anew.

    With ``quantize`` it is judged at the bit widths it is priced at, as the integers that would be deployed. With
    ``weight_density`` it is priced as pruned to that share of nonzero weights, which fine-tuning will do, and judged as
    it is.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: EvaluationData,
        compute: Compute,
        cost_model: CostModel,
        accelerator: Accelerator,
        constraints: Sequence[Constraint],
        *,
        calibrate_confidences: bool = False,
        quantize: bool = False,
        weight_density: float | None = None,
    ) -> None:
        self.supernet = supernet
        self.data = data
        self.compute = compute
        self.cost_model = cost_model
        self.accelerator = accelerator
        self.constraints = tuple(constraints)
        self.calibrate_confidences = calibrate_confidences
        self.quantize = quantize
        self.weight_density = weight_density

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """A complete evaluation, or a failed one with its reason; never an exception for one bad candidate.

        Torch computes with one thread meanwhile: sums depend on their number in the last bits, and the same candidate
        must get the same figures whoever evaluates it and how much else that machine does.
        """
        try:
            with one_thread():
                return self._evaluate(architecture)
        except Exception as exc:
            # Whatever a single candidate brings up: the search goes on without it, up to its limit of failures.
            return failed(architecture, exc)

    def _evaluate(self, architecture: Architecture) -> Evaluation:
        network = self.supernet.extract(architecture)
        calibrate(network, self.data, self.compute)
        if self.quantize:
            quantize_network(network, self.data, self.compute)
        if architecture.has_analog_shares:
            make_assigned_(network, self.accelerator, placed_images(self.data, self.compute), _NOISE_SEED)
        labels = self.data.validation.labels
        logits = collect_logits(network, self.data.validation, self.data.preprocessing, self.compute)
        if not all(np.isfinite(exit_logits).all() for exit_logits in logits):
            raise ArithmeticError("the network answers with values that are not finite")
        cost = self.cost_model.estimate(self.workload(network), self.accelerator)
        point = choose_operating_point(
            logits, labels, cost, architecture.policy, self.constraints, calibrate=self.calibrate_confidences
        )
        return Evaluation(
            architecture=architecture,
            status=Status.COMPLETE,
            values=point.values(),
            violations=point.violations(self.constraints),
            # Costs per layer would be nine tenths of the record; whoever wants them prices the architecture again.
            details=Details(point.policy, point.profile, point.expected, cost.per_exit()),
        )

    def workload(self, network: EarlyExitNetwork) -> Workload:
        """What a candidate is priced as."""
        return planned_workload(network, self.accelerator, self.weight_density)


def failed(architecture: Architecture, exc: Exception) -> Evaluation:
    """The evaluation of a candidate that brought up ``exc``."""
    reason = " ".join(f"{type(exc).__name__}: {exc}".split())[:_LONGEST_REASON]
    return Evaluation(architecture, Status.FAILED, {}, error=reason)


def quantize_network(network: EarlyExitNetwork, data: EvaluationData, compute: Compute) -> None:
    """Make a calibrated network compute at the bit widths it states; grids and statistics fit training samples."""
    compute.place(network)
    images = placed_images(data, compute)
    prepare_(network, images[:_GRID_BATCHES])
    if is_prepared(network):
        with compute.autocast():
            recalibrate_batch_norm_(network, images)


def placed_images(data: EvaluationData, compute: Compute) -> list[Tensor]:
    """Batches of the calibration images."""
    images = batches(data.calibration, data.preprocessing, batch_size=_CALIBRATION_BATCH, shuffle=False)
    return [compute.place_images(batch.images) for batch in images]


def calibrate(network: torch.nn.Module, data: EvaluationData, compute: Compute) -> None:
    """Fit the batch-norm statistics of a network that inherited its weights, on training samples."""
    compute.place(network)
    images = batches(data.calibration, data.preprocessing, batch_size=_CALIBRATION_BATCH, shuffle=False)
    with compute.autocast():
        recalibrate_batch_norm_(network, (compute.place_images(batch) for batch, _ in images))
