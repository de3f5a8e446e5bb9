"""Cost of whole early-exit workloads: layers priced by an engine, scheduled layer by layer on one compute core."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from offramp.cost.mapping.layer_by_layer.link_scheduling import plan_layer_by_layer
from offramp.cost.mapping.placement import Placement, place
from offramp.cost.report import Convention, CostReport, LayerCost, LayerEngine, StageCost
from offramp.cost.schedule import Schedule
from offramp.cost.schedule_report import ReportOrigin, StageBoundary, build_report
from offramp.cost.unmodelled import unmodelled_layer_by_layer
from offramp.cost.unsupported import UnpricedJobsError, describe
from offramp.errors import AcceleratorError, UnsupportedLayerError
from offramp.hardware.accelerator import Accelerator, Core, CoreKind
from offramp.workload.graph import Workload
from offramp.workload.layer import LayerShape

NOTICEABLE_WAIT = 0.05
"""Share of the whole latency above which waiting that no stage is charged for gets a warning."""


@dataclass(frozen=True)
class LayerByLayerModel:
    """Prices each layer with ``engine`` and schedules all of them, in order, with one compute core.

    Of several different compute cores the one with the lowest energy-delay product to the final exit is taken.
    Pooling and element-wise operators go to the pooling and the SIMD core where there is one. Stages are charged by
    ``StageBoundary.LAYERS``: what passes before a stage's first layer, above all the wait for the first weights and the
    graph input, is charged to no stage. The transfer of weights is charged to the layer that uses them, that of an
    activation to the layer that computes it. Source: asyms/stream, branch expl-eenn.

    Attributes:
        engine: Prices single layers.
        convention: What is charged; ``published`` follows the reference evaluation.
    """

    engine: LayerEngine
    convention: Convention = "offramp"

    @property
    def name(self) -> str:
        """Name and version of the engine."""
        return f"{self.engine.name} {self.engine.version}"

    def estimate(self, workload: Workload, accelerator: Accelerator) -> CostReport:
        """Price a network.

        Args:
            workload: The network.
            accelerator: What it runs on.

        Returns:
            Cost per layer, per stage and to each exit.

        Raises:
            AcceleratorError: There is no compute core, or links are missing.
            UnsupportedLayerError: The engine cannot price some layers; all are named.
        """
        variants = [
            place(workload, accelerator, core, self.convention) for core in different_compute_cores(accelerator)
        ]
        costs = self._price(variants)
        reports = [self._report(workload, accelerator, placements, costs) for placements in variants]
        return min(reports, key=lambda r: r.stages[-1].energy_to_exit_pj * r.stages[-1].latency_to_exit_cycles)

    def _price(self, variants: Sequence[Sequence[Placement]]) -> dict[tuple[LayerShape, Core], LayerCost]:
        jobs = list(dict.fromkeys((x.priced_shape, x.priced_core) for placements in variants for x in placements))
        try:
            return dict(zip(jobs, self.engine.price(jobs), strict=True))
        except UnpricedJobsError as exc:
            raise _named(exc, variants) from exc

    def _report(
        self,
        workload: Workload,
        accelerator: Accelerator,
        placements: Sequence[Placement],
        costs: Mapping[tuple[LayerShape, Core], LayerCost],
    ) -> CostReport:
        layer_costs = {x.layer.name: costs[x.priced_shape, x.priced_core] for x in placements}
        schedule = plan_layer_by_layer(workload, placements, layer_costs, accelerator, self.convention)
        origin = ReportOrigin(self.engine.name, self.engine.version, "layer_by_layer", self.convention)
        report = build_report(workload, accelerator, schedule, StageBoundary.LAYERS, origin)
        return replace(
            report,
            warnings=(*report.warnings, *_waiting(report.stages, schedule)),
            leaves_out=unmodelled_layer_by_layer(accelerator, self.convention, report.stages, report.layers),
        )


def different_compute_cores(accelerator: Accelerator) -> list[Core]:
    """Choose one compute core of each description.

    Args:
        accelerator: What has the cores.

    Returns:
        The first listed core of each description, in the order of the accelerator.

    Raises:
        AcceleratorError: There is no compute core.
    """
    different = {replace(core, name="", source=""): core for core in reversed(accelerator.cores_of(CoreKind.COMPUTE))}
    if not different:
        raise AcceleratorError(
            f"Accelerator {accelerator.name!r} must have a compute core, got cores "
            f"{[core.name for core in accelerator.cores]}. Add one to its description."
        )
    order = [core.name for core in accelerator.cores]
    return sorted(different.values(), key=lambda core: order.index(core.name))


def _waiting(stages: Sequence[StageCost], schedule: Schedule) -> list[str]:
    end = max((item.end_cycle for item in schedule.executions), default=0.0)
    unseen = end - stages[-1].latency_to_exit_cycles
    if end <= 0 or unseen <= NOTICEABLE_WAIT * end:
        return []
    return [
        f"{unseen:.0f} of {end:.0f} cycles pass between stages, waiting for weights, input or activations; "
        "no stage is charged for them."
    ]


def _named(exc: UnpricedJobsError, variants: Sequence[Sequence[Placement]]) -> UnsupportedLayerError:
    """The engine's error with the names of the layers that have the rejected shapes."""
    clauses = []
    for job in exc.jobs:
        names = [x.layer.name for x in variants[0] if x.priced_shape == job.shape]
        named = ", ".join(names) or "a layer"
        clauses.append(f"{named} ({describe(job.shape)}) on core {job.core!r}: {job.reason}")
    return UnsupportedLayerError(f"Engine {exc.engine!r} cannot price: {'; '.join(clauses)}.")
