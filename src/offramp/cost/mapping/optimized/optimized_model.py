"""The cost model that maps a network onto the whole chip: splits, placements, prefetching and speculation."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from offramp.cost.expected import exit_weights
from offramp.cost.mapping.optimized.core_groups import Chip, chips
from offramp.cost.mapping.optimized.dynamic_programming import Optimizer
from offramp.cost.mapping.optimized.layer_blocks import Pricer
from offramp.cost.mapping.optimized.layer_fusion import group_layers
from offramp.cost.mapping.optimized.mapping_steps import ALL_STEPS, MappingStep
from offramp.cost.mapping.optimized.plan_simulation import Speculation
from offramp.cost.mapping.optimized.plan_trials import Rehearsals, Trial
from offramp.cost.mapping.optimized.task_candidates import TaskBuilder
from offramp.cost.mapping.optimized.tasks import Task
from offramp.cost.mapping.optimized.transfers import Router
from offramp.cost.report import CostReport, LayerEngine
from offramp.cost.schedule import Schedule
from offramp.cost.schedule_report import ReportOrigin, StageBoundary, build_report
from offramp.cost.unmodelled import NEVER_COUNTED
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError, describe
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import Accelerator
from offramp.workload.graph import Layer, Workload


@dataclass(frozen=True)
class Mapping:
    """A report, the schedule behind it, and how good it can be.

    ``product`` is the weighted product of energy and latency over the exits in J x cycles. No schedule of the tasks
    that the steps allow has a smaller one than ``bound`` (None where it was not asked for).
    """

    report: CostReport
    schedule: Schedule
    product: float
    bound: float | None
    speculation: tuple[Speculation, ...]
    tasks: tuple[Task, ...] = field(repr=False, compare=False, default=())


@dataclass(frozen=True, eq=False)
class _Candidate:
    """The best plan for one kind of compute cores and one grouping of layers, and its bound if wanted."""

    trial: Trial
    bound: float | None


@dataclass(frozen=True)
class OptimizedModel:
    """Maps each layer onto all cores of one kind, with one DRAM that everything shares.

    ``alternatives``: engines with other goals, whose loop orders are considered too. ``exit_rates`` (one per exit)
    weigh the exits; without them all count alike and nothing is started before a verdict. Of several kinds of compute
    cores the one with the least product is taken. See docs/concepts/mapping.md for all that is assumed.
    """

    engine: LayerEngine
    steps: frozenset[MappingStep] = ALL_STEPS
    alternatives: tuple[LayerEngine, ...] = ()
    exit_rates: tuple[float, ...] | None = None
    _pricer: list[Pricer] = field(default_factory=list, init=False, repr=False, compare=False)
    _routers: dict[Accelerator, list[tuple[Chip, Router]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def name(self) -> str:
        return f"{self.engine.name} {self.engine.version}, mapping optimized"

    def estimate(self, workload: Workload, accelerator: Accelerator) -> CostReport:
        """Raises UnsupportedLayerError naming the layers that cannot be priced or fit no memory."""
        return self.map(workload, accelerator).report

    def map(self, workload: Workload, accelerator: Accelerator, *, bound: bool = False) -> Mapping:
        """As ``estimate``, with the schedule and, if wanted, the bound."""
        if not self._pricer:
            self._pricer.append(Pricer((self.engine, *self.alternatives)))
        if accelerator not in self._routers:
            self._routers[accelerator] = [(chip, Router(chip)) for chip in chips(accelerator)]
        rates = exit_weights(self.exit_rates, workload.num_stages)
        with self._pricer[0].together():
            found = [self._map_on(workload, chip, router, rates, bound) for chip, router in self._routers[accelerator]]
        best = min(found, key=lambda candidate: candidate.trial.product)
        schedule = best.trial.simulator.schedule()
        report = self._report(workload, accelerator, schedule)
        trial = best.trial
        return Mapping(report, schedule, trial.product, best.bound, trial.speculation, trial.plan.tasks)

    def _map_on(
        self, workload: Workload, chip: Chip, router: Router, rates: Sequence[float], bound: bool
    ) -> _Candidate:
        builder = TaskBuilder(workload, chip, self._pricer[0], self.steps)
        alone: list[tuple[Layer, ...]] = [(layer,) for layer in builder.layers]
        groups = group_layers(builder, chip, self.steps)
        # What chains save is estimated when they are formed; the schedules decide.
        tried: list[list[tuple[Layer, ...]]] = [alone] if groups == alone else [alone, groups]
        found = [self._map_groups(workload, builder, router, grouping, rates, bound) for grouping in tried]
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
        chip = builder.chip
        speculates = MappingStep.BESIDE in self.steps and self.exit_rates is not None and workload.num_stages > 1
        exits = [builder.origin[name] for name in workload.exits]
        optimizer = Optimizer(builder, router, chip, self.steps, choices, rates, not speculates, exits)

        trials = Rehearsals(workload, builder, router, self.steps, tuple(rates), speculates=speculates)
        plan = simple = optimizer.greedy()
        if MappingStep.OPTIMUM in self.steps:
            plan = optimizer.best(simple)
        best = trials.rehearse(plan)
        # An estimate leaves out conflicts, so it flatters: a plan that really costs less than that needs no comparison.
        if plan is not simple and best.product * 1e12 > simple.product:
            best = min(best, trials.rehearse(simple), key=lambda trial: trial.product)
        if speculates:
            best = trials.speculate(best)
        least = optimizer.bound(best.product * 1e12) * 1e-12 if bound else None
        return _Candidate(best, least)

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
        return replace(report, leaves_out=(NEVER_COUNTED,))
