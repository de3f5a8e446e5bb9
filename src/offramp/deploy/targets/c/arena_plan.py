"""Places of all maps in one arena: maps that are alive at the same time do not overlap."""

from dataclasses import dataclass

from offramp.deploy.targets.c.program import Convolution, FeatureMap, Program, sources_of
from offramp.deploy.targets.c.weight_rows import column_bytes

_ALIGNMENT = 4


@dataclass(frozen=True, eq=False)
class ArenaPlan:
    """Where each map lies.

    Attributes:
        offsets: The first byte of each map; sums of exits have none.
        arena_bytes: The size of the arena.
        live_bytes: The largest sum of maps that are alive at the same time: no arena can be smaller.
        column_bytes: What convolutions take beside the arena, on chips that multiply 16 bits.
        narrow_column_bytes: The same on others.
    """

    offsets: dict[FeatureMap, int]
    arena_bytes: int
    live_bytes: int
    column_bytes: int
    narrow_column_bytes: int

    @property
    def ram_bytes(self) -> int:
        """All memory for maps: the arena and the columns."""
        return self.arena_bytes + self.column_bytes


def plan_arena(program: Program) -> ArenaPlan:
    """Plan the arena over all stages: the largest maps get their places first, each the lowest that is free.

    Args:
        program: The network.

    Returns:
        The places.
    """
    layers = [layer for stage in program.stages for layer in stage.layers]
    first, last = {program.image: -1}, {program.image: 0}
    for index, layer in enumerate(layers):
        for source in sources_of(layer):
            last[source] = index
        if layer.output.grid is not None:
            first.setdefault(layer.output, index)
            last.setdefault(layer.output, index)
    sizes = {item: -(-item.size // _ALIGNMENT) * _ALIGNMENT for item in first}
    offsets: dict[FeatureMap, int] = {}
    for item in sorted(first, key=lambda item: (-sizes[item], first[item])):
        rivals = [other for other in offsets if first[other] <= last[item] and first[item] <= last[other]]
        place = 0
        for other in sorted(rivals, key=lambda other: offsets[other]):
            if place + sizes[item] <= offsets[other]:
                break
            place = max(place, offsets[other] + sizes[other])
        offsets[item] = place
    live = max(
        sum(sizes[item] for item in first if first[item] <= index <= last[item]) for index in range(-1, len(layers))
    )
    arena = max(offsets[item] + sizes[item] for item in offsets)
    convolutions = [layer for layer in layers if isinstance(layer, Convolution)]
    columns = [
        max(_ALIGNMENT, *(-(-column_bytes(layer, item) // _ALIGNMENT) * _ALIGNMENT for layer in convolutions))
        for item in (2, 1)
    ]
    return ArenaPlan(offsets, arena, live, *columns)
