"""The engine `measured`: latencies of layers that were timed on a device, and kept with their spread."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from offramp.cost.engines.cost_engine import COST_ENGINES, CostEngine, EngineOptions
from offramp.cost.engines.measured.command_runner import CommandRunner
from offramp.cost.engines.measured.device_runner import DeviceRunner, TimedRuns
from offramp.cost.engines.measured.host_runner import HostRunner
from offramp.cost.engines.measured.measuring_lock import one_at_a_time
from offramp.cost.engines.measured.network_files import (
    TWO_INPUTS,
    TimedFile,
    addition_of,
    empty_file,
    layer_file,
)
from offramp.cost.operator_rules import RULE_OPS, rule_cost
from offramp.cost.report import LayerCost, LayerEngine
from offramp.cost.sparsity_gain import gain_of
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.errors import ConfigError
from offramp.hardware.accelerator import Accelerator, Core
from offramp.hardware.runner import Arithmetic
from offramp.workload.layer import LayerShape, Op

ENGINE = "measured"
VERSION = "1"
COPIES = 4
"""Copies of a layer in a file, where layers are timed in context."""

_SPARSE = "measured layers have no zero weights, from which this core gains"
LEAST_S = 1e-8
"""Least time of a layer: what is faster cannot be told from nothing."""


@dataclass(frozen=True, eq=False)
class MeasuredEngine:
    """Times each distinct layer once.

    In context, a layer takes a third of the difference between a file of four copies and one of a single copy, less the
    additions that join the copies; so neither a call nor changes of layout at the ends of a file count. Otherwise it
    takes the time of its file less that of a file without a layer.

    Attributes:
        accelerator: The device; its file names the runner.
        device: The runner.
        arithmetic: What layers compute in.
        clock_hz: Clock that turns seconds into cycles.
        power_w: Mean power of the device while it computes; None where energies are measured.
    """

    accelerator: Accelerator
    device: DeviceRunner
    arithmetic: Arithmetic
    clock_hz: float
    power_w: float | None
    _runs: dict[str, TimedRuns] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return ENGINE

    @property
    def version(self) -> str:
        return f"{VERSION}, {self.device.identity}, {self.clock_hz:g} Hz{self._power}"

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        """Measure layers.

        Args:
            jobs: Layers; the core is always the whole device.

        Returns:
            One cost per job, in order.

        Raises:
            ConfigError: A layer cannot be measured; the message says why.
            UnpricedJobsError: The core is said to gain from zero weights, which measured layers do not have.
        """
        sparse = [UnpricedJob(shape, core.name, _SPARSE) for shape, core in jobs if gain_of(shape, core)]
        if sparse:
            raise UnpricedJobsError(self.name, sparse)
        costs = []
        with one_at_a_time():
            for shape, core in jobs:
                free = shape.op in RULE_OPS and shape.op is not Op.CONCAT
                costs.append(rule_cost(shape, core) if free else self._cost(shape))
        return costs

    def call(self) -> TimedRuns:
        """Time a call without a layer.

        Returns:
            Its runs.
        """
        return self._measured(empty_file(self.arithmetic))

    def measure(self, file: TimedFile) -> TimedRuns:
        """Time a file, while no other process measures on this machine.

        Args:
            file: The file.

        Returns:
            Its runs.

        Raises:
            ConfigError: It cannot be measured.
        """
        with one_at_a_time():
            return self.device.measure(file)

    @property
    def _power(self) -> str:
        return "" if self.power_w is None else f", {self.power_w:g} W"

    def _measured(self, file: TimedFile) -> TimedRuns:
        # Calls and additions are used again and again; the file's content is their key.
        key = hashlib.sha256(file.content).hexdigest()
        if key not in self._runs:
            self._runs[key] = self.device.measure(file)
        return self._runs[key]

    def _cost(self, shape: LayerShape) -> LayerCost:
        runs = self._in_context(shape) if self.device.measures_in_context else self._alone(shape)
        watts = self.power_w
        energy_j = runs.energy_j if runs.energy_j is not None else runs.seconds * (watts or 0.0)
        return LayerCost(
            temporal_cycles=runs.seconds * self.clock_hz,
            stall_cycles=0.0,
            onload_cycles=0.0,
            offload_cycles=0.0,
            mac_energy_pj=energy_j * 1e12,
            memory_energy=(),
            utilization=0.0,
            temporal_mapping="measured",
            spread_cycles=runs.spread_s * self.clock_hz,
        )

    def _alone(self, shape: LayerShape) -> TimedRuns:
        whole, call = self.device.measure(layer_file(shape, self.arithmetic)), self.call()
        energy = None
        if whole.energy_j is not None and call.energy_j is not None:
            energy = max(0.0, whole.energy_j - call.energy_j)
        return TimedRuns(max(LEAST_S, whole.seconds - call.seconds), whole.spread_s, energy)

    def _in_context(self, shape: LayerShape) -> TimedRuns:
        one = self.device.measure(layer_file(shape, self.arithmetic))
        many = self.device.measure(layer_file(shape, self.arithmetic, COPIES))
        seconds = (many.seconds - one.seconds) / (COPIES - 1)
        # Runtimes add to the result of a floating-point convolution as it is written; other additions take time.
        fused = shape.op is Op.CONV and self.arithmetic == "float32"
        if shape.op not in TWO_INPUTS and not fused:
            addition = addition_of(shape)
            seconds -= (
                self._measured(layer_file(addition, self.arithmetic, COPIES)).seconds
                - self._measured(layer_file(addition, self.arithmetic)).seconds
            ) / (COPIES - 1)
        return TimedRuns(max(LEAST_S, seconds), many.spread_s / (COPIES - 1))


def measured_engine(accelerator: Accelerator) -> MeasuredEngine:
    """Build the engine of a device; nothing is measured yet.

    Args:
        accelerator: The device.

    Returns:
        The engine.

    Raises:
        ConfigError: The accelerator's file names no runner.
    """
    runner = accelerator.runner
    if runner is None:
        raise ConfigError(
            f"Engine {ENGINE!r} needs an accelerator whose file names a `runner`, got {accelerator.name!r}, which is "
            "described by its cores. Choose another engine, or a file with a runner."
        )
    device: DeviceRunner = HostRunner(runner.measurement) if runner.is_host else CommandRunner(runner, accelerator.name)
    assert accelerator.clock_hz is not None  # files with a runner always have one
    return MeasuredEngine(
        accelerator, device, runner.measurement.arithmetic, accelerator.clock_hz, runner.measurement.power_w
    )


def _build(options: EngineOptions) -> tuple[LayerEngine, ...]:
    if options.accelerator is None:
        raise ConfigError(f"The cost engine {ENGINE!r} needs the accelerator whose runner it uses, got none.")
    return (measured_engine(options.accelerator),)


COST_ENGINES.add(
    ENGINE,
    CostEngine("latencies that were measured on this machine, or by a command of the accelerator's file", _build),
)
