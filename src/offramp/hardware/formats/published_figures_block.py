"""Two optional blocks of offramp's own format: energies per bit width of a core, and published figures of layers."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from offramp.hardware.accelerator import CoreKind, MacEnergy, MacEnergyTable, ReferenceLayer
from offramp.hardware.formats.block import (
    Block,
    Fault,
    Figure,
    PositiveFigure,
    Text,
    WholeNumber,
    near_name,
    raise_faults,
    whole,
)
from offramp.hardware.formats.core_block import NamedCore
from offramp.workload.layer import MATRIX_OPS, POOL_OPS, LayerShape, Op

MAX_BITS = 32
MAX_ENTRIES = 1024
MAX_SIZE = 2**20
DEFAULT_TOLERANCE = 0.001

Bits = Annotated[int, whole(1, MAX_BITS)]
# What is larger than the sizes of any layer would only keep the engine busy.
LoopSize = Annotated[int, whole(1, MAX_SIZE)]


def few_entries(value: list[Any]) -> list[Any]:
    """Check the length of a list.

    Args:
        value: The list.

    Returns:
        The same list.

    Raises:
        ValueError: It has more than 1,024 entries.
    """
    if len(value) > MAX_ENTRIES:
        raise ValueError(f"must have at most {MAX_ENTRIES} entries, got {len(value)}")
    return value


class MacEnergyBlock(Block):
    """The energy of one multiply-accumulate.

    Attributes:
        weight_bits: Bits of the weight, 1 to 32.
        activation_bits: Bits of the activation, 1 to 32.
        energy_pj: Energy in pJ.
    """

    weight_bits: Bits
    activation_bits: Bits
    energy_pj: Figure


class MacEnergiesBlock(Block):
    """The block `mac_energy_by_bits` of a core.

    Attributes:
        source: Where the figures were published.
        entries: One energy for each pair of widths.
    """

    source: Text
    entries: list[MacEnergyBlock]

    @field_validator("entries")
    @classmethod
    def _each_once(cls, value: list[MacEnergyBlock]) -> list[MacEnergyBlock]:
        if not value:
            raise ValueError("must hold at least one entry")
        few_entries(value)
        widths = [(entry.weight_bits, entry.activation_bits) for entry in value]
        raise_faults(
            Fault(f"`entries` has {weight}-bit weights with {activation}-bit activations twice")
            for weight, activation in sorted({pair for pair in widths if widths.count(pair) > 1})
        )
        return value

    def build(self) -> MacEnergyTable:
        """The block as a value."""
        return MacEnergyTable(tuple(MacEnergy(**dict(entry)) for entry in self.entries), self.source)


class ShapeBlock(Block):
    """A layer by its loop sizes, each 1 where left out.

    Attributes:
        op: The operator.
        b: Batch.
        g: Groups; the channels of pooling and of element-wise operators.
        k: Output channels of a group.
        c: Input channels of a group.
        oy: Output height.
        ox: Output width.
        fy: Kernel height.
        fx: Kernel width.
        stride_y: Vertical stride.
        stride_x: Horizontal stride.
        dilation_y: Vertical dilation.
        dilation_x: Horizontal dilation.
        padding: Top, left, bottom, right.
        iy: Input height; follows from output, kernel and padding where left out.
        ix: Input width, likewise.
        weight_bits: Bits of weights.
        activation_bits: Bits of activations.
    """

    op: Literal["conv", "dense", "max_pool", "avg_pool", "add", "multiply", "concat"]
    b: LoopSize = 1
    g: LoopSize = 1
    k: LoopSize = 1
    c: LoopSize = Field(default=1, validate_default=True)
    oy: LoopSize = 1
    ox: LoopSize = 1
    fy: LoopSize = 1
    fx: LoopSize = 1
    stride_y: LoopSize = 1
    stride_x: LoopSize = 1
    dilation_y: LoopSize = 1
    dilation_x: LoopSize = 1
    padding: list[WholeNumber] = Field(default_factory=lambda: [0, 0, 0, 0])
    iy: LoopSize | None = None
    ix: LoopSize | None = None
    weight_bits: Bits = 8
    activation_bits: Bits = 8

    @field_validator("c")
    @classmethod
    def _channels_are_groups(cls, value: int, info: ValidationInfo) -> int:
        op = Op(info.data.get("op", Op.CONV))
        if op not in MATRIX_OPS and info.data.get("k", 1) * value > 1:
            what = "pooling" if op in POOL_OPS else "an element-wise operator"
            raise_faults([Fault(f"the channels of {what} are `g`; leave `k` and `c` out")])
        return value

    @field_validator("padding")
    @classmethod
    def _four_sides(cls, value: list[int]) -> list[int]:
        if len(value) not in (0, 4):
            raise ValueError(f"must be [top, left, bottom, right], got {len(value)} values")
        return value or [0, 0, 0, 0]

    def build(self) -> LayerShape:
        """The layer as a value."""
        top, left, bottom, right = self.padding
        input_y = (self.oy - 1) * self.stride_y + (self.fy - 1) * self.dilation_y + 1 - top - bottom
        input_x = (self.ox - 1) * self.stride_x + (self.fx - 1) * self.dilation_x + 1 - left - right
        sizes = dict(self) | {
            "op": Op(self.op),
            "padding": (top, left, bottom, right),
            "iy": self.iy or max(1, input_y),
            "ix": self.ix or max(1, input_x),
        }
        return LayerShape(**sizes)


class ReferenceBlock(Block):
    """An entry of the block `reference`: published cycles or energy of one layer.

    Attributes:
        layer: What the source calls the layer.
        core: The core that it runs on. The context's ``cores`` has all that may be named.
        shape: The layer.
        cycles: From the first load to the last result in the core's last memory.
        energy_pj: Energy of array and memories in pJ; it or ``cycles`` is given.
        tolerance: Greatest relative difference that counts as agreement.
        source: Where the figures were published.
    """

    layer: Text
    core: Text
    shape: ShapeBlock
    cycles: PositiveFigure | None = None
    energy_pj: PositiveFigure | None = Field(default=None, validate_default=True)
    tolerance: Figure = DEFAULT_TOLERANCE
    source: Text

    @field_validator("core")
    @classmethod
    def _computes(cls, value: str, info: ValidationInfo) -> str:
        cores: dict[str, NamedCore] = (info.context or {})["cores"]
        if value not in cores:
            raise_faults([unknown_core(value, list(cores))])
        if cores[value].kind is CoreKind.OFFCHIP:
            raise_faults([Fault(f"core {value!r} is a memory and computes no layer")])
        return value

    @field_validator("energy_pj")
    @classmethod
    def _some_figure(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None and info.data.get("cycles", 1.0) is None:
            raise_faults([Fault("`cycles` or `energy_pj` must be given")])
        return value

    def build(self, core: str) -> ReferenceLayer:
        """The entry as a value.

        Args:
            core: The name of the core in the accelerator, the number of its copy included.

        Returns:
            The published figures.
        """
        return ReferenceLayer(
            self.layer, core, self.shape.build(), self.cycles, self.energy_pj, self.tolerance, self.source
        )


def unknown_core(name: str, names: list[str]) -> Fault:
    """The fault of a name that no core has.

    Args:
        name: What was given.
        names: The names that may be given.

    Returns:
        The fault, with a near name where there is one.
    """
    return Fault(f"names unknown core {name!r}{near_name(name, names)}; there are {', '.join(names) or 'none'}")
