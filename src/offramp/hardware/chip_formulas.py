"""Chips with closed-form formulas fitted to silicon: cycles of layers, powers, and limits of each core.

Three forms are known. Which one a core has, and every figure in it, comes from the accelerator's YAML.
"""

from dataclasses import dataclass
from typing import TypeAlias

from offramp.workload.layer import Op


@dataclass(frozen=True)
class TiledArray:
    """Digital array: ``channels`` outputs at ``columns`` positions of a row at once, then results and inputs move.

    Cycles = ceil(K / channels) C G ceil(OX / columns) OY FY FX + (values in and out) / ``values_per_cycle``.
    """

    channels: int
    columns: int
    values_per_cycle: int


@dataclass(frozen=True)
class Converters:
    """What an analog array turns inputs and column sums into: two's complement of so many bits.

    A result y is read as round(y + y / ``snr`` * N(0, 1)), within the same limits; ``snr`` 0 = without noise.
    """

    input_bits: int
    output_bits: int
    snr: float


@dataclass(frozen=True)
class InMemoryArray:
    """Analog array: weights are written first, then each pass makes all outputs of one or several positions.

    Side by side fit the most of ``unrollings`` positions with positions * K <= columns and
    (positions + FX - 1) * max(row_block, C) * FY <= rows. Cycles = ``write_cycles_per_row`` C FY FX + ceil(K / columns)
    ceil(C / channels_per_pass) OX OY / positions * ``pass_s`` * clock.
    """

    rows: int
    columns: int
    row_block: int
    channels_per_pass: int
    unrollings: tuple[int, ...]
    write_cycles_per_row: float
    pass_s: float
    converters: Converters


@dataclass(frozen=True)
class Software:
    """A processor: so many cycles per multiply-accumulate, and per value that any other operator reads."""

    cycles_per_mac: float
    cycles_per_value: float


CycleForm: TypeAlias = TiledArray | InMemoryArray | Software


@dataclass(frozen=True)
class LayerRules:
    """What a core can run at all; empty ``kernels`` or ``strides`` and zeros mean no limit.

    ``groups``: none, depthwise (one channel each) or any. ``size_multiple``: bytes of the input must be a multiple;
    output channels are filled up until theirs are. ``first_layer``: whether it may read the graph's input.
    """

    ops: tuple[Op, ...]
    kernels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    groups: str = "any"
    first_layer: bool = True
    same_padding: bool = False
    size_multiple: int = 1
    weight_bits: int = 0
    activation_bits: int = 0
    source: str = ""


@dataclass(frozen=True)
class PeakEfficiency:
    """Published operations (two per MAC) per second and watt of a core's array alone."""

    tops_per_watt: float
    tolerance: float
    source: str


@dataclass(frozen=True)
class CoreFormula:
    """One core: its cycles, its rules, and the power it adds to that of the idle chip while it works.

    ``weights`` names the memory that weights are moved into before a layer; empty where the form counts that itself.
    """

    core: str
    cycles: CycleForm
    rules: LayerRules
    power_mw: float
    weights: str = ""
    depthwise_weight_copies: int = 1
    peak: PeakEfficiency | None = None
    source: str = ""

    @property
    def is_analog(self) -> bool:
        return isinstance(self.cycles, InMemoryArray)

    @property
    def is_software(self) -> bool:
        return isinstance(self.cycles, Software)


@dataclass(frozen=True)
class ChipFormulas:
    """All cores of a chip around one activation memory.

    Power at any time is ``idle_power_mw`` plus that of every working core. A layer's channels are divided between
    cores in multiples of ``split_channels``. ``shared_memory`` holds activations and is filled from the off-chip core
    at ``transfer_bits_per_cycle``, as are weight memories.
    """

    cores: tuple[CoreFormula, ...]
    idle_power_mw: float
    shared_memory: str
    transfer_bits_per_cycle: int
    split_channels: int
    source: str

    def core(self, name: str) -> CoreFormula:
        for item in self.cores:
            if item.core == name:
                return item
        raise KeyError(name)

    @property
    def analog(self) -> CoreFormula | None:
        return next((item for item in self.cores if item.is_analog), None)
