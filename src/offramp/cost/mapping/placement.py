"""Where each layer runs, whether its operands fit there, and with which shape and core it is priced."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from offramp.cost.report import Convention
from offramp.cost.sparsity_gain import as_priced, stored_weight_bits
from offramp.hardware.accelerator import Accelerator, Core, CoreKind, MemoryLevel, MemoryOperand
from offramp.workload.graph import Layer, Workload
from offramp.workload.layer import MATRIX_OPS, POOL_OPS, LayerShape, Op

ELEMENT_WISE_OPS = frozenset({Op.ADD, Op.MULTIPLY, Op.CONCAT})
OPERANDS: tuple[MemoryOperand, ...] = ("I1", "I2", "O")


@dataclass(frozen=True)
class Placement:
    """A layer on a core.

    Attributes:
        layer: The layer.
        core: The core that runs it.
        streamed: Operands that do not fit the core and stay in the off-chip memory while the layer runs.
        priced_shape: The shape that the engine is asked for.
        priced_core: The core that the engine is asked for.
    """

    layer: Layer
    core: Core
    streamed: tuple[MemoryOperand, ...]
    priced_shape: LayerShape
    priced_core: Core


def place(workload: Workload, accelerator: Accelerator, compute: Core, convention: Convention) -> list[Placement]:
    """Place all layers on one compute core, or on the pooling and the SIMD core where these run them.

    Where operands do not fit the core's outermost memory together, the largest stay off chip, and the layer is priced
    on the core with the off-chip memory above its own. Source: asyms/stream, branch expl-eenn.

    Args:
        workload: The network.
        accelerator: What it runs on.
        compute: The compute core.
        convention: ``published`` prices a pooling layer with one loop over its channels too many.

    Returns:
        One placement per layer, in order.
    """
    offchip = next(iter(accelerator.cores_of(CoreKind.OFFCHIP)), None)
    shapes = {layer.name: layer.shape for layer in workload.layers}
    placements = []
    for layer in workload.layers:
        core = _core_for(layer.shape.op, accelerator, compute)
        streamed = () if offchip is None else streamed_operands(layer, core, shapes)
        priced_shape = as_priced(layer.shape, core)
        if convention == "published" and layer.shape.op in POOL_OPS:
            priced_shape = replace(layer.shape, c=layer.shape.g * layer.shape.c)
        priced_core = core if offchip is None or not streamed else with_offchip_level(core, offchip, streamed)
        placements.append(Placement(layer, core, streamed, priced_shape, priced_core))
    return placements


def _core_for(op: Op, accelerator: Accelerator, compute: Core) -> Core:
    wanted = CoreKind.POOLING if op in POOL_OPS else CoreKind.SIMD if op in ELEMENT_WISE_OPS else CoreKind.COMPUTE
    if wanted is CoreKind.COMPUTE:
        return compute
    return next(iter(accelerator.cores_of(wanted)), compute)


def streamed_operands(layer: Layer, core: Core, shapes: Mapping[str, LayerShape]) -> tuple[MemoryOperand, ...]:
    """Find the operands that have to stay off chip while a layer runs.

    Operands are fitted from the smallest to the largest, the output at the width of its partial sums. What is left must
    hold the spatially unrolled innermost memories of the operands that do not fit, else more operands stay off chip.

    Args:
        layer: The layer.
        core: The core that runs it.
        shapes: Shapes of all layers, by name.

    Returns:
        The operands; empty where all fit.
    """
    if layer.shape.op is Op.ACTIVATION:
        return ()
    bits = _operand_bits(layer, core, shapes)
    streamed: list[MemoryOperand] = []
    for memory in dict.fromkeys(core.outermost_memory(operand) for operand in OPERANDS):
        held = sorted((x for x in memory.operands if core.outermost_memory(x) == memory), key=lambda x: bits[x])
        streamed += _overflow(held, bits, memory.size_bits, core)
    return tuple(streamed)


def _overflow(
    held: Sequence[MemoryOperand], bits: Mapping[MemoryOperand, int], capacity_bits: int, core: Core
) -> list[MemoryOperand]:
    kept = len(held)
    while kept and sum(bits[x] for x in held[:kept]) > capacity_bits:
        kept -= 1
    if kept == len(held):
        return []
    while kept:
        rest_bits = capacity_bits - sum(bits[x] for x in held[:kept])
        if rest_bits >= sum(_unrolled_innermost_bits(core, x) for x in held[kept:]):
            break
        kept -= 1
    return list(held[kept:])


def _operand_bits(layer: Layer, core: Core, shapes: Mapping[str, LayerShape]) -> dict[MemoryOperand, int]:
    shape = layer.shape
    inputs = [
        shapes[name].output_size_bits if name in shapes else shape.num_padded_inputs * shape.bits_of_input(index)
        for index, name in enumerate(layer.inputs)
    ]
    weights = stored_weight_bits(shape, core) if shape.op in MATRIX_OPS else 0
    first, rest = (sum(inputs), 0) if shape.op in MATRIX_OPS | POOL_OPS else (inputs[0], sum(inputs[1:]))
    return {"I1": first, "I2": weights + rest, "O": shape.num_outputs * shape.partial_sum_bits}


def _unrolled_innermost_bits(core: Core, operand: MemoryOperand) -> int:
    memory = next((item for item in core.memories if operand in item.operands), None)
    if memory is None:
        return 0
    copies = math.prod(dim.size for dim in core.array if dim.name not in memory.served_dimensions)
    return memory.size_bits * copies


def with_offchip_level(core: Core, offchip: Core, operands: Sequence[MemoryOperand]) -> Core:
    """Put the off-chip memory above the memories of a core.

    Args:
        core: The core.
        offchip: The off-chip memory.
        operands: The operands for which it is the outermost level.

    Returns:
        The core with the additional level.
    """
    memory: MemoryLevel = offchip.top_memory
    ports = tuple(item for item in memory.operand_ports if item.operand in operands)
    level = replace(
        memory,
        name=f"{offchip.name}_{memory.name}",
        operand_ports=ports,
        served_dimensions=tuple(dimension.name for dimension in core.array),
    )
    return replace(core, memories=(*core.memories, level))
