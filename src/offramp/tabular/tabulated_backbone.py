"""All early-exit networks of one backbone, evaluated from a table: thousands a second, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.exact.exit_table import ExitCosts, ExitTable, count_bits, metric_columns, pack_bits
from offramp.cost.expected import ExpectedCost
from offramp.cost.report import CostReport, StageCost
from offramp.errors import TableError
from offramp.exits.confidence_measures import Measure, confidence
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.exits.thresholds import SHARED_THRESHOLDS
from offramp.numerics.dominance import distinct_front
from offramp.objectives.evaluation import Constraint, Details, Evaluation, Status
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice
from offramp.space.cut_networks import cut_at
from offramp.version import __version__


@dataclass(frozen=True, eq=False)
class _Outcomes:
    """What a network does at several thresholds; one row per threshold, one column per exit, the final one last."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    costs: NDArray[np.float64]
    """Costs to each exit, (exits, 4), with columns `METRICS`."""

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Accuracy at each threshold."""
        accuracy: NDArray[np.float64] = self.right.sum(axis=1) / self.left.sum(axis=1)
        return accuracy

    @property
    def expected(self) -> NDArray[np.float64]:
        """Mean costs at each threshold, (thresholds, 4), with columns `METRICS`."""
        expected: NDArray[np.float64] = (self.left / self.left.sum(axis=1, keepdims=True)) @ self.costs
        return expected


class TabulatedBackbone:
    """One backbone of a table on one split and one accelerator.

    All exits of a network have the same threshold, one of `SHARED_THRESHOLDS`, as in Zniber et al. Its choice is that
    of `choose_operating_point`: the lowest expected energy-delay product at an accuracy close enough to the best one.

    Attributes:
        backbone: The backbone, without early exits.
        options: The exits that it may have, in the order of their taps.
    """

    def __init__(
        self,
        backbone: Architecture,
        options: tuple[ExitChoice, ...],
        logits: NDArray[np.float32],
        labels: NDArray[np.integer],
        costs: ExitCosts,
        accelerator: str,
        max_depths: Sequence[int],
    ) -> None:
        """Prepare the evaluation of networks.

        Args:
            backbone: The backbone, without early exits.
            options: The exits that it may have, in the order of their taps.
            logits: Logits (options + 1, samples, classes); the last row is the final classifier.
            labels: The true classes, (samples,).
            costs: Costs of options and final classifier.
            accelerator: Name of the accelerator that the costs are of.
            max_depths: Largest depth of each stage of the space, by which taps are numbered.
        """
        self.backbone = backbone
        self.options = options
        self._index = {option: place for place, option in enumerate(options)}
        self._logits = logits[:-1]
        self._correct = logits.argmax(axis=2) == labels
        self._costs = costs
        self._accelerator = accelerator
        self._max_depths = tuple(max_depths)
        self._everyone = pack_bits(np.ones((1, len(labels)), dtype=bool))
        self._correct_bits = pack_bits(self._correct)
        self._full_accuracies = self._correct.mean(axis=1).tolist()
        self._num_samples = len(labels)
        self._scores: dict[Measure, NDArray[np.float64]] = {}
        self._leaving: dict[Measure, NDArray[np.uint64]] = {}
        self._statics: dict[int, Evaluation] = {}

    def scores(self, measure: Measure) -> NDArray[np.float64]:
        """Give the confidences of all samples at all exits.

        Args:
            measure: The confidence measure.

        Returns:
            Confidences from 0 to 1, (options, samples).
        """
        if measure not in self._scores:
            self._scores[measure] = confidence(self._logits, measure).reshape(len(self.options), self._num_samples)
        return self._scores[measure]

    def exit_table(self, measures: Sequence[Measure]) -> ExitTable:
        """Give what the exact search solves a backbone from.

        Args:
            measures: The confidence measures.

        Returns:
            The table.
        """
        shared = np.asarray(SHARED_THRESHOLDS)
        return ExitTable(
            backbone=self.backbone,
            options=self.options,
            correct=self._correct,
            scores={measure: self.scores(measure) for measure in measures},
            thresholds={measure: (shared,) * len(self.options) for measure in measures},
            costs=self._costs,
            shared_threshold=True,
        )

    def evaluate(self, architecture: Architecture, constraints: Sequence[Constraint] = ()) -> Evaluation:
        """Choose the threshold of a network and evaluate it.

        Args:
            architecture: A network with this backbone.
            constraints: What networks should keep. Thresholds that keep all of them come first; if there are none,
                the one with the smallest sum of violations is chosen.

        Returns:
            The evaluation; it fails if an exit is not among the options.
        """
        places = [self._index.get(choice) for choice in architecture.exits]
        if None in places:
            return Evaluation(architecture, Status.FAILED, {}, error="TableError: the table has no such exit")
        known = [place for place in places if place is not None]
        choice = architecture.policy
        outcomes = self._outcomes(known, self._bits(choice.measure))
        row = self._choose(outcomes, choice, constraints)
        threshold = SHARED_THRESHOLDS[row] if known else 1.0
        statics = tuple(self.static(place, constraints) for place in (*known, len(self.options))) if known else ()
        return self._evaluation(architecture, outcomes, row, threshold, constraints, statics)

    def static(self, place: int, constraints: Sequence[Constraint] = ()) -> Evaluation:
        """Evaluate a static network of this backbone.

        Args:
            place: Index of the option at which it ends; the number of options means the final classifier.
            constraints: What networks should keep.

        Returns:
            The evaluation.
        """
        if place not in self._statics:
            costs = metric_columns(self._costs.to_tap[place] + self._costs.branch[place])[None]
            everyone = np.asarray([[self._num_samples]])
            outcomes = _Outcomes(everyone, count_bits(self._correct_bits[place])[None, None], costs)
            last = place == len(self.options)
            network = self.backbone if last else cut_at(self.backbone, self.options[place], self._max_depths)
            self._statics[place] = self._evaluation(network, outcomes, 0, 1.0, constraints, (), place)
        return self._statics[place]

    def measure(self, evaluation: Evaluation, constraints: Sequence[Constraint] = ()) -> Evaluation:
        """Measure a network with thresholds that were chosen on other samples.

        Args:
            evaluation: A complete evaluation of the network, with its policy.
            constraints: What networks should keep.

        Returns:
            The evaluation of the same network and policy on the samples of this object.

        Raises:
            TableError: The network has no policy of thresholds, or an exit that is not among the options.
        """
        architecture = evaluation.architecture
        policy = None if evaluation.details is None else evaluation.details.policy
        head = architecture.head
        heads = {cut_at(self.backbone, option, self._max_depths): place for place, option in enumerate(self.options)}
        if head is not None and architecture in heads:
            return self.static(heads[architecture], constraints)
        places = [self._index[choice] for choice in architecture.exits if choice in self._index]
        if policy is None or head is not None or len(places) != len(architecture.exits):
            raise TableError("Only a network that was evaluated with this table can be measured on other samples.")
        if not places:
            return self.static(len(self.options), constraints)
        scores = self.scores(policy.measure)[places]
        leaving = pack_bits(scores >= np.asarray(policy.thresholds)[:, None])
        bits = np.zeros((len(self.options), 1, leaving.shape[1]), dtype=np.uint64)
        bits[places, 0] = leaving
        outcomes = self._outcomes(places, bits)
        return self._evaluation(architecture, outcomes, 0, policy.thresholds[0], constraints, ())

    def _bits(self, measure: Measure) -> NDArray[np.uint64]:
        """The samples that leave at each option and threshold, (options, thresholds, words)."""
        if measure not in self._leaving:
            leaves = self.scores(measure)[:, None, :] >= np.asarray(SHARED_THRESHOLDS)[:, None]
            packed = pack_bits(leaves.reshape(-1, self._num_samples))
            self._leaving[measure] = packed.reshape(len(self.options), len(SHARED_THRESHOLDS), packed.shape[1])
        return self._leaving[measure]

    def _outcomes(self, places: Sequence[int], leaving: NDArray[np.uint64]) -> _Outcomes:
        num_thresholds = leaving.shape[1] if places else 1
        staying = np.repeat(self._everyone, num_thresholds, axis=0)
        left, right = [], []
        for place in places:
            leaves = staying & leaving[place]
            left.append(count_bits(leaves))
            right.append(count_bits(leaves & self._correct_bits[place]))
            staying = staying & ~leaving[place]
        left.append(count_bits(staying))
        right.append(count_bits(staying & self._correct_bits[-1]))
        rows = [*places, len(self.options)]
        costs = metric_columns(self._costs.to_tap[rows] + self._costs.branch[rows].cumsum(axis=0))
        return _Outcomes(np.stack(left, axis=1), np.stack(right, axis=1), costs)

    def _choose(self, outcomes: _Outcomes, choice: PolicyChoice, constraints: Sequence[Constraint]) -> int:
        if outcomes.left.shape[1] == 1:
            return 0
        accuracy, expected = outcomes.accuracy, outcomes.expected
        curve = distinct_front(np.column_stack([expected[:, 3], -accuracy]))
        floor = accuracy[curve].max() - choice.accuracy_drop - 1e-12
        near = [int(row) for row in curve if accuracy[row] >= floor]
        near.sort(key=lambda row: expected[row, 3])
        if not constraints:
            return near[0]
        rest = sorted((int(row) for row in curve if accuracy[row] < floor), key=lambda row: -accuracy[row])

        def excess(row: int) -> float:
            values = _values(float(accuracy[row]), expected[row])
            return sum(item.violation(values[item.metric]) for item in constraints)

        return min([*near, *rest], key=excess)

    def _evaluation(
        self,
        architecture: Architecture,
        outcomes: _Outcomes,
        row: int,
        threshold: float,
        constraints: Sequence[Constraint],
        statics: tuple[Evaluation, ...],
        place: int | None = None,
    ) -> Evaluation:
        left, right = outcomes.left[row], outcomes.right[row]
        rates = left / self._num_samples
        accuracies = right / np.maximum(left, 1)
        mean = (rates @ outcomes.costs).tolist()
        accuracy = float(right.sum()) / self._num_samples
        rows = [self._index[choice] for choice in architecture.exits]
        rows.append(len(self.options) if place is None else place)
        full = tuple(self._full_accuracies[item] for item in rows)
        values = _values(accuracy, mean)
        details = Details(
            policy=ExitPolicy(architecture.policy.measure, (threshold,) * len(architecture.exits)),
            profile=ExitProfile(tuple(rates.tolist()), tuple(accuracies.tolist()), full, accuracy, self._num_samples),
            expected=ExpectedCost(mean[0], mean[1], mean[2], mean[3], mean[0] * mean[1] * 1e-12),
            cost=self._report(rows),
        )
        violations = tuple(item.violation(values[item.metric]) for item in constraints)
        return Evaluation(architecture, Status.COMPLETE, values, violations, details, statics=statics)

    def _report(self, rows: Sequence[int]) -> CostReport:
        """The costs to the exits of a network, as a cost model reports them."""
        stages = []
        before, to_exit = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        for number, row in enumerate(rows):
            to_tap, branch = self._cost_lists[row]
            own = [tap - earlier for tap, earlier in zip(to_tap, before, strict=True)]
            stage = [one + other for one, other in zip(own, branch, strict=True)]
            to_exit = [total + part for total, part in zip(to_exit, stage, strict=True)]
            before = to_tap
            stages.append(
                StageCost(
                    exit=f"exit {number}",
                    backbone_latency_cycles=own[0],
                    gap_cycles=0.0,
                    branch_latency_cycles=branch[0],
                    stage_latency_cycles=stage[0],
                    stage_energy_pj=stage[1],
                    latency_to_exit_cycles=to_exit[0],
                    energy_to_exit_pj=to_exit[1],
                    macs_to_exit=round(to_exit[2]),
                )
            )
        return CostReport(self._accelerator, "table", __version__, "offramp", tuple(stages), ())

    @cached_property
    def _cost_lists(self) -> list[tuple[list[float], list[float]]]:
        return list(zip(self._costs.to_tap.tolist(), self._costs.branch.tolist(), strict=True))


def _values(accuracy: float, costs: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    return {
        "accuracy": accuracy,
        "latency_cycles": float(costs[0]),
        "energy_pj": float(costs[1]),
        "macs": float(costs[2]),
        "energy_delay_product_j_cycles": float(costs[3]),
    }
