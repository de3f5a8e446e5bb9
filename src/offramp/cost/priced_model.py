"""A model with its cost report, as `offramp cost` shows it."""

from dataclasses import dataclass

from offramp.cost.device_energy import DeviceEnergy
from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.report import CostReport


@dataclass(frozen=True)
class PricedModel:
    """A model and what it costs on an accelerator.

    Attributes:
        model: Name or file of the model.
        report: Cost to each exit and per layer.
        static: The report of the backbone and the final classifier alone.
        expected: Means over samples, None where no exit rates were given.
        core_names: All cores of the accelerator but its off-chip memories.
        weight_density: Share of nonzero weights (0 to 1), None where the accelerator gains nothing from zeros.
        device: Static energy and energy of a batch, None where the accelerator's file says nothing of them.
    """

    model: str
    report: CostReport
    static: CostReport
    expected: ExpectedCost | None
    core_names: tuple[str, ...] = ()
    weight_density: float | None = None
    device: DeviceEnergy | None = None

    @property
    def static_cost(self) -> ExpectedCost:
        """The cost of every sample in the static network."""
        return expected_cost(self.static, (1.0,))

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of the report, and those that the static network alone has."""
        told = self.report.warnings
        return (*told, *(f"Static network: {text}" for text in self.static.warnings if text not in told))
