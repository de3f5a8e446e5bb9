"""Cost rules for operators without a loop nest worth mapping; they are the same for every engine.

*Activation*: applied to a result on its way out of the array, as part of the layer that makes it: free.

*Concatenation*: pure data movement from the outermost memory of the input to that of the output: every bit of the
result is read once and written once, both ports work at the same time, a whole access is paid for even when it is not
filled.
"""

import math

from offramp.cost.report import LayerCost, MemoryEnergy
from offramp.hardware.accelerator import Core
from offramp.workload.layer import LayerShape, Op

RULE_OPS = frozenset({Op.CONCAT, Op.ACTIVATION})


def rule_cost(shape: LayerShape, core: Core) -> LayerCost:
    """Return the cost of a layer that a rule prices.

    Args:
        shape: A layer whose operator is one of `RULE_OPS`.
        core: The core that holds the result.

    Returns:
        Cycles and pJ; all zero for an activation function.

    Raises:
        ValueError: The operator has no rule.
    """
    if shape.op is Op.ACTIVATION:
        return LayerCost(0.0, 0.0, 0.0, 0.0, 0.0, (), 0.0, temporal_mapping="free: part of the layer before")
    if shape.op is not Op.CONCAT:
        raise ValueError(f"operator {shape.op.value!r} has no stated rule; an engine must map it.")
    source, target = core.outermost_memory("I1"), core.outermost_memory("O")
    reads = math.ceil(shape.output_size_bits / source.read_bandwidth_bits)
    writes = math.ceil(shape.output_size_bits / target.write_bandwidth_bits)
    return LayerCost(
        temporal_cycles=float(max(reads, writes)),
        stall_cycles=0.0,
        onload_cycles=0.0,
        offload_cycles=0.0,
        mac_energy_pj=0.0,
        memory_energy=(
            MemoryEnergy(source.name, "I", reads * source.read_energy_pj),
            MemoryEnergy(target.name, "O", writes * target.write_energy_pj),
        ),
        utilization=0.0,
        temporal_mapping="read once, written once",
    )
