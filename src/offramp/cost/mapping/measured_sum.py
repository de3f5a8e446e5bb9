"""Cost of whole workloads on a measured device: sums of measured layers, corrected by what whole networks take."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from offramp.cost.engines.measured.engine import LEAST_S, MeasuredEngine
from offramp.cost.engines.measured.network_files import stage_files
from offramp.cost.engines.measured.summing_fit import SummingFit, calibrated
from offramp.cost.price_cache import CachedEngine
from offramp.cost.report import BusySpan, CostReport, LayerCost, LayerReport, StageCost
from offramp.errors import ConfigError, UnsupportedLayerError
from offramp.hardware.accelerator import Accelerator, Core
from offramp.workload.graph import Layer, Role, Workload

LEFT_OUT = "The exit rule and the program that calls one stage after the other cost nothing here."


@dataclass(frozen=True, eq=False)
class MeasuredSumModel:
    """Adds up measured layers, stage by stage, and corrects the sums by a fit on networks that were measured whole.

    Layers run one after the other on the whole device. A call of a stage takes time of its own, which is the gap
    between backbone and branch in reports. Energy is that of the layers, at the same mean power for the whole stage.

    Attributes:
        engine: The cached engine.
        measured: The engine that measures.
        folder: Where fits are kept.
        measures_whole: Whether each network is measured whole as well, and compared with its prediction.
    """

    engine: CachedEngine
    measured: MeasuredEngine
    folder: Path
    measures_whole: bool = False
    _fits: list[SummingFit] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        """Name and version of the engine."""
        return f"{self.engine.name} {self.engine.version}"

    @property
    def fit(self) -> SummingFit:
        """How whole networks follow from sums; measured when it is first asked for."""
        if not self._fits:
            self._fits.append(calibrated(self.measured, self._layers_s, self.folder))
        return self._fits[0]

    def estimate(self, workload: Workload, accelerator: Accelerator) -> CostReport:
        """Price a network.

        Args:
            workload: The network.
            accelerator: The device.

        Returns:
            Cost per layer, per stage and to each exit; warnings state the fit and its error.

        Raises:
            ConfigError: Something cannot be measured, or no layer takes longer than a call without a layer.
        """
        costs = self._costs(workload.layers)
        self._check_told_apart(costs)
        layers, stages = self._scheduled(workload, costs, accelerator.cores[0])
        return CostReport(
            accelerator=accelerator.name,
            engine=self.engine.name,
            engine_version=self.engine.version,
            convention="offramp",
            stages=stages,
            layers=layers,
            warnings=(*self._notes(costs), *(self._compared(workload, stages) if self.measures_whole else ())),
            busy=tuple(
                BusySpan(x.core, x.name, x.start_cycle, x.end_cycle) for x in layers if x.end_cycle > x.start_cycle
            ),
            leaves_out=(LEFT_OUT,),
        )

    def _costs(self, layers: Sequence[Layer]) -> list[LayerCost]:
        core = self.measured.accelerator.cores[0]
        return self.engine.price([(layer.shape, core) for layer in layers])

    def _check_told_apart(self, costs: Sequence[LayerCost]) -> None:
        """Refuse a network of which no layer takes more time, or more energy, than a call without a layer.

        Every sum would be the cost of calls alone, and all networks of as many stages would cost the same.
        """
        if not any(cost.latency_cycles > 0 for cost in costs):
            return  # nothing was measured
        longest_s = max(cost.latency_cycles for cost in costs) / self.measured.clock_hz
        for what, missing in (
            ("time", longest_s <= LEAST_S * (1 + 1e-9)),
            ("energy", not any(cost.energy_pj > 0 for cost in costs)),
        ):
            if missing:
                raise ConfigError(
                    f"The runner of accelerator {self.measured.accelerator.name!r} must measure the file that it is "
                    f"given, but no layer of the network takes more {what} than a file without a layer. Check that it "
                    "runs this file and prints the figures of one run, in units fine enough. Then change `version` in "
                    "the block `measurement`, so that the old figures are not used again."
                )

    def _layers_s(self, workload: Workload) -> list[float]:
        """The sum over the layers of each stage."""
        stages = [workload.stage_layers(stage) for stage in range(workload.num_stages)]
        return [sum(x.latency_cycles for x in self._costs(stage)) / self.measured.clock_hz for stage in stages]

    def _scheduled(
        self, workload: Workload, costs: Sequence[LayerCost], core: Core
    ) -> tuple[tuple[LayerReport, ...], tuple[StageCost, ...]]:
        fit, cost_of = self.fit, dict(zip((layer.name for layer in workload.layers), costs, strict=True))
        call = fit.call_s * self.measured.clock_hz
        reports: dict[str, LayerReport] = {}
        stages: list[StageCost] = []
        now = energy = 0.0
        for stage, macs in enumerate(workload.macs_to_exit()):
            before = now
            now += call
            cycles = dict.fromkeys(Role, 0.0)
            members = workload.stage_layers(stage)
            busy = fit.scale * sum(cost_of[layer.name].latency_cycles for layer in members)
            # The call takes the mean power of the layers, and its energy is charged to them.
            with_call = fit.scale * ((busy + call) / busy if busy > 0 else 1.0)
            for layer in members:
                cost = cost_of[layer.name]
                taken = fit.scale * cost.latency_cycles
                reports[layer.name] = LayerReport(
                    name=layer.name,
                    op=layer.shape.op.value,
                    core=core.name,
                    stage=stage,
                    role=layer.role,
                    start_cycle=now,
                    end_cycle=now + taken,
                    macs=layer.shape.macs,
                    compute_energy_pj=with_call * cost.energy_pj,
                    transfer_energy_pj=0.0,
                    utilization=0.0,
                    memory_energy=(),
                )
                cycles[layer.role] += taken
                now += taken
            spent = sum(reports[layer.name].energy_pj for layer in members)
            energy += spent
            stages.append(
                StageCost(
                    exit=workload.exits[stage],
                    backbone_latency_cycles=cycles[Role.BACKBONE],
                    gap_cycles=call,
                    branch_latency_cycles=cycles[Role.BRANCH],
                    stage_latency_cycles=now - before,
                    stage_energy_pj=spent,
                    latency_to_exit_cycles=now,
                    energy_to_exit_pj=energy,
                    macs_to_exit=macs,
                )
            )
        return tuple(reports[layer.name] for layer in workload.layers), tuple(stages)

    def _notes(self, costs: Sequence[LayerCost]) -> list[str]:
        total = sum(cost.latency_cycles for cost in costs)
        spread = sum(cost.spread_cycles for cost in costs) / total if total > 0 else 0.0
        return [
            f"Latencies were measured layer by layer in {self.measured.arithmetic}, whatever the bit widths: "
            f"{self.measured.device.method}. The spread of the runs is {spread:.1%} of the sum.",
            self.fit.sentence,
        ]

    def _compared(self, workload: Workload, stages: Sequence[StageCost]) -> list[str]:
        """The network measured whole, beside its prediction."""
        try:
            files = stage_files(workload, self.measured.arithmetic)
        except UnsupportedLayerError as exc:
            return [f"This network could not be measured whole: {exc}"]
        clauses, measured = [], 0.0
        for file, stage in zip(files, stages, strict=True):
            measured += self.measured.measure(file).seconds
            predicted = stage.latency_to_exit_cycles / self.measured.clock_hz
            clauses.append(
                f"{measured * 1e6:,.4g} us to {stage.exit} ({predicted * 1e6:,.4g} predicted, "
                f"{predicted / measured - 1:+.1%})"
            )
        return [f"Measured whole, stage by stage: {'; '.join(clauses)}."]
