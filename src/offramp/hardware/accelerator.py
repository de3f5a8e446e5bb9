"""Accelerator: cores, memory levels and links. Sizes in bits, bandwidth in bits per cycle, energy in pJ."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from offramp.hardware.block import Block, Fault, Figure, Text, must, raise_faults
from offramp.hardware.chip_formulas import ChipFormulas
from offramp.hardware.published_figures import MacEnergyTable, ReferenceLayer

MemoryOperand = Literal["I1", "I2", "O"]
"""I1 = activations, I2 = weights (or the second activation of an addition), O = output."""


class PortKind(StrEnum):
    READ = "read"
    WRITE = "write"
    READ_WRITE = "read_write"


@dataclass(frozen=True)
class Port:
    """A physical port; ``min_bandwidth_bits`` is the smallest amount that an access moves."""

    name: str
    kind: PortKind
    bandwidth_bits: int
    min_bandwidth_bits: int


@dataclass(frozen=True)
class OperandPorts:
    """Which port of a memory serves which movement of one operand; None where the movement cannot occur.

    ``from_high`` (ZigZag: fh) write coming from the level above, ``to_low`` (tl) read towards the level below,
    ``from_low`` (fl) write coming from below, ``to_high`` (th) read towards above.
    """

    operand: MemoryOperand
    from_high: str | None
    to_low: str | None
    from_low: str | None = None
    to_high: str | None = None


@dataclass(frozen=True)
class MemoryLevel:
    """One memory of a core. Energies are per access of full port width (ZigZag's convention)."""

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
        return tuple(item.operand for item in self.operand_ports)

    @property
    def read_bandwidth_bits(self) -> int:
        return max(p.bandwidth_bits for p in self.ports if p.kind is not PortKind.WRITE)

    @property
    def write_bandwidth_bits(self) -> int:
        return max(p.bandwidth_bits for p in self.ports if p.kind is not PortKind.READ)


@dataclass(frozen=True)
class ArrayDimension:
    """One axis of the operational array, for example D1 of size 8."""

    name: str
    size: int


@dataclass(frozen=True)
class SpatialLoop:
    """A loop dimension unrolled over an array dimension: ``("D1", "K", 8)``."""

    array_dimension: str
    loop: str
    size: int


@dataclass(frozen=True)
class ImcArray:
    """An in-memory computing array: what ZigZag's gate-level model needs beside the array's sizes."""

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
    """An operational array under a memory hierarchy; ``memories`` go from the array outwards.

    ``dataflow`` fixes the spatial unrolling; empty means that it is searched. Along ``systolic_dimensions`` data moves
    from one processing element to the next, a cycle each.
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
        result = 1
        for dimension in self.array:
            result *= dimension.size
        return result

    @property
    def top_memory(self) -> MemoryLevel:
        return self.memories[-1]


@dataclass(frozen=True)
class Link(Block):
    """A connection between two cores. ``bandwidth_bits`` None = no transfer time.

    Links with the same ``shared`` name are one physical medium: one transfer at a time on all of them.
    """

    sender: str
    receiver: str
    bandwidth_bits: int | None
    energy_pj_per_bit: Figure = 0.0
    shared: Text = ""


@dataclass(frozen=True)
class Accelerator:
    """Cores by name and the links between them; ``sources`` says where each figure comes from.

    Where there are ``formulas``, cycles and energies come from them and not from a model of array and memories.
    """

    name: str
    cores: tuple[Core, ...]
    links: tuple[Link, ...]
    clock_hz: float | None = None
    description: str = ""
    sources: tuple[str, ...] = field(default=())
    reference: tuple[ReferenceLayer, ...] = ()
    formulas: ChipFormulas | None = None

    @property
    def gains_from_zero_weights(self) -> bool:
        """Whether any core's description says what it gains from weights that are zero."""
        return any(core.sparsity is not None for core in self.cores)

    def core(self, name: str) -> Core:
        for core in self.cores:
            if core.name == name:
                return core
        raise KeyError(name)

    def cores_of(self, kind: CoreKind) -> tuple[Core, ...]:
        return tuple(core for core in self.cores if core.kind is kind)
