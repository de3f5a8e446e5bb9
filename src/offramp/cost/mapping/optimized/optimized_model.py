"""The cost model that maps a network onto all cores: splits, tensor placement, prefetching and speculation."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from offramp.cost.expected import exit_weights
from offramp.cost.mapping.optimized.candidates.block_pricer import BlockPricer
from offramp.cost.mapping.optimized.candidates.layer_fusion import group_layers
from offramp.cost.mapping.optimized.candidates.task_builder import TaskBuilder
from offramp.cost.mapping.optimized.candidates.tasks import Task
from offramp.cost.mapping.optimized.core_groups import CoreGroup, core_groups
from offramp.cost.mapping.optimized.mapping_steps import ALL_STEPS, MappingStep
from offramp.cost.mapping.optimized.plan_trials import PlanTrial, PlanTrials
from offramp.cost.mapping.optimized.planning.plan_optimizer import PlanOptimizer
from offramp.cost.mapping.optimized.router import Router
from offramp.cost.mapping.optimized.simulation.plan_simulator import Speculation
from offramp.cost.report import CostReport, LayerEngine
from offramp.cost.schedule import Schedule
from offramp.cost.schedule_report import ReportOrigin, StageBoundary, build_report
from offramp.cost.unmodelled import NEVER_COUNTED, ON_THE_CORE
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError, describe
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.workload.graph import Layer, Workload

BOUNDED_SEARCH = (
    "The search for the best mapping was bounded, because layers of this network read so many tensors; the best plan "
    "found so far is priced."
)
"""What is said of a plan whose search dropped states for their number."""


@dataclass(frozen=True)
class OptimizedMapping:
    """A report, the schedule behind it, and how good it can be.

    Attributes:
        report: The cost report.
        schedule: The schedule.
        product: Weighted product of energy and latency over the exits in J x cycles.
        bound: No schedule of the tasks that the steps allow has a smaller product; None where it was not asked for.
        speculation: One mode per exit.
        tasks: The plan.
    """

    report: CostReport
    schedule: Schedule
    product: float
    bound: float | None
    speculation: tuple[Speculation, ...]
    tasks: tuple[Task, ...] = field(repr=False, compare=False, default=())


@dataclass(frozen=True, eq=False)
class _Candidate:
    """The best plan for one kind of compute cores and one grouping, its bound if wanted, and how it was sought."""

    trial: PlanTrial
    bound: float | None
    was_bounded: bool


@dataclass(frozen=True)
class OptimizedModel:
    """Maps each layer onto all cores of one kind, with one DRAM that everything shares.

    Of several kinds of compute cores the one with the least product is taken. Stages are charged by
    ``StageBoundary.VERDICTS``. See docs/concepts/mapping.md for all that is assumed.

    Attributes:
        engine: Prices parts of layers.
        steps: Steps of the mapping that are switched on.
        alternatives: Engines with other goals, whose loop orders are considered too.
        exit_rates: Weights of the exits; None = all count alike, and nothing is started before a verdict.
    """

    engine: LayerEngine
    steps: frozenset[MappingStep] = ALL_STEPS
    alternatives: tuple[LayerEngine, ...] = ()
    exit_rates: tuple[float, ...] | None = None
    _pricer: list[BlockPricer] = field(default_factory=list, init=False, repr=False, compare=False)
    _routers: dict[Accelerator, list[tuple[CoreGroup, Router]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def name(self) -> str:
        """Name and version of the engine, and the mapping."""
        return f"{self.engine.name} {self.engine.version}, mapping optimized"

    def estimate(self, workload: Workload, accelerator: Accelerator) -> CostReport:
        """Price a network.

        Args:
            workload: The network.
            accelerator: What it runs on.

        Returns:
            Cost per layer, per stage and to each exit.

        Raises:
            AcceleratorError: There is no compute core, or links are missing.
            InputError: The exit rates do not fit the exits.
            UnsupportedLayerError: Layers cannot be priced or do not fit a memory; they are named.
        """
        return self.map(workload, accelerator).report

    def map(self, workload: Workload, accelerator: Accelerator, *, bound: bool = False) -> OptimizedMapping:
        """Map a network.

        Args:
            workload: The network.
            accelerator: What it runs on.
            bound: Whether to work out a bound of the product as well.

        Returns:
            The report, the schedule and the plan.

        Raises:
            AcceleratorError: There is no compute core, or links are missing.
            InputError: The exit rates do not fit the exits.
            UnsupportedLayerError: Layers cannot be priced or do not fit a memory; they are named.
        """
        if not self._pricer:
            self._pricer.append(BlockPricer((self.engine, *self.alternatives)))
        if accelerator not in self._routers:
            self._routers[accelerator] = [(group, Router(group)) for group in core_groups(accelerator)]
        rates = exit_weights(self.exit_rates, workload.num_stages)
        with self._pricer[0].open_caches():
            found = [
                self._map_on(workload, group, router, rates, bound) for group, router in self._routers[accelerator]
            ]
        best = min(found, key=lambda candidate: candidate.trial.product)
        schedule = best.trial.simulator.schedule()
        report = self._report(workload, accelerator, schedule)
        if best.was_bounded:
            report = replace(report, warnings=(*report.warnings, BOUNDED_SEARCH))
        plan = best.trial.plan
        return OptimizedMapping(report, schedule, best.trial.product, best.bound, plan.speculation, plan.tasks)

    def _map_on(
        self, workload: Workload, group: CoreGroup, router: Router, rates: Sequence[float], bound: bool
    ) -> _Candidate:
        builder = TaskBuilder(workload, group, self._pricer[0], self.steps)
        single: list[tuple[Layer, ...]] = [(layer,) for layer in builder.layers]
        groups = group_layers(builder, group, self.steps)
        # Chains are formed by an estimate of what they save; the schedules decide.
        groupings: list[list[tuple[Layer, ...]]] = [single] if groups == single else [single, groups]
        found = [self._map_groups(workload, builder, router, grouping, rates, bound) for grouping in groupings]
        return min(found, key=lambda candidate: candidate.trial.product)

    def _map_groups(
        self,
        workload: Workload,
        builder: TaskBuilder,
        router: Router,
        groups: Sequence[tuple[Layer, ...]],
        rates: Sequence[float],
        bound: bool,
    ) -> _Candidate:
        choices = self._choices(builder, groups)
        group = builder.group
        speculates = MappingStep.BESIDE in self.steps and self.exit_rates is not None and workload.num_stages > 1
        exits = [builder.origin[name] for name in workload.exits]
        optimizer = PlanOptimizer(builder, router, group, self.steps, choices, rates, not speculates, exits)

        trials = PlanTrials(workload, builder, router, self.steps, tuple(rates))
        plan = greedy = optimizer.greedy()
        if MappingStep.OPTIMUM in self.steps:
            plan = optimizer.best(greedy)
        best = trials.run(plan)
        if speculates and MappingStep.OPTIMUM not in self.steps:
            # Without the search, every exit gets the same mode.
            modes = (replace(plan, speculation=(mode,) * len(plan.speculation)) for mode in Speculation)
            best = min(map(trials.run, modes), key=lambda trial: trial.product)
        # An estimate leaves out conflicts, so it is too low: a plan that really costs less needs no comparison.
        if plan is not greedy and best.product * 1e12 > greedy.product:
            best = min(best, trials.run(greedy), key=lambda trial: trial.product)
        least = optimizer.bound(best.product * 1e12) * 1e-12 if bound else None
        return _Candidate(best, least, optimizer.was_bounded)

    def _choices(self, builder: TaskBuilder, groups: Sequence[tuple[Layer, ...]]) -> list[list[Task]]:
        choices, faults = [], list[tuple[Layer, UnpricedJob]]()
        for layers in groups:
            try:
                choices.append(builder.options(layers))
            except UnpricedJobsError as exc:
                faults.append((layers[0], exc.jobs[0]))
        if faults:
            clauses = [f"{x.name} ({describe(x.shape)}) on core {job.core!r}: {job.reason}" for x, job in faults]
            raise UnsupportedLayerError(f"Engine {self.engine.name!r} cannot map: {'; '.join(clauses)}.")
        return choices

    def _report(self, workload: Workload, accelerator: Accelerator, schedule: Schedule) -> CostReport:
        origin = ReportOrigin(
            engine=self.engine.name,
            engine_version=f"{self.engine.version}, mapping optimized",
            mapping="optimized",
            mapping_steps=tuple(step.value for step in MappingStep if step in self.steps),
        )
        report = build_report(workload, accelerator, schedule, StageBoundary.VERDICTS, origin)
        given = () if accelerator.cores_of(CoreKind.OFFCHIP) else (ON_THE_CORE,)
        return replace(report, warnings=(*given, *report.warnings), leaves_out=(NEVER_COUNTED,))
