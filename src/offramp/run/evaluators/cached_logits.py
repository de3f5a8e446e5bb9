"""Evaluation with one forward pass per backbone: all exits are attached at once, and their logits are reused."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offramp.algorithms.exact.exit_table import ExitTable
from offramp.cost.report import CostReport
from offramp.errors import ConfigError, OfframpError
from offramp.exits.calibration.class_offsets import fit_class_offsets
from offramp.exits.calibration.temperatures import fit_temperature
from offramp.exits.confidence_measures import Measure, confidence, tempered
from offramp.exits.thresholds import SHARED_THRESHOLDS
from offramp.nn.network import EarlyExitNetwork
from offramp.objectives.evaluation import Details, Evaluation, Status
from offramp.run.evaluators.exit_costs import exit_costs
from offramp.run.evaluators.exit_workloads import ExitWorkloads, exit_groups
from offramp.run.evaluators.operating_point import OperatingPoint, choose_operating_point
from offramp.run.evaluators.static_candidates import failed
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.run.network_preparation import calibrate_
from offramp.space.architecture import Architecture, ExitChoice
from offramp.space.cut_networks import cut_at
from offramp.train.compute import one_thread
from offramp.train.trainer import collect_logits

T = TypeVar("T")

_QUANTILES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)


class HasExitOptions(Protocol):
    """A search space that lists the exits that a backbone may have."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The confidence measures of the space."""
        ...

    def exit_options(self, architecture: Architecture) -> tuple[ExitChoice, ...]:
        """List the exits that the backbone of an architecture may have.

        Args:
            architecture: The architecture; its own exits do not matter.

        Returns:
            The exits, in the order of their taps.
        """
        ...


@dataclass(frozen=True, eq=False)
class BackboneLogits:
    """What one pass of a backbone with all of its exits gives.

    Attributes:
        options: The exits that it may have, in the order of their taps.
        logits: Logits (samples, classes) of the branch of each exit alone.
        final: Logits (samples, classes) of the final classifier alone.
        workloads: Assembles the workloads of its early-exit networks.
        links: The links of the exits by tap, the final one's under None; empty where exits do not reuse others.
    """

    options: tuple[ExitChoice, ...]
    logits: dict[ExitChoice, NDArray[np.float32]]
    final: NDArray[np.float32]
    workloads: ExitWorkloads
    links: dict[int | None, nn.Module]

    @torch.inference_mode()
    def answers(self, exits: Sequence[ExitChoice]) -> list[NDArray[np.float32]]:
        """Give the logits of a network with some of the exits: each exit adds what the exit before it found.

        Args:
            exits: The early exits of the network.

        Returns:
            Logits (samples, classes) of each exit, the final one last.
        """
        found: list[NDArray[np.float32]] = []
        for tap, own in [*((choice.tap, self.logits[choice]) for choice in exits), (None, self.final)]:
            link = self.links.get(tap)
            if found and link is not None:
                own = link(torch.from_numpy(found[-1]), torch.from_numpy(own)).numpy()
            found.append(own)
        return found


