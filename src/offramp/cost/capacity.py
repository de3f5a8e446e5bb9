"""What a network needs of the memories that its weights and activations lie in, and what there is."""

from collections.abc import Sequence
from dataclasses import dataclass

from offramp.cost.sparsity_gain import stored_weight_bits
from offramp.hardware.accelerator import Accelerator, Core, CoreKind, MemoryLevel
from offramp.workload.graph import GRAPH_INPUT, Layer, Workload
from offramp.workload.layer import MATRIX_OPS, Op

_UNITS = ((2**33, "GiB"), (2**23, "MiB"), (2**13, "KiB"), (8, "B"))


@dataclass(frozen=True)
class MemoryNeed:
    """What a network needs of one memory.

    Attributes:
        content: ``weights``, ``activations``, or ``weights and activations`` where one memory holds both.
        memory: Name of the memory, with its core.
        needed_bits: Bits that the network needs at once.
        available_bits: Size of the memory in bits.
    """

    content: str
    memory: str
    needed_bits: int
    available_bits: int

    @property
    def share(self) -> float:
        """Needed bits per available bit; above 1 the network does not fit."""
        return self.needed_bits / self.available_bits

    @property
    def fits(self) -> bool:
        """Whether the memory is large enough."""
        return self.needed_bits <= self.available_bits

    @property
    def sentence(self) -> str:
        """What is needed and what is there."""
        verb = "need" if self.fits else "do not fit: they need"
        return (
            f"The {self.content} {verb} {size_text(self.needed_bits)} at once, and {self.memory} holds "
            f"{size_text(self.available_bits)}."
        )


def size_text(bits: int) -> str:
    """Write a size in the largest binary unit that it reaches.

    Args:
        bits: The size, >= 0.

    Returns:
        Text such as ``2.546 MiB``.
    """
    for unit, name in _UNITS:
        if bits >= unit:
            return f"{bits / unit:.4g} {name}"
    return f"{bits} bit"


def memory_needs(workload: Workload, accelerator: Accelerator) -> tuple[MemoryNeed, ...]:
    """Compare a network with the memories of an accelerator.

    All weights lie in the off-chip memory, or in the outermost memory for weights of the largest compute core where
    there is none. Activations lie there too, unless the accelerator says that its off-chip memory holds weights alone:
    then the outermost memories of a compute core hold them. They need as much as is in use at once while layers run one
    after the other. Tiles and fused chains can need less than that.

    Args:
        workload: The network.
        accelerator: What it runs on; without a compute core there is nothing to compare.

    Returns:
        The needs, one per memory.
    """
    compute = max(accelerator.cores_of(CoreKind.COMPUTE), key=_room, default=None)
    if compute is None:
        return ()
    offchip = next(iter(accelerator.cores_of(CoreKind.OFFCHIP)), None)
    weight_core = offchip or compute
    activation_core = offchip if offchip is not None and accelerator.activations_offchip else compute
    weights = sum(stored_weight_bits(x.shape, compute) for x in workload.layers if x.shape.op in MATRIX_OPS)
    activations = most_live_bits(workload)
    weight_memory = weight_core.outermost_memory("I2")
    activation_memory = _smaller(activation_core.outermost_memory("I1"), activation_core.outermost_memory("O"))
    if (weight_core, weight_memory) == (activation_core, activation_memory):
        both = weights + activations
        return (
            MemoryNeed("weights and activations", _named(weight_core, weight_memory), both, weight_memory.size_bits),
        )
    return (
        MemoryNeed("weights", _named(weight_core, weight_memory), weights, weight_memory.size_bits),
        MemoryNeed("activations", _named(activation_core, activation_memory), activations, activation_memory.size_bits),
    )


def most_live_bits(workload: Workload) -> int:
    """Find how many bits of activations are in use at once when layers run in order, none of them in parts.

    A layer's inputs, its output and all that later layers still read are in use. Activation functions work in place.

    Args:
        workload: The network.

    Returns:
        Bits.
    """
    origin: dict[str, str] = {GRAPH_INPUT: GRAPH_INPUT}
    bits: dict[str, int] = {GRAPH_INPUT: _input_bits(workload.layers)}
    last: dict[str, int] = {}
    for place, layer in enumerate(workload.layers):
        in_place = layer.shape.op is Op.ACTIVATION
        origin[layer.name] = origin[layer.inputs[0]] if in_place else layer.name
        bits.setdefault(origin[layer.name], layer.shape.output_size_bits)
        for name in (*layer.inputs, layer.name):
            last[origin[name]] = place
    live: set[str] = {GRAPH_INPUT}
    most = bits[GRAPH_INPUT]
    for place, layer in enumerate(workload.layers):
        live.add(origin[layer.name])
        most = max(most, sum(bits[name] for name in live))
        live = {name for name in live if last.get(name, -1) > place}
    return most


def _input_bits(layers: Sequence[Layer]) -> int:
    readers = [layer.shape for layer in layers if layer.inputs[0] == GRAPH_INPUT]
    return max((shape.num_inputs * shape.bits_of_input(0) for shape in readers), default=0)


def _room(core: Core) -> int:
    return core.outermost_memory("I2").size_bits


def _smaller(one: MemoryLevel, other: MemoryLevel) -> MemoryLevel:
    return one if one.size_bits <= other.size_bits else other


def _named(core: Core, memory: MemoryLevel) -> str:
    return f"memory '{memory.name}' of core '{core.name}'"
