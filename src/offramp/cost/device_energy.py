"""Energy of a device beside that of the cost report: static power, and starts of a device that wakes per inference."""

from dataclasses import dataclass

from offramp.cost.expected import ExpectedCost
from offramp.cost.report import CostReport
from offramp.hardware.accelerator import Accelerator

BATCH = 1000
"""Inferences of the batch whose energy is reported."""


@dataclass(frozen=True)
class DeviceEnergy:
    """What is known of a device's energy beside its cost report, which it is not part of.

    Attributes:
        static_w: Static power in W; None where it is not known.
        start_up_j: Energy of one start in J; None where it is not known.
        source: Where the figures were published.
        static_to_exit_j: Static energy in J of a sample that leaves at each exit; None without a static power.
        inferences: Number of inferences of the batch.
        batch_j: Energy in J of so many inferences if the device starts for each: starts, inferences, and static power
            while they run as far as it is known. None without the energy of a start, or where several exits have no
            rates.
        static_network_batch_j: The same for the static network.
    """

    static_w: float | None
    start_up_j: float | None
    source: str
    static_to_exit_j: tuple[float, ...] | None
    inferences: int
    batch_j: float | None
    static_network_batch_j: float | None


def device_energy(
    accelerator: Accelerator, report: CostReport, expected: ExpectedCost | None, static: ExpectedCost
) -> DeviceEnergy | None:
    """Work out static energy and the energy of a batch.

    Args:
        accelerator: The accelerator.
        report: Cost to each exit.
        expected: Means over samples; None where no exit rates are known.
        static: The cost of the static network.

    Returns:
        The energies; None where the accelerator's file says nothing of them.
    """
    power = accelerator.device_power
    if power is None:
        return None

    def static_j(latency_cycles: float) -> float:
        # A static power without a clock is refused when the file is read.
        if power.static_w is None or accelerator.clock_hz is None:
            return 0.0
        return power.static_w * latency_cycles / accelerator.clock_hz

    def batch_j(energy_pj: float, latency_cycles: float) -> float | None:
        if power.start_up_j is None:
            return None
        return BATCH * (power.start_up_j + energy_pj * 1e-12 + static_j(latency_cycles))

    if expected is not None:
        batch = batch_j(expected.energy_pj, expected.latency_cycles)
    elif len(report.stages) == 1:
        batch = batch_j(report.stages[0].energy_to_exit_pj, report.stages[0].latency_to_exit_cycles)
    else:
        batch = None
    to_exit = tuple(static_j(stage.latency_to_exit_cycles) for stage in report.stages)
    return DeviceEnergy(
        static_w=power.static_w,
        start_up_j=power.start_up_j,
        source=power.source,
        static_to_exit_j=None if power.static_w is None else to_exit,
        inferences=BATCH,
        batch_j=batch,
        static_network_batch_j=batch_j(static.energy_pj, static.latency_cycles),
    )
