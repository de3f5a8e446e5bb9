"""Published figures of a chip: energies of multiply-accumulates at several bit widths, and costs of layers."""

from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from offramp.hardware.block import Block, Fault, raise_faults
from offramp.hardware.field_types import Figure, Items, PositiveFigure, Text, WholeNumber, must, whole
from offramp.workload.layer import MATRIX_OPS, POOL_OPS, LayerShape, Op

MAX_ENTRIES = 1024
Bits = Annotated[int, whole(1, 32)]
# What is larger than the sizes of any layer would only keep the engine busy.
LoopSize = Annotated[int, whole(1, 2**20)]


FEW_ENTRIES = must(lambda value: len(value) <= MAX_ENTRIES, "must have at most 1024 entries, got {count}")


@dataclass(frozen=True)
class MacEnergy(Block):
    """The energy of one multiply-accumulate.

    Attributes:
        weight_bits: Bits of the weight, 1 to 32.
        activation_bits: Bits of the activation, 1 to 32.
        energy_pj: Energy in pJ.
    """

    weight_bits: Bits
    activation_bits: Bits
    energy_pj: Figure


def _each_once(value: tuple[MacEnergy, ...]) -> tuple[MacEnergy, ...]:
    widths = [(entry.weight_bits, entry.activation_bits) for entry in value]
    raise_faults(
        Fault(f"`entries` has {weight}-bit weights with {activation}-bit activations twice")
        for weight, activation in sorted({pair for pair in widths if widths.count(pair) > 1})
    )
    return value


_EACH_ONCE = AfterValidator(_each_once)


@dataclass(frozen=True)
class MacEnergyTable(Block):
    """Energies of an array whose multiplications get cheaper with fewer bits.

    Attributes:
        entries: One energy for each pair of widths.
        source: Where the figures were published.
    """

    entries: Annotated[Items[MacEnergy], must(bool, "must hold at least one entry"), FEW_ENTRIES, _EACH_ONCE]
    source: Text


def _channels_are_groups(value: int, info: ValidationInfo) -> int:
    op = Op(info.data.get("op", Op.CONV))
    if op not in MATRIX_OPS and info.data.get("k", 1) * value > 1:
        what = "pooling" if op in POOL_OPS else "an element-wise operator"
        raise_faults([Fault(f"the channels of {what} are `g`; leave `k` and `c` out")])
    return value


_Padding = Annotated[
    Items[WholeNumber],
    must(lambda sides: len(sides) in (0, 4), "must be [top, left, bottom, right], got {count} values"),
    AfterValidator(lambda sides: sides or (0, 0, 0, 0)),
]
# The fields of LayerShape that a file may give. Input sizes follow from output, kernel and padding where left out.
_LayerFields: type[Any] = make_dataclass(
    "_LayerFields",
    [
        ("op", Literal["conv", "dense", "max_pool", "avg_pool", "add", "multiply", "concat"]),
        *((name, LoopSize, 1) for name in ("b", "g", "k")),
        ("c", Annotated[LoopSize, AfterValidator(_channels_are_groups)], 1),
        *((name, LoopSize, 1) for name in ["oy", "ox", "fy", "fx", "stride_y", "stride_x", "dilation_y", "dilation_x"]),
        ("padding", _Padding, (0, 0, 0, 0)),
        *((name, LoopSize | None, None) for name in ("iy", "ix")),
        *((name, Bits, 8) for name in ("weight_bits", "activation_bits")),
    ],
    bases=(Block,),
    frozen=True,
)


def _layer(data: Any) -> LayerShape:
    if isinstance(data, LayerShape):
        return data
    sizes = dict(vars(_LayerFields.read(data)))
    top, left, bottom, right = sizes["padding"]
    for axis, padding in (("y", top + bottom), ("x", left + right)):
        steps, kernel = (sizes[f"o{axis}"] - 1) * sizes[f"stride_{axis}"], sizes[f"f{axis}"] - 1
        size = steps + kernel * sizes[f"dilation_{axis}"] + 1 - padding
        sizes[f"i{axis}"] = sizes[f"i{axis}"] or max(1, size)
    return LayerShape(**sizes | {"op": Op(sizes["op"])})


def _some_figure(value: float | None, info: ValidationInfo) -> float | None:
    if value is None and info.data.get("cycles", 1.0) is None:
        raise_faults([Fault("`cycles` or `energy_pj` must be given")])
    return value


@dataclass(frozen=True)
class ReferenceLayer(Block):
    """A published figure of one layer on one core, to compare a cost engine with.

    Attributes:
        layer: What the source calls the layer.
        core: Name of the core that it runs on.
        shape: The layer.
        cycles: From the first load to the last result in the core's outermost memory.
        energy_pj: Energy of array and memories in pJ; it or ``cycles`` is given.
        tolerance: Greatest relative difference that counts as agreement.
        source: Where the figures were published.
    """

    layer: Text
    core: Text
    shape: Annotated[LayerShape, BeforeValidator(_layer)]
    cycles: Annotated[PositiveFigure | None, Field(default=None)]
    energy_pj: Annotated[
        PositiveFigure | None, AfterValidator(_some_figure), Field(default=None, validate_default=True)
    ]
    tolerance: Annotated[Figure, Field(default=0.001)]
    source: Text
