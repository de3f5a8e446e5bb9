"""Accelerator: cores, memory levels and links. Sizes in bits, bandwidth in bits per cycle, energy in pJ."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from offramp.hardware.block import Block, Fault, raise_faults
from offramp.hardware.chip_formulas import ChipFormulas
from offramp.hardware.device_power import DevicePower
from offramp.hardware.field_types import Figure, Text, must
from offramp.hardware.published_figures import MacEnergyTable, ReferenceLayer
from offramp.hardware.runner import Runner

MemoryOperand = Literal["I1", "I2", "O"]
"""I1 = activations, I2 = weights (or the second activation of an addition), O = output."""


class PortKind(StrEnum):
    """What a port of a memory can do."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "read_write"


@dataclass(frozen=True)
class Port:
    """A physical port of a memory.

    Attributes:
        name: Its name within the memory.
        kind: Whether it reads, writes or does both.
        bandwidth_bits: Bits per cycle.
        min_bandwidth_bits: Bits that the smallest access moves.
    """

    name: str
    kind: PortKind
    bandwidth_bits: int
    min_bandwidth_bits: int


@dataclass(frozen=True)
class OperandPorts:
    """Which port of a memory serves which movement of one operand; None where the movement cannot occur.

    Attributes:
        operand: The operand.
        from_high: Port of the write that comes from the level above (ZigZag: fh).
        to_low: Port of the read towards the level below (tl).
        from_low: Port of the write that comes from the level below (fl).
        to_high: Port of the read towards the level above (th).
    """

    operand: MemoryOperand
    from_high: str | None
    to_low: str | None
    from_low: str | None = None
    to_high: str | None = None


@dataclass(frozen=True)
class MemoryLevel:
    """One memory of a core. Energies are per access of full port width (ZigZag's convention).

    Attributes:
        name: Its name within the core.
        size_bits: Size of one instance in bits.
        ports: Its ports.
        operand_ports: For each operand that it holds, the ports that move it.
        read_energy_pj: Energy of a read in pJ.
        write_energy_pj: Energy of a write in pJ.
        served_dimensions: Array dimensions that share one instance.
        double_buffering: Whether half of the memory is filled while the other half is used.
        area_mm2: Area in mm^2.
    """

    name: str
    size_bits: int
    ports: tuple[Port, ...]
    operand_ports: tuple[OperandPorts, ...]
    read_energy_pj: float
    write_energy_pj: float
    served_dimensions: tuple[str, ...]
    double_buffering: bool = False
    area_mm2: float = 0.0

    @property
    def operands(self) -> tuple[MemoryOperand, ...]:
        """The operands that it holds."""
        return tuple(item.operand for item in self.operand_ports)

    @property
    def read_bandwidth_bits(self) -> int:
        """Bits per cycle of the widest port that reads."""
        return max(p.bandwidth_bits for p in self.ports if p.kind is not PortKind.WRITE)

    @property
    def write_bandwidth_bits(self) -> int:
        """Bits per cycle of the widest port that writes."""
        return max(p.bandwidth_bits for p in self.ports if p.kind is not PortKind.READ)


@dataclass(frozen=True)
class ArrayDimension:
    """One axis of the operational array.

    Attributes:
        name: D1, D2, ...
        size: Number of multipliers along it.
    """

    name: str
    size: int


@dataclass(frozen=True)
class SpatialLoop:
    """A loop dimension that is unrolled over an array dimension, such as ``("D1", "K", 8)``.

    Attributes:
        array_dimension: Name of the array dimension.
        loop: The loop dimension: B, G, K, C, OY, OX, FY or FX.
        size: How many iterations run at once.
    """

    array_dimension: str
    loop: str
    size: int


@dataclass(frozen=True)
class ImcArray:
    """An in-memory computing array: what ZigZag's gate-level model needs beside the array's sizes.

    Attributes:
        kind: Whether column sums are analog or digital.
        activation_bits: Bits of an activation.
        weight_bits: Bits of a weight.
        bit_serial_bits: Bits of the activations that are applied at once.
        adc_resolution_bits: Bits of the converters; 0 on a digital array.
    """

    kind: Literal["analog", "digital"]
    activation_bits: int
    weight_bits: int
    bit_serial_bits: int
    adc_resolution_bits: int = 0


class CoreKind(StrEnum):
    """What a core may run: convolutions and dense layers, pooling, element-wise operators, or nothing (memory only)."""

    COMPUTE = "compute"
    POOLING = "pooling"
    SIMD = "simd"
    OFFCHIP = "offchip"


Share = Annotated[Figure, must(lambda value: value <= 1, "is a share and must be <= 1, got {value:g}")]
IndexBits = Annotated[
    Figure, must(lambda value: value <= 64, "is too large: its figures must be <= 64 bits, got {value:g}")
]


@dataclass(frozen=True)
class SparseStorage(Block):
    """What it takes to store nonzero weights only, beside their own bits.

    Attributes:
        bits_per_weight: Bits for each weight, zero or not, such as those of a mask.
        bits_per_nonzero: Bits beside each weight that is not zero, such as an index.
    """

    bits_per_weight: IndexBits = 0.0
    bits_per_nonzero: IndexBits = 0.0

    def __post_init__(self) -> None:
        if self.bits_per_weight == self.bits_per_nonzero == 0:
            raise ValueError(
                "one of its figures must be above 0: something has to say where the nonzero weights belong"
            )


def _gains_something(value: SparseStorage | None, info: ValidationInfo) -> SparseStorage | None:
    if value is None and info.data.get("cycles_saved") == info.data.get("energy_saved") == 0:
        raise_faults([Fault("nothing is gained by it; leave the block out, or say what is")])
    return value


