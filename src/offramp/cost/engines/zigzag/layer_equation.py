"""A LayerShape in the terms of ZigZag: equation, loops, operand bits."""

from dataclasses import dataclass
from typing import Any

from offramp.hardware.accelerator import Core
from offramp.workload.layer import POOL_OPS, LayerShape, Op

OPERAND_LINKS = {"O": "O", "W": "I2", "I": "I1"}


@dataclass(frozen=True)
class _LoopNest:
    equation: str
    loops: tuple[tuple[str, int], ...]
    sliding: bool


def layer_to_zigzag(shape: LayerShape) -> dict[str, Any]:
    """Describe a layer for the LayerNodeFactory of zigzag-dse.

    Pooling slides over the channels ``K``; its ``C`` loop is 1 unless the shape asks for more (the reference evaluation
    loops over all channels once too often). Additions and multiplications of (N, C, H, W) run over the loops
    (B, H, D, K), so that ``K`` is the width. Source: asyms/stream, branch expl-eenn.

    Args:
        shape: The layer.

    Returns:
        Equation, loops, bit widths and padding under zigzag-dse's keys.
    """
    nest = _loop_nest(shape)
    data: dict[str, Any] = {
        "id": 0,
        "name": shape.op.value,
        "operator_type": shape.op.value,
        "equation": nest.equation,
        "dimension_relations": [],
        "loop_dims": [name for name, _ in nest.loops],
        "loop_sizes": [size for _, size in nest.loops],
        "operand_precision": _bits(shape),
        "operand_source": {} if shape.op in (Op.ADD, Op.MULTIPLY) else {"W": 0},
    }
    if nest.sliding:
        top, left, bottom, right = shape.padding
        data |= {
            "dimension_relations": [
                f"ix={shape.stride_x}*ox+{shape.dilation_x}*fx",
                f"iy={shape.stride_y}*oy+{shape.dilation_y}*fy",
            ],
            "pr_loop_dims": ["IX", "IY"],
            "pr_loop_sizes": [shape.ix, shape.iy],
            "padding": [[left, right], [top, bottom]],
        }
    return data


def mapping_to_zigzag(shape: LayerShape, core: Core) -> dict[str, Any]:
    """Describe the mapping of a layer for the LayerNodeFactory of zigzag-dse.

    Args:
        shape: The layer.
        core: The core that computes it.

    Returns:
        The core's dataflow under zigzag-dse's keys; without a dataflow zigzag-dse searches the spatial mapping.
    """
    spatial: dict[str, list[str]] = {}
    for loop in core.dataflow:
        spatial.setdefault(loop.array_dimension, []).append(f"{loop.loop}, {loop.size}")
    return {
        "name": shape.op.value,
        "memory_operand_links": dict(OPERAND_LINKS),
        "spatial_mapping": spatial or None,
    }


def _loop_nest(shape: LayerShape) -> _LoopNest:
    if shape.op in POOL_OPS:
        return _LoopNest(
            "O[b][k][oy][ox]+=W[fy][fx]*I[b][k][iy][ix]",
            (
                ("B", shape.b),
                ("K", shape.g * shape.k),
                ("OX", shape.ox),
                ("OY", shape.oy),
                ("C", shape.c),
                ("FX", shape.fx),
                ("FY", shape.fy),
            ),
            sliding=True,
        )
    if shape.op in (Op.ADD, Op.MULTIPLY):
        return _LoopNest(
            "O[b][h][d][k]=W[b][h][d][k]+I[b][h][d][k]",
            (("B", shape.b), ("H", shape.g * shape.k), ("D", shape.oy), ("K", shape.ox)),
            sliding=False,
        )
    if shape.op is Op.DENSE and shape.g == shape.oy == shape.ox == shape.fy == shape.fx == 1:
        return _LoopNest("O[d][k]+=I[d][c]*W[c][k]", (("D", shape.b), ("K", shape.k), ("C", shape.c)), sliding=False)
    if shape.op in (Op.CONV, Op.DENSE):
        return _LoopNest(
            "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
            (
                ("B", shape.b),
                ("K", shape.k),
                ("G", shape.g),
                ("OX", shape.ox),
                ("OY", shape.oy),
                ("C", shape.c),
                ("FX", shape.fx),
                ("FY", shape.fy),
            ),
            sliding=True,
        )
    raise ValueError(f"operator {shape.op.value!r} has no loop nest; it is priced by a stated rule.")


def _bits(shape: LayerShape) -> dict[str, int]:
    weight_bits = shape.weight_bits
    if shape.op in POOL_OPS:
        weight_bits = 0
    elif shape.op in (Op.ADD, Op.MULTIPLY):
        weight_bits = shape.bits_of_input(1)
    return {
        "W": weight_bits,
        "I": shape.bits_of_input(0),
        "O": shape.partial_sum_bits,
        "O_final": shape.activation_bits,
    }