class CachedLogitsEvaluator:
    """Evaluates candidates as `SupernetEvaluator` does, but runs each backbone only once.

    Three kinds of candidates are evaluated one by one: those with an exit that the space does not list, those with
    analog shares, and all candidates if they are quantised.

    Attributes:
        num_forwards: Number of networks that were run on the validation samples, the real cost of a search.
    """

    def __init__(
        self, direct: SupernetEvaluator, space: HasExitOptions, *, shared_threshold: bool = False, capacity: int = 64
    ) -> None:
        """Begin with an empty cache.

        Args:
            direct: Evaluates single candidates, and holds supernet, samples and cost model.
            space: Lists the exits of a backbone.
            shared_threshold: Whether all exits of a network have the same threshold.
            capacity: Number of backbones whose logits are kept, >= 1; the oldest are forgotten.
        """
        self._direct = direct
        self._space = space
        self._shared = shared_threshold
        self._capacity = capacity
        self._backbones: OrderedDict[Architecture, BackboneLogits] = OrderedDict()
        self._tables: OrderedDict[Architecture, ExitTable] = OrderedDict()
        self._reports: OrderedDict[Architecture, CostReport] = OrderedDict()
        self._judged: OrderedDict[Architecture, Evaluation] = OrderedDict()
        self.num_forwards = 0

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Evaluate a candidate, or return its evaluation if it is known.

        Args:
            architecture: The candidate.

        Returns:
            A complete evaluation, or a failed one with its reason.
        """
        known = self._judged.get(architecture)
        if known is None:
            known = self._judge(architecture)
            _remember(self._judged, architecture, known, 100 * self._capacity)
        return known

    def _judge(self, architecture: Architecture) -> Evaluation:
        try:
            if architecture.has_analog_shares or self._direct.quantize:
                # An analog network is calibrated and drawn noise for as a whole, and grids belong to one network.
                self.num_forwards += 1
                return self._direct.evaluate(architecture)
            with one_thread():
                cached = self.backbone_logits(architecture.without_exits())
                if any(choice not in cached.logits for choice in architecture.exits):
                    self.num_forwards += 1
                    return self._direct.evaluate(architecture)
                return self._evaluated(architecture, cached)
        except Exception as exc:
            return failed(architecture, exc)

    def _evaluated(self, architecture: Architecture, cached: BackboneLogits) -> Evaluation:
        direct = self._direct
        logits = cached.answers(architecture.exits)
        cost = self._price(architecture)
        point: OperatingPoint = choose_operating_point(
            logits,
            direct.data.validation.labels,
            cost,
            architecture.policy,
            direct.constraints,
            calibrate=direct.calibrate_confidences,
            by_class=direct.class_thresholds,
            shared_threshold=self._shared,
            measures=direct.measures,
        )
        return Evaluation(
            architecture=architecture,
            status=Status.COMPLETE,
            values=point.values(),
            violations=point.violations(direct.constraints),
            details=Details(point.policy, point.profile, point.expected, cost.per_exit()),
            statics=()
            if architecture.is_static
            else tuple(
                self._static(architecture.without_exits(), head, cached) for head in (*architecture.exits, None)
            ),
        )

    def static_candidates(self, backbone: Architecture) -> tuple[Evaluation, ...]:
        """Evaluate all static networks of a backbone: cut at every tap with every branch, and as it is.

        Args:
            backbone: The architecture without exits.

        Returns:
            The evaluations; none if the backbone cannot be run or priced, or candidates are quantised.
        """
        if self._direct.quantize:
            return ()
        try:
            with one_thread():
                cached = self.backbone_logits(backbone)
                return tuple(self._static(backbone, head, cached) for head in (*cached.options, None))
        except (OfframpError, ArithmeticError, ValueError, RuntimeError):
            # The evaluation of a candidate with this backbone will say why.
            return ()

    def _static(self, backbone: Architecture, head: ExitChoice | None, cached: BackboneLogits) -> Evaluation:
        direct = self._direct
        architecture = backbone if head is None else cut_at(backbone, head, direct.max_depths)
        logits = cached.final if head is None else cached.logits[head]

        def price() -> CostReport:
            return direct.cost_model.estimate(cached.workloads.workload((), head), direct.accelerator)

        return direct.static_candidates.evaluation(architecture, logits, price)

    def table(self, backbone: Architecture) -> ExitTable | None:
        """Build the table from which all early-exit networks of a backbone are evaluated.

        Args:
            backbone: The architecture without exits.

        Returns:
            The table; None if the backbone cannot be run or priced, candidates are quantised, or exits reuse the
            logits of other exits.
        """
        known = self._tables.get(backbone)
        if known is not None or self._direct.quantize or len(self._direct.supernet.links):
            return known
        try:
            with one_thread():
                table = self._tabulated(backbone, self.backbone_logits(backbone))
        except (OfframpError, ArithmeticError, ValueError, RuntimeError):
            # The evaluation of a candidate with this backbone will say why.
            return None
        return _remember(self._tables, backbone, table, self._capacity)

    def _tabulated(self, backbone: Architecture, cached: BackboneLogits) -> ExitTable:
        labels, options = self._direct.data.validation.labels, cached.options
        logits = [cached.logits[option] for option in options]
        if self._direct.calibrate_confidences:
            logits = [tempered(item, fit_temperature(item, labels)).astype(np.float32) for item in logits]
        scores = {
            measure: np.asarray([self._scores(item, measure) for item in logits]).reshape(len(options), len(labels))
            for measure in self._space.measures
        }
        correct = [item.argmax(axis=1) == labels for item in (*logits, cached.final)]
        return ExitTable(
            backbone=backbone,
            options=options,
            correct=np.asarray(correct),
            scores=scores,
            thresholds={measure: tuple(self._thresholds(row) for row in rows) for measure, rows in scores.items()},
            costs=replace(exit_costs(backbone, options, self._priced), first=self._first_costs(backbone, cached)),
            shared_threshold=self._shared,
        )

    def _first_costs(self, backbone: Architecture, cached: BackboneLogits) -> NDArray[np.float64] | None:
        """Costs of each exit where it is the first: those of the static network that ends there, as it is priced."""
        found = [self._static(backbone, option, cached).details for option in cached.options]
        stages = [details.cost.stages[-1] for details in found if details is not None]
        if not stages or len(stages) < len(found):
            return None
        return np.asarray([[item.latency_to_exit_cycles, item.energy_to_exit_pj, item.macs_to_exit] for item in stages])

    def _scores(self, logits: NDArray[np.float32], measure: Measure) -> NDArray[np.float64]:
        """The scores of an early exit, as a policy of the evaluator gives them."""
        sure = confidence(logits, measure)
        if not self._direct.class_thresholds:
            return sure
        (offsets,) = fit_class_offsets([logits, logits], self._direct.data.validation.labels, measure)
        return np.asarray(sure + np.asarray(offsets)[logits.argmax(axis=1)])

    def _thresholds(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(SHARED_THRESHOLDS) if self._shared else np.unique(np.quantile(scores, _QUANTILES))

    def backbone_logits(self, backbone: Architecture) -> BackboneLogits:
        """Run a backbone with all of its exits, or return what is known of it.

        Args:
            backbone: The architecture without exits.

        Returns:
            Logits and workloads.

        Raises:
            ConfigError: The backbone has analog shares.
            ArithmeticError: It answers with values that are not finite.
        """
        known = self._backbones.get(backbone)
        if known is not None:
            self._backbones.move_to_end(backbone)
            return known
        if backbone.has_analog_shares:
            raise ConfigError(
                "Exits cannot be chosen from cached logits for networks with analog shares, got some. Choose another "
                "search.algorithm, or leave space.analog_shares out."
            )
        direct = self._direct
        options = self._space.exit_options(backbone)
        networks = [
            direct.supernet.extract(replace(backbone, exits=tuple(options[place] for place in places)))
            for places in exit_groups(options) or [[]]
        ]
        network = _AllBranches(networks)
        calibrate_(network, direct.data, direct.compute)
        logits = collect_logits(network, direct.data.validation, direct.data.preprocessing, direct.compute)
        self.num_forwards += 1
        if not all(np.isfinite(item).all() for item in logits):
            raise ArithmeticError("the network answers with values that are not finite")
        order = [option for places in exit_groups(options) for option in (options[place] for place in places)]
        workloads = ExitWorkloads(options, [direct.workload(item) for item in networks])
        taps = [*dict.fromkeys(option.tap for option in options), None]
        links = {taps[int(place)]: link.cpu() for place, link in networks[0].links.items()}
        cached = BackboneLogits(options, dict(zip(order, logits[:-1], strict=True)), logits[-1], workloads, links)
        return _remember(self._backbones, backbone, cached, self._capacity)

    def _price(self, architecture: Architecture) -> CostReport:
        """The cost report of an architecture, which does not depend on its policy."""
        key = replace(architecture, policy=type(architecture.policy)())
        known = self._reports.get(key)
        return known or _remember(self._reports, key, self._priced(key), 100 * self._capacity)

    def _priced(self, architecture: Architecture) -> CostReport:
        workload = self.backbone_logits(architecture.without_exits()).workloads.workload(architecture.exits)
        return self._direct.cost_model.estimate(workload, self._direct.accelerator)


class _AllBranches(nn.Module):
    """The branches of several networks with the same backbone on one run of it; the final classifier comes last."""

    def __init__(self, networks: Sequence[EarlyExitNetwork]) -> None:
        super().__init__()
        self.stages = networks[0].stages
        self.branches = nn.ModuleList(network.branches for network in networks)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits network by network, each in the order of the taps."""
        features, maps = images, []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        branches = [cast(nn.ModuleList, item) for item in self.branches]
        logits = [
            branch(item) for chosen in branches for branch, item in zip(list(chosen)[:-1], maps[:-1], strict=True)
        ]
        return (*logits, branches[0][-1](maps[-1]))


def _remember(cache: OrderedDict[Architecture, T], key: Architecture, value: T, capacity: int) -> T:
    cache[key] = value
    while len(cache) > capacity:
        cache.popitem(last=False)
    return value
