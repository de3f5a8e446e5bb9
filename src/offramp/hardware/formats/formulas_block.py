"""The optional block `formulas` of offramp's own format: closed forms, powers and layer rules of a measured chip."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator

from offramp.hardware.accelerator import CoreKind
from offramp.hardware.chip_formulas import (
    ChipFormulas,
    Converters,
    CoreFormula,
    InMemoryArray,
    LayerRules,
    PeakEfficiency,
    Software,
    TiledArray,
)
from offramp.hardware.formats.block import (
    DISTINCT,
    STRING_KEYS,
    Block,
    Count,
    Faults,
    Figure,
    PositiveFigure,
    Text,
    WholeNumber,
    near_name,
    read_block,
    whole,
)
from offramp.hardware.formats.core_block import NamedCore
from offramp.workload.layer import Op

ConverterBits = Annotated[int, whole(2)]


class TiledBlock(Block):
    """Figures of the form `tiled`, see `TiledArray`.

    Attributes:
        channels: Output channels at once.
        columns: Positions of a row at once.
        values_per_cycle: Values that move in a cycle.
    """

    channels: Count
    columns: Count
    values_per_cycle: Count

    def build(self) -> TiledArray:
        """The form as a value."""
        return TiledArray(**dict(self))


class ConvertersBlock(Block):
    """Converters of an analog array, see `Converters`.

    Attributes:
        input_bits: Bits of the inputs.
        output_bits: Bits of the results.
        snr: Ratio of a result to the deviation of its noise; 0 = without noise.
        source: Where the figures were published; not kept.
    """

    input_bits: ConverterBits
    output_bits: ConverterBits
    snr: Figure
    source: Text


class InMemoryBlock(Block):
    """Figures of the form `in_memory`, see `InMemoryArray`.

    Attributes:
        rows: Rows of the array.
        columns: Columns of the array.
        row_block: Rows that are switched together.
        channels_per_pass: Input channels of a pass.
        unrollings: Numbers of positions that may be computed side by side.
        write_cycles_per_row: Cycles that writing a row of weights takes.
        pass_s: Seconds of a pass.
        converters: What turns inputs and column sums into values.
    """

    rows: Count
    columns: Count
    row_block: Count
    channels_per_pass: Count
    unrollings: list[Count]
    write_cycles_per_row: Figure
    pass_s: PositiveFigure
    converters: ConvertersBlock

    def build(self) -> InMemoryArray:
        """The form as a value."""
        converters = self.converters
        figures = dict(self) | {
            "unrollings": tuple(sorted(self.unrollings)) or (1,),
            "converters": Converters(converters.input_bits, converters.output_bits, converters.snr),
        }
        return InMemoryArray(**figures)


class SoftwareBlock(Block):
    """Figures of the form `software`, see `Software`.

    Attributes:
        cycles_per_mac: Cycles of a multiply-accumulate.
        cycles_per_value: Cycles for each value that any other operator reads.
    """

    cycles_per_mac: PositiveFigure
    cycles_per_value: Figure

    def build(self) -> Software:
        """The form as a value."""
        return Software(**dict(self))


FormBlock: TypeAlias = TiledBlock | InMemoryBlock | SoftwareBlock
FORMS: dict[str, type[FormBlock]] = {"tiled": TiledBlock, "in_memory": InMemoryBlock, "software": SoftwareBlock}


class RulesBlock(Block):
    """What a core can run, see `LayerRules`; empty lists and zeros mean no limit.

    Attributes:
        ops: Operators.
        kernels: Kernel sizes.
        strides: Strides.
        first_layer: Whether it may read the input of the network: allowed or refused.
        groups: Convolutions: none, depthwise or any.
        same_padding: Whether the output must be as large as the input divided by the stride.
        size_multiple: Bytes of the input must be a multiple.
        weight_bits: Bits of weights.
        activation_bits: Bits of activations.
        source: Where the rules were published.
    """

    ops: Annotated[
        list[Literal["conv", "dense", "max_pool", "avg_pool", "add", "multiply", "concat", "activation"]], DISTINCT
    ]
    kernels: list[Count] = Field(default_factory=list)
    strides: list[Count] = Field(default_factory=list)
    first_layer: Literal["allowed", "refused"] = "allowed"
    groups: Literal["none", "depthwise", "any"] = "any"
    same_padding: bool = False
    size_multiple: Count = 1
    weight_bits: WholeNumber = 0
    activation_bits: WholeNumber = 0
    source: Text

    def build(self) -> LayerRules:
        """The rules as a value."""
        rules = dict(self) | {
            "ops": tuple(map(Op, self.ops)),
            "kernels": tuple(self.kernels),
            "strides": tuple(self.strides),
            "first_layer": self.first_layer == "allowed",
        }
        return LayerRules(**rules)


class PeakBlock(Block):
    """Published peak efficiency of a core's array alone.

    Attributes:
        tops_per_watt: Tera-operations (two per MAC) per second and watt.
        tolerance: Greatest relative difference that counts as agreement.
        source: Where the figure was published.
    """

    tops_per_watt: PositiveFigure
    tolerance: Figure
    source: Text


class CoreFormulaBlock(Block):
    """Cycles, power and rules of one core. The context's ``memories`` names the memories of the core.

    Attributes:
        form: Which closed form gives its cycles: tiled, in_memory or software.
        figures: The figures of that form.
        weights: The memory that weights are moved into before a layer; empty where the form counts that itself.
        depthwise_weight_copies: How often the weights of a depthwise convolution are stored.
        power_mw: Power in mW beside that of the idle chip.
        rules: What the core can run.
        peak: Its published peak efficiency.
        source: Where the figures were published.
    """

    form: Literal["tiled", "in_memory", "software"]
    figures: Any
    weights: Text = ""
    depthwise_weight_copies: Count = 1
    power_mw: Figure
    rules: RulesBlock
    peak: PeakBlock | None = None
    source: Text

    @field_validator("figures")
    @classmethod
    def _of_the_form(cls, value: Any, info: ValidationInfo) -> Any:
        return FORMS[info.data["form"]].model_validate(value) if "form" in info.data else value

    @field_validator("weights")
    @classmethod
    def _known_memory(cls, value: str, info: ValidationInfo) -> str:
        memories = (info.context or {}).get("memories")
        if memories is not None and value not in memories:
            raise ValueError(f"names {value!r}, which is no memory of the core{near_name(value, memories)}")
        return value

    def build(self, core: str) -> CoreFormula:
        """The block as a value.

        Args:
            core: The name of the core.

        Returns:
            The formula of the core.
        """
        return CoreFormula(
            core=core,
            cycles=self.figures.build(),
            rules=self.rules.build(),
            power_mw=self.power_mw,
            weights=self.weights,
            depthwise_weight_copies=self.depthwise_weight_copies,
            peak=None if self.peak is None else PeakEfficiency(**dict(self.peak)),
            source=self.source,
        )


class FormulasBlock(Block):
    """The chip as a whole.

    Attributes:
        source: Where the formulas were published.
        idle_power_mw: Power of the idle chip in mW.
        shared_memory: The memory of activations, which every core has.
        transfer_bits_per_cycle: Bits per cycle between the off-chip core and the other memories.
        split_channels: A layer's channels are divided between cores in multiples of this number.
        cores: The formula of each core, by its name; read one by one.
    """

    source: Text
    idle_power_mw: Figure
    shared_memory: Text
    transfer_bits_per_cycle: Count
    split_channels: Count = 1
    cores: Annotated[dict[str, Any], STRING_KEYS]


def read_formulas(data: Any, cores: Mapping[str, NamedCore], faults: Faults, *, has_clock: bool) -> ChipFormulas | None:
    """The block, checked against the rest of the file.

    Args:
        data: Plain data of the block.
        cores: The cores by each name that may be given.
        faults: Gets all faults of the block.
        has_clock: Whether the accelerator states its clock.

    Returns:
        The formulas, or None where there is a fault.
    """
    block = read_block(FormulasBlock, data, "formulas", faults)
    entries = data.get("cores") if isinstance(data, dict) else None
    entries = {str(key): value for key, value in entries.items()} if isinstance(entries, dict) else {}
    formulas = []
    for name, entry in entries.items():
        place = f"formulas of core '{name}'"
        if name not in cores:
            faults.add(place, f"there is no such core{near_name(name, cores)}; there are {', '.join(cores) or 'none'}")
            continue
        core = cores[name]
        memories = None if core.block is None else list(core.block.memories)
        formula = read_block(CoreFormulaBlock, entry, place, faults, {"memories": memories})
        if formula is not None:
            formulas.append(formula.build(core.name))
        if block is not None and memories is not None and block.shared_memory not in memories:
            faults.add(place, f"the core has no memory {block.shared_memory!r}, which `shared_memory` names")
    if isinstance(data, dict):
        for sentence in _chip_faults(entries, cores, has_clock=has_clock):
            faults.add("formulas", sentence)
    if block is None:
        return None
    figures = {name: value for name, value in dict(block).items() if name != "cores"}
    return ChipFormulas(cores=tuple(formulas), **figures)


def _chip_faults(entries: Mapping[str, Any], cores: Mapping[str, NamedCore], *, has_clock: bool) -> Iterator[str]:
    """The chip as a whole: time and power need a clock, every compute core a form, weights somewhere to come from."""
    if not has_clock:
        yield "powers need a clock; give the accelerator a `clock_hz`"
    for core in cores.values():
        if getattr(core.block, "sparsity", None) is not None:
            yield f"cycles and energies are those of the formulas, so `sparsity` of core {core.name!r} is unused"
    given = {cores[name].name for name in entries if name in cores}
    missing = {core.name for core in cores.values() if core.kind is CoreKind.COMPUTE} - given
    if missing:
        yield f"every compute core needs a formula, {', '.join(sorted(missing))} has none"
    if not any(core.kind is CoreKind.OFFCHIP for core in cores.values()):
        yield "input and weights need a core of kind offchip to come from"
    forms = [entry.get("form") for entry in entries.values() if isinstance(entry, dict)]
    if forms.count("in_memory") > 1:
        yield "at most one core may have the form in_memory"
    if "tiled" not in forms:
        yield "one core must have the form tiled"
