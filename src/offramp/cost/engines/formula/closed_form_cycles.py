"""Cycles of one layer on one core, from a closed-form formula."""

import math
from dataclasses import dataclass, replace

from offramp.hardware.chip_formulas import CoreFormula, InMemoryArray, Software, TiledArray
from offramp.workload.layer import MATRIX_OPS, LayerShape, Op


@dataclass(frozen=True)
class FormulaCycles:
    """Cycles of one layer on one core.

    Attributes:
        computing: Cycles in which the array computes.
        moving: Cycles in which values are moved in and out.
        before: Cycles in which the weights are written into the array.
        unrolled: Number of output positions that are computed at once.
    """

    computing: float
    moving: float = 0.0
    before: float = 0.0
    unrolled: int = 1

    @property
    def total(self) -> float:
        """Cycles of the layer: computing, moving and writing weights follow each other."""
        return self.computing + self.moving + self.before


def layer_cycles(formula: CoreFormula, shape: LayerShape, clock_hz: float) -> FormulaCycles:
    """Return the cycles of a layer on a core.

    Args:
        formula: The core's formula and limits.
        shape: The layer; `offramp.cost.engines.formula.core_limits.why_not` says whether it fits the core.
        clock_hz: Clock rate of the chip, for formulas that state times in seconds.

    Returns:
        The cycles by phase.

    Raises:
        ValueError: The kernel takes more rows than an in-memory array has.
    """
    form = formula.cycles
    shape = padded(shape, formula.rules.size_multiple)
    if isinstance(form, TiledArray):
        return _tiled(form, shape)
    if isinstance(form, InMemoryArray):
        return _in_memory(form, shape, clock_hz)
    return _software(form, shape)


def padded(shape: LayerShape, multiple: int) -> LayerShape:
    """Add output channels until the number of output values is a multiple: 10 classes become 12.

    Args:
        shape: The layer; only matrix operators without groups are padded.
        multiple: What the number of output values must be a multiple of, >= 1.

    Returns:
        The shape that the core computes.
    """
    if shape.op not in MATRIX_OPS or shape.g > 1 or multiple == 1:
        return shape
    step = multiple // math.gcd(multiple, shape.oy * shape.ox)
    channels = -(-shape.k // step) * step
    if channels == shape.k:
        return shape
    return replace(shape, k=channels)


def _tiled(form: TiledArray, shape: LayerShape) -> FormulaCycles:
    values_in = _inputs(shape)
    values_out = shape.g * shape.k
    moving = shape.b * shape.oy * shape.ox * (values_in + values_out) / form.values_per_cycle
    if shape.op not in MATRIX_OPS:
        return FormulaCycles(0.0, moving)
    tiles = -(-shape.k // form.channels) * shape.g * shape.c
    rows = -(-shape.ox // form.columns) * shape.oy
    return FormulaCycles(float(shape.b * tiles * rows * shape.fy * shape.fx), moving)


def _inputs(shape: LayerShape) -> int:
    """Channels read per position, of all inputs together."""
    return shape.g * shape.c * (2 if shape.op in (Op.ADD, Op.MULTIPLY) else 1)


def unrolling(form: InMemoryArray, shape: LayerShape) -> int | None:
    """Return how many output positions an in-memory array computes at once.

    Args:
        form: The array.
        shape: The convolution or dense layer.

    Returns:
        The largest of the array's unrollings that fits; None where none fits.
    """
    channels = max(form.row_block, min(shape.c, form.channels_per_pass))
    columns = min(shape.k, form.columns)
    fitting = [
        count
        for count in form.unrollings
        if count * columns <= form.columns and (count + shape.fx - 1) * channels * shape.fy <= form.rows
    ]
    return max(fitting, default=None)


def _in_memory(form: InMemoryArray, shape: LayerShape, clock_hz: float) -> FormulaCycles:
    count = unrolling(form, shape)
    if count is None:
        raise ValueError("the kernel takes more rows than the array has")
    passes = -(-shape.k // form.columns) * -(-shape.c // form.channels_per_pass)
    computing = shape.b * passes * shape.oy * shape.ox / count * (form.pass_s * clock_hz)
    writing = form.write_cycles_per_row * shape.c * shape.fy * shape.fx
    return FormulaCycles(computing, 0.0, writing, count)


def _software(form: Software, shape: LayerShape) -> FormulaCycles:
    if shape.op in MATRIX_OPS:
        return FormulaCycles(form.cycles_per_mac * shape.macs)
    window = shape.fy * shape.fx
    values = shape.b * shape.oy * shape.ox * _inputs(shape) * window
    return FormulaCycles(form.cycles_per_value * values)
