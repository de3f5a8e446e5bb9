"""Chips with closed-form formulas fitted to silicon: cycles of layers, powers, and limits of each core.

Three forms are known. Which one a core has, and every figure in it, comes from the accelerator's YAML.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator

from offramp.hardware.block import Block
from offramp.hardware.field_types import (
    DISTINCT,
    Count,
    Figure,
    Flag,
    Items,
    PositiveFigure,
    Text,
    WholeNumber,
    shown,
    whole,
)
from offramp.workload.layer import Op

ConverterBits = Annotated[int, whole(2)]


def _allowed(value: Any) -> bool:
    if value not in ("allowed", "refused"):
        raise ValueError(f"must be one of allowed, refused, got {shown(value)}")
    return bool(value == "allowed")


@dataclass(frozen=True)
class TiledArray(Block):
    """Digital array: it computes a tile of outputs, then results and inputs move.

    Cycles = ceil(K / channels) C G ceil(OX / columns) OY FY FX + (values in and out) / ``values_per_cycle``.

    Attributes:
        channels: Output channels that are computed at once.
        columns: Positions of a row that are computed at once.
        values_per_cycle: Values that move in a cycle.
    """

    channels: Count
    columns: Count
    values_per_cycle: Count


@dataclass(frozen=True)
class Converters(Block):
    """What an analog array turns inputs and column sums into: two's complement of so many bits.

    A result y is read as round(y + y / ``snr`` * N(0, 1)), within the same limits.

    Attributes:
        input_bits: Bits of an input, at least 2.
        output_bits: Bits of a result, at least 2.
        snr: Ratio of a result to the standard deviation of its noise; 0 = without noise.
        source: Where the figures were published.
    """

    input_bits: ConverterBits
    output_bits: ConverterBits
    snr: Figure
    source: Text = field(compare=False)


@dataclass(frozen=True)
class InMemoryArray(Block):
    """Analog array: weights are written first, then each pass makes all outputs of one or several positions.

    Side by side fit the most of ``unrollings`` positions with positions * K <= columns and
    (positions + FX - 1) * max(row_block, C) * FY <= rows. Cycles = ``write_cycles_per_row`` C FY FX + ceil(K / columns)
    ceil(C / channels_per_pass) OX OY / positions * ``pass_s`` * clock.

    Attributes:
        rows: Rows of the array.
        columns: Columns of the array.
        row_block: Rows that are switched together.
        channels_per_pass: Input channels of a pass.
        unrollings: Numbers of positions that may be computed side by side, ascending; 1 where the file gives none.
        write_cycles_per_row: Cycles that writing a row of weights takes.
        pass_s: Seconds of a pass.
        converters: Converters at the inputs and outputs.
    """

    rows: Count
    columns: Count
    row_block: Count
    channels_per_pass: Count
    unrollings: Annotated[Items[Count], AfterValidator(lambda values: tuple(sorted(values)) or (1,))]
    write_cycles_per_row: Figure
    pass_s: PositiveFigure
    converters: Converters


@dataclass(frozen=True)
class Software(Block):
    """A processor that runs every operator in software.

    Attributes:
        cycles_per_mac: Cycles of a multiply-accumulate.
        cycles_per_value: Cycles for each value that any other operator reads.
    """

    cycles_per_mac: PositiveFigure
    cycles_per_value: Figure


CycleForm: TypeAlias = TiledArray | InMemoryArray | Software


@dataclass(frozen=True)
class LayerRules(Block):
    """What a core can run at all; empty tuples and zeros mean no limit.

    Attributes:
        ops: Operators.
        kernels: Kernel sizes.
        strides: Strides.
        groups: Convolutions that it runs: without groups (none), depthwise as well (one channel each), or any.
        first_layer: Whether it may read the input of the network; the file says allowed or refused.
        same_padding: Whether the output must be as large as the input divided by the stride.
        size_multiple: Bytes of the input must be a multiple of this; output channels are filled up until theirs are.
        weight_bits: Bits of weights.
        activation_bits: Bits of activations.
        source: Where the rules were published.
    """

    ops: Annotated[Items[Op], DISTINCT]
    kernels: Items[Count] = ()
    strides: Items[Count] = ()
    groups: Literal["none", "depthwise", "any"] = "any"
    first_layer: Annotated[bool, BeforeValidator(_allowed)] = True
    same_padding: Flag = False
    size_multiple: Count = 1
    weight_bits: WholeNumber = 0
    activation_bits: WholeNumber = 0
    source: Text = field(kw_only=True)


@dataclass(frozen=True)
class PeakEfficiency(Block):
    """Published peak efficiency of a core's array alone.

    Attributes:
        tops_per_watt: Tera-operations (two per MAC) per second and watt.
        tolerance: Greatest relative difference that counts as agreement.
        source: Where the figure was published.
    """

    tops_per_watt: PositiveFigure
    tolerance: Figure
    source: Text


@dataclass(frozen=True)
class CoreFormula(Block):
    """One core: its cycles, its rules, and the power it adds to that of the idle chip while it works.

    Attributes:
        core: Name of the core.
        cycles: The closed form of its cycles, with its figures.
        rules: What it can run.
        power_mw: Power in mW beside that of the idle chip.
        weights: Memory that weights are moved into before a layer; empty where the form counts that itself.
        depthwise_weight_copies: How often the weights of a depthwise convolution are stored.
        peak: Its published peak efficiency, if any.
        source: Where the figures were published.
    """

    core: str
    cycles: CycleForm
    rules: LayerRules
    power_mw: Figure
    weights: Text = ""
    depthwise_weight_copies: Count = 1
    peak: PeakEfficiency | None = None
    source: Text = field(kw_only=True)

    @property
    def is_analog(self) -> bool:
        """Whether the core computes in an analog array."""
        return isinstance(self.cycles, InMemoryArray)

    @property
    def is_software(self) -> bool:
        """Whether the core is a processor."""
        return isinstance(self.cycles, Software)


@dataclass(frozen=True)
class ChipFormulas(Block):
    """All cores of a chip around one activation memory.

    Power at any time is ``idle_power_mw`` plus that of every working core.

    Attributes:
        cores: The formula of each core.
        idle_power_mw: Power of the idle chip in mW.
        shared_memory: The memory of activations, which every core has; it is filled from the off-chip core.
        transfer_bits_per_cycle: Bits per cycle between the off-chip core and the other memories.
        split_channels: A layer's channels are divided between cores in multiples of this number.
        source: Where the formulas were published.
    """

    cores: tuple[CoreFormula, ...]
    idle_power_mw: Figure
    shared_memory: Text
    transfer_bits_per_cycle: Count
    split_channels: Count = 1
    source: Text = field(kw_only=True)

    def core(self, name: str) -> CoreFormula:
        """The formula of one core.

        Args:
            name: Name of the core.

        Returns:
            Its formula.

        Raises:
            KeyError: No core has the name.
        """
        for item in self.cores:
            if item.core == name:
                return item
        raise KeyError(name)

    @property
    def analog(self) -> CoreFormula | None:
        """The formula of the analog core, if there is one."""
        return next((item for item in self.cores if item.is_analog), None)