@dataclass(frozen=True)
class WeightSparsity(Block):
    """What a core gains from weights that are zero, wherever they are.

    Attributes:
        cycles_saved: Share of a zero weight's cycle that is saved, 0 to 1.
        energy_saved: Share of the energy of its MAC that is saved, 0 to 1.
        storage: How nonzero weights are stored; None where zeros are stored and moved like any weight.
        source: Where the figures were published.
    """

    cycles_saved: Share
    energy_saved: Share
    storage: Annotated[
        SparseStorage | None, AfterValidator(_gains_something), Field(default=None, validate_default=True)
    ]
    source: Text


@dataclass(frozen=True)
class Core:
    """An operational array under a memory hierarchy.

    Attributes:
        name: Its name within the accelerator.
        kind: What it may run.
        array: The dimensions of the operational array.
        mac_energy_pj: Energy of one operation of the array in pJ, whatever its bit widths.
        memories: Its memories from the array outwards.
        dataflow: The spatial unrolling; empty where it is searched.
        imc: The figures of an in-memory computing array; None for an array of multipliers.
        source: Where its figures come from.
        systolic_dimensions: Array dimensions along which data move from one processing element to the next, a cycle
            each.
        mac_energy_by_bits: Energies of one operation at other bit widths, where they are published.
        sparsity: What it gains from weights that are zero; None for nothing.
    """

    name: str
    kind: CoreKind
    array: tuple[ArrayDimension, ...]
    mac_energy_pj: float
    memories: tuple[MemoryLevel, ...]
    dataflow: tuple[SpatialLoop, ...] = ()
    imc: ImcArray | None = None
    source: str = ""
    systolic_dimensions: tuple[str, ...] = ()
    mac_energy_by_bits: MacEnergyTable | None = None
    sparsity: WeightSparsity | None = None

    def mac_energy_pj_at(self, weight_bits: int, activation_bits: int) -> float:
        """Energy of one operation of the array; ``mac_energy_pj`` whatever the widths where the core has no table.

        Operands run at the cheapest width of the table that holds both; where none does, or where there are no weights
        (0 bits, as in pooling), an operation takes ``mac_energy_pj``.

        Args:
            weight_bits: Bits of the weight.
            activation_bits: Bits of the activation.

        Returns:
            The energy in pJ.
        """
        if self.mac_energy_by_bits is None or weight_bits == 0:
            return self.mac_energy_pj
        wide_enough = [
            entry.energy_pj
            for entry in self.mac_energy_by_bits.entries
            if entry.weight_bits >= weight_bits and entry.activation_bits >= activation_bits
        ]
        return min(wide_enough, default=self.mac_energy_pj)

    @property
    def peak_macs_per_cycle(self) -> int:
        """Operations per cycle when every part of the array is busy."""
        result = 1
        for dimension in self.array:
            result *= dimension.size
        return result

    def outermost_memory(self, operand: MemoryOperand) -> MemoryLevel:
        """Find the memory of an operand that is farthest from the array.

        Args:
            operand: The operand.

        Returns:
            The outermost memory that holds it; the core's outermost one where none does.
        """
        return next((item for item in reversed(self.memories) if operand in item.operands), self.memories[-1])

    @property
    def top_memory(self) -> MemoryLevel:
        """The memory that is farthest from the array."""
        return self.memories[-1]


@dataclass(frozen=True)
class Link(Block):
    """A connection from one core to another.

    Attributes:
        sender: Name of the core that sends.
        receiver: Name of the core that receives.
        bandwidth_bits: Bits per cycle; None = no transfer time.
        energy_pj_per_bit: Energy of a transfer in pJ per bit.
        shared: Links with the same name here are one physical medium: one transfer at a time on all of them.
    """

    sender: str
    receiver: str
    bandwidth_bits: int | None
    energy_pj_per_bit: Figure = 0.0
    shared: Text = ""


@dataclass(frozen=True)
class Accelerator:
    """Cores and the links between them.

    Attributes:
        name: What it is called.
        cores: All cores.
        links: All links.
        clock_hz: Clock in Hz; None where times are given in cycles only.
        description: One sentence.
        sources: Where the figures come from.
        reference: Published figures of single layers.
        formulas: Closed forms of a measured chip. Where they are given, cycles and energies come from them and not from
            a model of array and memories.
        activations_offchip: Whether the off-chip memory can hold activations; False for flash, which is not written
            while a network runs. Prices do not depend on it.
        device_power: Static power and energy of a start; None where nothing is known.
        runner: What measures costs on the device; None where they are computed.
    """

    name: str
    cores: tuple[Core, ...]
    links: tuple[Link, ...]
    clock_hz: float | None = None
    description: str = ""
    sources: tuple[str, ...] = field(default=())
    reference: tuple[ReferenceLayer, ...] = ()
    formulas: ChipFormulas | None = None
    activations_offchip: bool = True
    device_power: DevicePower | None = None
    runner: Runner | None = None

    @property
    def gains_from_zero_weights(self) -> bool:
        """Whether any core's description says what it gains from weights that are zero."""
        return any(core.sparsity is not None for core in self.cores)

    def core(self, name: str) -> Core:
        """One core.

        Args:
            name: Its name.

        Returns:
            The core.

        Raises:
            KeyError: No core has the name.
        """
        for core in self.cores:
            if core.name == name:
                return core
        raise KeyError(name)

    def cores_of(self, kind: CoreKind) -> tuple[Core, ...]:
        """The cores of one kind.

        Args:
            kind: The kind.

        Returns:
            Cores in the order of the accelerator.
        """
        return tuple(core for core in self.cores if core.kind is kind)
