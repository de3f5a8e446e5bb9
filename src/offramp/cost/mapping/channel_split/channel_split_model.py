"""Cost of whole workloads on a chip with published formulas: assignment of layers, schedule, energy from powers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from offramp.cost.engines.formula.engine import FormulaEngine
from offramp.cost.expected import exit_weights
from offramp.cost.mapping.channel_split.core_options import CoreOption, layer_options
from offramp.cost.mapping.channel_split.in_order_simulator import InOrderRun, InOrderSimulator
from offramp.cost.mapping.exit_energy import energies_to_exits
from offramp.cost.report import CostReport, MappingKind
from offramp.cost.schedule import Schedule
from offramp.cost.schedule_report import ReportOrigin, StageBoundary, build_report
from offramp.hardware.accelerator import Accelerator
from offramp.workload.graph import Workload
from offramp.workload.layer import Op

Goal = Literal["latency", "energy", "product"]

MAX_ROUNDS = 4
"""Passes over the choices of all layers; usually nothing changes in the second."""


@dataclass(frozen=True)
class Assignment:
    """Which cores each layer runs on, and what follows.

    Attributes:
        options: The chosen option of each layer but activation functions, by name.
        schedule: The schedule that follows.
        value: The figure that was minimized.
    """

    options: Mapping[str, CoreOption]
    schedule: Schedule
    value: float

    def analog_channels(self, core: str) -> dict[str, int]:
        """Output channels of each layer on one core.

        Args:
            core: Name of the core.

        Returns:
            Channels by layer; layers without any there are left out.
        """
        return {
            name: part.channels for name, option in self.options.items() for part in option.parts if part.core == core
        }


@dataclass(frozen=True)
class ChannelSplitModel:
    """Assigns layers, or parts of their channels, to the cores of a chip that has formulas, and prices the schedule.

    Energy is power over time: idle power in every cycle, and that of each core while it runs. Stages are charged by
    ``StageBoundary.VERDICTS``.

    Attributes:
        free: Whether layers about which nothing is decided may go to the analog core, whose weights are ternary;
            otherwise they stay digital.
        overlapping: Whether layers that do not depend on each other run at the same time.
        goal: What the assignment minimizes.
        exit_rates: Weights of the exits when assignments are compared; None = all count alike.
    """

    free: bool = False
    overlapping: bool = False
    goal: Goal = "product"
    exit_rates: tuple[float, ...] | None = None
    _engines: dict[Accelerator, FormulaEngine] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """What prices the layers."""
        return "published formulas"

    @property
    def _mapping(self) -> MappingKind:
        return "optimized" if self.overlapping else "layer_by_layer"

    def estimate(self, workload: Workload, accelerator: Accelerator) -> CostReport:
        """Price a network.

        Args:
            workload: The network.
            accelerator: What it runs on; it must have formulas.

        Returns:
            Cost per layer, per stage and to each exit.

        Raises:
            AcceleratorError: The accelerator has no formulas.
            InputError: The exit rates do not fit the exits.
            UnsupportedLayerError: Layers cannot run where it was decided; all are named.
        """
        assignment = self.assign(workload, accelerator)
        engine = self._engine(accelerator)
        origin = ReportOrigin(engine.name, engine.version, self._mapping)
        report = build_report(workload, accelerator, assignment.schedule, StageBoundary.VERDICTS, origin)
        return replace(report, warnings=(*report.warnings, *self._ternary(workload, assignment, engine)))

    def assign(self, workload: Workload, accelerator: Accelerator) -> Assignment:
        """Choose the cores of all layers: each layer's fastest alone, then one layer after the other, all others fixed.

        Args:
            workload: The network.
            accelerator: What it runs on; it must have formulas.

        Returns:
            The best assignment that was found.

        Raises:
            AcceleratorError: The accelerator has no formulas.
            InputError: The exit rates do not fit the exits.
            UnsupportedLayerError: Layers cannot run where it was decided; all are named.
        """
        engine = self._engine(accelerator)
        options = layer_options(workload, engine, free=self.free)
        simulator = InOrderSimulator(workload, engine, overlapping=self.overlapping)
        weights = exit_weights(self.exit_rates, workload.num_stages)
        stage_of = {layer.name: layer.stage for layer in workload.layers}

        def value_of(run: InOrderRun) -> float:
            energies = energies_to_exits(run.charges, stage_of, run.verdict_cycles, simulator.idle_pj_per_cycle)
            return self._value(energies, run.verdict_cycles, weights)

        best = {name: min(candidates, key=_slowest_part) for name, candidates in options.items()}
        best_run = simulator.run(best)
        least = value_of(best_run)
        open_layers = [name for name, candidates in options.items() if len(candidates) > 1]
        for _ in range(MAX_ROUNDS if open_layers else 0):
            before = least
            for name in open_layers:
                for option in options[name]:
                    if option is best[name]:
                        continue
                    changed = {**best, name: option}
                    run = simulator.run(changed)
                    value = value_of(run)
                    if value < least:
                        best, best_run, least = changed, run, value
            if least >= before:
                break
        return Assignment(best, best_run.schedule(), least)

    def _engine(self, accelerator: Accelerator) -> FormulaEngine:
        if accelerator not in self._engines:
            self._engines[accelerator] = FormulaEngine(accelerator)
        return self._engines[accelerator]

    def _value(self, energies: Sequence[float], cycles: Sequence[float], weights: Sequence[float]) -> float:
        figures = zip(weights, energies, cycles, strict=True)
        if self.goal == "latency":
            return sum(weight * latency for weight, _, latency in figures)
        if self.goal == "energy":
            return sum(weight * energy for weight, energy, _ in figures)
        return sum(weight * energy * latency for weight, energy, latency in figures)

    def _ternary(self, workload: Workload, assignment: Assignment, engine: FormulaEngine) -> list[str]:
        """Warn that a free assignment assumes ternary weights, which the network may not have."""
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


def _slowest_part(option: CoreOption) -> float:
    return max(part.cycles for part in option.parts)
