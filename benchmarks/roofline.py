"""The roofline, which no mapping can beat: MACs over peak, and the traffic of the DRAM link over its bandwidth."""

from dataclasses import dataclass

from offramp.cost.mapping.topology import Topology
from offramp.cost.sparsity_gain import gain_of, stored_weight_bits
from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.workload.graph import GRAPH_INPUT, Workload


@dataclass(frozen=True)
class RooflineBound:
    """Least latency and energy from the input to the verdict of an exit.

    Attributes:
        exit: Name of the exit.
        macs: Multiply-accumulate operations until then.
        dram_bits: Bits that cross the DRAM link until then.
        compute_cycles: Cycles of all compute cores at their peak.
        dram_cycles: Cycles of the DRAM link.
        energy_pj: Energy of the operations and of the DRAM.
    """

    exit: str
    macs: int
    dram_bits: int
    compute_cycles: float
    dram_cycles: float
    energy_pj: float

    @property
    def latency_cycles(self) -> float:
        """The larger of both numbers of cycles."""
        return max(self.compute_cycles, self.dram_cycles)


def roofline(workload: Workload, accelerator: Accelerator) -> tuple[RooflineBound, ...]:
    """Work out the roofline: all compute cores at their peak; weights, input and logits once over the DRAM link.

    The energy is that of the cheapest multiplier for every MAC, and the DRAM's for what must be read and written.
    Weights come from the DRAM for every sample; zeros among them save what they save on the core that gains most.

    Args:
        workload: The network.
        accelerator: What it runs on.

    Returns:
        One bound per exit.

    Raises:
        AcceleratorError: There is no compute core or no off-chip memory.
    """
    compute = accelerator.cores_of(CoreKind.COMPUTE)
    offchip = next(iter(accelerator.cores_of(CoreKind.OFFCHIP)), None)
    if not compute or offchip is None:
        raise AcceleratorError(
            f"Accelerator {accelerator.name!r} must have a compute core and an off-chip memory for a roofline, got "
            f"cores {[core.name for core in accelerator.cores]}. Add them to its description."
        )
    memory = offchip.top_memory
    peak = sum(core.peak_macs_per_cycle for core in compute)
    mac_pj = min(core.mac_energy_pj for core in compute)
    width = dram_bits_per_cycle(accelerator)
    read_pj = memory.read_energy_pj / memory.read_bandwidth_bits
    write_pj = memory.write_energy_pj / memory.write_bandwidth_bits
    read = _input_bits(workload)
    written = macs = 0
    left_cycles = left_energy = 0.0  # in MACs, less what zero weights save
    bounds = []
    for stage, name in enumerate(workload.exits):
        layers = workload.stage_layers(stage)
        macs += sum(layer.shape.macs for layer in layers)
        for shape in (layer.shape for layer in layers):
            gains = [gain_of(shape, core) for core in compute]
            read += min(stored_weight_bits(shape, core) for core in compute)
            left_cycles += shape.macs * min(1.0 if gain is None else gain.cycles for gain in gains)
            left_energy += shape.macs * min(1.0 if gain is None else gain.mac_energy for gain in gains)
        written += _result_bits(workload, name)
        bits = read + written
        bounds.append(
            RooflineBound(
                exit=name,
                macs=macs,
                dram_bits=bits,
                compute_cycles=left_cycles / peak,
                dram_cycles=0.0 if width is None else bits / width,
                energy_pj=left_energy * mac_pj + read * read_pj + written * write_pj,
            )
        )
    return tuple(bounds)


def dram_bits_per_cycle(accelerator: Accelerator) -> float | None:
    """Work out the bandwidth of the off-chip memory; links on one medium count once.

    Args:
        accelerator: The accelerator.

    Returns:
        Bits per cycle; None = unlimited.
    """
    offchip = accelerator.cores_of(CoreKind.OFFCHIP)[0].name
    topology = Topology(accelerator)
    media: dict[str, int | None] = {}
    for core in accelerator.cores:
        if core.name != offchip:
            for link in (*topology.route(offchip, core.name).links[:1], *topology.route(core.name, offchip).links[-1:]):
                media[link.shared or f"{link.sender}->{link.receiver}"] = link.bandwidth_bits
    widths = [width for width in media.values() if width is not None]
    return None if len(widths) < len(media) or not widths else float(sum(widths))


def _input_bits(workload: Workload) -> int:
    readers = [layer for layer in workload.layers if GRAPH_INPUT in layer.inputs]
    sizes = (x.shape.num_inputs * x.shape.bits_of_input(x.inputs.index(GRAPH_INPUT)) for x in readers)
    return max(sizes, default=0)


def _result_bits(workload: Workload, name: str) -> int:
    return workload.layer(name).shape.output_size_bits
