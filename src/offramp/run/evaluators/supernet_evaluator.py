"""Evaluation of a candidate without training: weights come from the supernet, costs from the cost model."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from offramp.cost.report import CostModel, CostReport
from offramp.exits.quality.quality_measures import QualityMeasures
from offramp.hardware.accelerator import Accelerator
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.supernet.supernet import Supernet
from offramp.objectives.evaluation import Constraint, Details, Evaluation, Status
from offramp.run.evaluators.operating_point import choose_operating_point
from offramp.run.evaluators.static_candidates import StaticCandidates, failed
from offramp.run.network_preparation import EvaluationData, assign_analog_, calibrate_, calibration_images, quantize_
from offramp.run.workloads import planned_workload
from offramp.space.architecture import Architecture
from offramp.space.cut_networks import static_at
from offramp.train.compute import Compute, one_thread
from offramp.train.trainer import collect_logits
from offramp.workload.graph import Workload

_NOISE_SEED = 0


class SupernetEvaluator:
    """Judges a candidate by the weights that it inherits, after its batch norms were calibrated.

    Attributes:
        supernet: The network that holds the weights.
        data: The samples that candidates are judged on.
        compute: Device and number format.
        cost_model: Prices candidates.
        accelerator: The accelerator that candidates are priced for.
        constraints: What candidates should keep; their violations are recorded.
        calibrate_confidences: Whether each exit's confidences are scaled by a temperature.
        class_thresholds: Whether thresholds differ by predicted class.
        quantize: Whether candidates are judged at the bit widths that they are priced at.
        weight_density: Share of nonzero weights after fine-tuning, 0..1, with which candidates are priced; None = they
            are priced as they are.
        measures: The measures of good answers that thresholds are chosen by.
        max_depths: Largest depth of each stage of the space, by which taps are numbered.
        static_candidates: Evaluates the static networks that come along with candidates.
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
        class_thresholds: bool = False,
        quantize: bool = False,
        weight_density: float | None = None,
        measures: QualityMeasures | None = None,
    ) -> None:
        """Set all attributes.

        Args:
            supernet: The network that holds the weights.
            data: The samples that candidates are judged on.
            compute: Device and number format.
            cost_model: Prices candidates.
            accelerator: The accelerator that candidates are priced for.
            constraints: What candidates should keep.
            calibrate_confidences: Whether each exit's confidences are scaled by a temperature.
            class_thresholds: Whether thresholds differ by predicted class.
            quantize: Whether candidates are judged at the bit widths that they are priced at.
            weight_density: Share of nonzero weights after fine-tuning, 0..1; None = candidates are priced as they are.
            measures: The measures of good answers; None = accuracy decides.
        """
        self.supernet = supernet
        self.data = data
        self.compute = compute
        self.cost_model = cost_model
        self.accelerator = accelerator
        self.constraints = tuple(constraints)
        self.calibrate_confidences = calibrate_confidences
        self.class_thresholds = class_thresholds
        self.quantize = quantize
        self.weight_density = weight_density
        self.measures = measures or QualityMeasures()
        self.max_depths = tuple(max(stage.depths) for stage in supernet.space.stages)
        self.static_candidates = StaticCandidates(data.validation.labels, self.constraints, self.measures)

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Evaluate a candidate.

        Torch uses one thread meanwhile. The last bits of sums depend on the number of threads, and a candidate must get
        the same figures on every machine.

        Args:
            architecture: The candidate.

        Returns:
            A complete evaluation, or a failed one with its reason. No error of one candidate is raised.
        """
        try:
            with one_thread():
                return self._evaluate(architecture)
        except Exception as exc:
            # The search continues without a candidate that fails, up to its limit of failures.
            return failed(architecture, exc)

    def _evaluate(self, architecture: Architecture) -> Evaluation:
        network = self.supernet.extract(architecture)
        calibrate_(network, self.data, self.compute)
        if self.quantize:
            quantize_(network, self.data, self.compute)
        if architecture.has_analog_shares:
            assign_analog_(network, self.accelerator, calibration_images(self.data, self.compute), _NOISE_SEED)
        labels = self.data.validation.labels
        logits = self._logits(network)
        if not all(np.isfinite(exit_logits).all() for exit_logits in logits):
            raise ArithmeticError("the network answers with values that are not finite")
        cost = self.cost_model.estimate(self.workload(network), self.accelerator)
        point = choose_operating_point(
            logits,
            labels,
            cost,
            architecture.policy,
            self.constraints,
            calibrate=self.calibrate_confidences,
            by_class=self.class_thresholds,
            measures=self.measures,
        )
        return Evaluation(
            architecture=architecture,
            status=Status.COMPLETE,
            values=point.values(),
            violations=point.violations(self.constraints),
            # Costs per layer would be nine tenths of the record. They can be computed again from the architecture.
            details=Details(point.policy, point.profile, point.expected, cost.per_exit()),
            statics=self._statics(network, logits),
        )

    def _statics(self, network: EarlyExitNetwork, logits: Sequence[NDArray[np.floating]]) -> tuple[Evaluation, ...]:
        """The static network of each exit of an early-exit network."""
        if network.architecture.is_static:
            return ()
        if len(network.links):
            # A static network has no exit before its classifier.
            logits = self._logits(network.without_links())

        def priced(index: int) -> CostReport:
            cut = network.with_exits((), index, self.max_depths)
            return self.cost_model.estimate(self.workload(cut), self.accelerator)

        return tuple(
            self.static_candidates.evaluation(
                static_at(network.architecture, index, self.max_depths), item, partial(priced, index)
            )
            for index, item in enumerate(logits)
        )

    def _logits(self, network: EarlyExitNetwork) -> tuple[NDArray[np.float32], ...]:
        return collect_logits(network, self.data.validation, self.data.preprocessing, self.compute)

    def workload(self, network: EarlyExitNetwork) -> Workload:
        """The layers that a candidate is priced with.

        Args:
            network: The candidate's network.

        Returns:
            Its layers, pruned as fine-tuning will do.
        """
        return planned_workload(network, self.accelerator, self.weight_density)
