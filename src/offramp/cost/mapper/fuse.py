"""Which layers run as a chain in row tiles: only where a tensor would otherwise not fit on chip."""

from offramp.cost.mapper.build import TaskBuilder
from offramp.cost.mapper.chip import Chip
from offramp.cost.mapper.steps import Step
from offramp.workload.graph import Layer


def group_layers(builder: TaskBuilder, chip: Chip, steps: frozenset[Step]) -> list[tuple[Layer, ...]]:
    """Layers in order, alone or in chains."""
    return [(layer,) for layer in builder.layers]
