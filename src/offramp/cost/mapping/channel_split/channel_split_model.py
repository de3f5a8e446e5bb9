"""Cost of whole workloads on a chip with published formulas: assignment, schedule, energy by powers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from offramp.cost.engines.formula.engine import FormulaEngine
from offramp.cost.expected import check_exit_rates
from offramp.cost.mapping.channel_split.core_options import Option, layer_options
from offramp.cost.mapping.channel_split.in_order import ChipSimulator
from offramp.cost.mapping.channel_split.power_report import busy_spans, energies_to_exit, layer_reports, stage_costs
from offramp.cost.mapping.channel_split.split_schedule import ChipSchedule
from offramp.cost.report import CostReport, Goal, MappingKind
from offramp.hardware.accelerator import Accelerator
from offramp.workload.graph import Workload
from offramp.workload.layer import Op

MAX_ROUNDS = 4
"""Times all layers' choices are gone through; usually nothing changes in the second."""


@dataclass(frozen=True)
class Assignment:
    """Which way each layer runs, the schedule that follows, and the figure it was chosen for."""

    options: Mapping[str, Option]
    schedule: ChipSchedule
    value: float

    def analog_channels(self, core: str) -> dict[str, int]:
        """Output channels of each layer on ``core``; layers without any are left out."""
        return {
            name: part.channels for name, option in self.options.items() for part in option.parts if part.core == core
        }


@dataclass(frozen=True)
class ChannelSplitModel:
    """Assigns layers to the cores of a chip that has formulas, for ``goal``, and prices the schedule.

    ``free``: layers about which nothing is decided may go to the analog core, whose weights are ternary; otherwise they
    stay digital. ``overlapping``: layers that do not need each other run at the same time. Energy: powers over time.
    ``exit_rates`` weigh the exits when ways are compared; without them all count alike.
    """

    free: bool = False
    overlapping: bool = False
    goal: Goal = "energy_delay_product"
    exit_rates: tuple[float, ...] | None = None
    _engines: dict[Accelerator, FormulaEngine] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        return "published formulas"

    @property
    def _mapping(self) -> MappingKind:
        return "optimized" if self.overlapping else "layer_by_layer"

    def estimate(self, workload: Workload, accelerator: Accelerator) -> CostReport:
        """Raises UnsupportedLayerError naming every layer that cannot run where it was decided to."""
        assignment = self.assign(workload, accelerator)
        engine = self._engine(accelerator)
        layers = layer_reports(workload, assignment.schedule, engine)
        return CostReport(
            accelerator=accelerator.name,
            engine=engine.name,
            engine_version=engine.version,
            convention="offramp",
            stages=stage_costs(workload, assignment.schedule, layers, engine),
            layers=layers,
            warnings=(*assignment.schedule.warnings, *self._ternary(workload, assignment, engine)),
            mapping=self._mapping,
            busy=busy_spans(assignment.schedule),
        )

    def assign(self, workload: Workload, accelerator: Accelerator) -> Assignment:
        """The best way that is found: each layer's best alone, then one layer after the other, all others fixed."""
        engine = self._engine(accelerator)
        options = layer_options(workload, engine, free=self.free)
        simulator = ChipSimulator(workload, engine, overlapping=self.overlapping)
        rates = self._rates(workload.num_stages)

        def judged(choice: Mapping[str, Option]) -> Assignment:
            schedule = simulator.run(choice)
            return Assignment(dict(choice), schedule, self._value(workload, schedule, engine, rates))

        best = judged({name: min(ways, key=lambda way: _alone(way)) for name, ways in options.items()})
        open_layers = [name for name, ways in options.items() if len(ways) > 1]
        for _ in range(MAX_ROUNDS if open_layers else 0):
            before = best.value
            for name in open_layers:
                for way in options[name]:
                    if way is not best.options[name]:
                        other = judged({**best.options, name: way})
                        if other.value < best.value:
                            best = other
            if best.value >= before:
                break
        return best

    def _engine(self, accelerator: Accelerator) -> FormulaEngine:
        if accelerator not in self._engines:
            self._engines[accelerator] = FormulaEngine(accelerator)
        return self._engines[accelerator]

    def _rates(self, count: int) -> Sequence[float]:
        if self.exit_rates is None or (count == 1 and len(self.exit_rates) > 1):
            return (1.0 / count,) * count
        check_exit_rates(self.exit_rates, count)
        return self.exit_rates

    def _value(
        self, workload: Workload, schedule: ChipSchedule, engine: FormulaEngine, rates: Sequence[float]
    ) -> float:
        energies = energies_to_exit(workload, schedule, engine)
        figures = zip(rates, energies, schedule.verdict_cycles, strict=True)
        if self.goal == "latency":
            return sum(rate * cycles for rate, _, cycles in figures)
        if self.goal == "energy":
            return sum(rate * energy for rate, energy, _ in figures)
        return sum(rate * energy * cycles for rate, energy, cycles in figures)

    def _ternary(self, workload: Workload, assignment: Assignment, engine: FormulaEngine) -> list[str]:
        """A free assignment counts on ternary weights that nobody trained."""
        formulas = engine.accelerator.formulas
        if not self.free or formulas is None or formulas.analog is None:
            return []
        chosen = assignment.analog_channels(formulas.analog.core)
        undecided = [x.name for x in workload.layers if x.name in chosen and x.analog_channels is None]
        if not undecided:
            return []
        count = sum(layer.shape.op is not Op.ACTIVATION for layer in workload.layers)
        return [
            f"{len(undecided)} of {count} layers run at least partly on core {formulas.analog.core!r}: they cost what "
            "is stated only if their weights there are trained to be ternary."
        ]


def _alone(option: Option) -> float:
    return max(part.cycles for part in option.parts)
