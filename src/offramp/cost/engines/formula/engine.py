"""The formula engine: costs of layers from the closed-form formulas and powers of a chip."""

from collections.abc import Sequence
from dataclasses import dataclass

from offramp.cost.engines.cost_engine import COST_ENGINES, CostEngine, EngineOptions
from offramp.cost.engines.formula.closed_form_cycles import FormulaCycles, layer_cycles
from offramp.cost.engines.formula.core_limits import why_not
from offramp.cost.report import LayerCost, LayerEngine, MemoryEnergy
from offramp.cost.sparsity_gain import gain_of
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.errors import AcceleratorError, ConfigError
from offramp.hardware.accelerator import Accelerator, Core
from offramp.hardware.chip_formulas import ChipFormulas, CoreFormula
from offramp.workload.layer import LayerShape, Op

ENGINE = "published formulas"
VERSION = "1"
REST = "memories, control and clock"
"""All of the chip's energy that its arrays do not take."""
_SPARSE = "the chip's formulas do not cover zero weights, from which this core gains"


def formulas_of(accelerator: Accelerator) -> ChipFormulas:
    """Return the formulas of an accelerator.

    Args:
        accelerator: The accelerator.

    Returns:
        Its formulas, powers and limits.

    Raises:
        AcceleratorError: The accelerator has none.
    """
    if accelerator.formulas is None:
        raise AcceleratorError(
            f"Accelerator {accelerator.name!r} must have a block `formulas` to be priced by them, got none."
        )
    return accelerator.formulas


def power_pj_per_cycle(power_mw: float, clock_hz: float) -> float:
    """Convert power to energy per cycle.

    Args:
        power_mw: Power in mW.
        clock_hz: Clock rate in Hz.

    Returns:
        pJ per cycle.
    """
    return power_mw * 1e9 / clock_hz


@dataclass(frozen=True)
class FormulaEngine:
    """Prices layers on the cores of one accelerator that has formulas.

    A layer alone on the chip takes the idle power and its core's power in all its cycles. The array's part of that
    energy is counted as ``mac_energy_pj``, at the core's published peak efficiency.

    Source: the accelerator's description.

    Attributes:
        accelerator: The accelerator; its description must have formulas and a clock rate.
    """

    accelerator: Accelerator

    @property
    def name(self) -> str:
        return ENGINE

    @property
    def version(self) -> str:
        return VERSION

    @property
    def clock_hz(self) -> float:
        """Clock rate of the chip in Hz."""
        assert self.accelerator.clock_hz is not None  # the format asks for it
        return self.accelerator.clock_hz

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        """Price layers on cores of the accelerator.

        Args:
            jobs: Layers and cores.

        Returns:
            One cost per job, in order.

        Raises:
            UnpricedJobsError: Some cores cannot run their layers; the error names all of them.
            AcceleratorError: The accelerator has no formulas.
        """
        chip = formulas_of(self.accelerator)
        costs, unpriced = [], []
        for shape, core in jobs:
            formula = next((item for item in chip.cores if item.core == core.name), None)
            if formula is None:
                unpriced.append(UnpricedJob(shape, core.name, "the chip has no formula for this core"))
            elif gain_of(shape, core):
                unpriced.append(UnpricedJob(shape, core.name, _SPARSE))
            elif shape.op is not Op.ACTIVATION and (reason := why_not(formula, shape)):
                unpriced.append(UnpricedJob(shape, core.name, reason))
            else:
                costs.append(self._cost(shape, formula, chip.idle_power_mw))
        if unpriced:
            raise UnpricedJobsError(self.name, unpriced)
        return costs

    def cycles(self, shape: LayerShape, formula: CoreFormula) -> FormulaCycles:
        """Return the cycles of a layer on a core.

        Args:
            shape: The layer; an activation function takes none.
            formula: The core's formula and limits.

        Returns:
            The cycles by phase.
        """
        if shape.op is Op.ACTIVATION:
            return FormulaCycles(0.0)
        return layer_cycles(formula, shape, self.clock_hz)

    def array_energy_pj(self, shape: LayerShape, core: str) -> float:
        """Return the energy of a layer's multiplications at peak efficiency.

        Args:
            shape: The layer.
            core: Name of the core.

        Returns:
            Energy in pJ.
        """
        return shape.macs * self.accelerator.core(core).mac_energy_pj

    def _cost(self, shape: LayerShape, formula: CoreFormula, idle_mw: float) -> LayerCost:
        cycles = self.cycles(shape, formula)
        energy = power_pj_per_cycle(idle_mw + formula.power_mw, self.clock_hz) * cycles.total
        array = min(self.array_energy_pj(shape, formula.core), energy)
        peak = self.accelerator.core(formula.core).peak_macs_per_cycle
        return LayerCost(
            temporal_cycles=cycles.computing,
            stall_cycles=cycles.moving,
            onload_cycles=cycles.before,
            offload_cycles=0.0,
            mac_energy_pj=array,
            memory_energy=(MemoryEnergy(REST, "I", energy - array),),
            utilization=shape.macs / (peak * cycles.total) if cycles.total else 0.0,
            spatial_mapping=f"{cycles.unrolled} positions side by side" if cycles.unrolled > 1 else "",
            temporal_mapping=formula.source,
        )


def _build(options: EngineOptions) -> tuple[LayerEngine, ...]:
    if options.accelerator is None:
        raise ConfigError("The cost engine 'formula' needs the accelerator whose formulas it evaluates, got none.")
    formulas_of(options.accelerator)
    return (FormulaEngine(options.accelerator),)


COST_ENGINES.add("formula", CostEngine("published formulas of a chip that has them, such as diana", _build))
