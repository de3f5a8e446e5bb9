"""Layer fusion: which layers run as a chain in row tiles, only where a tensor would otherwise not fit on chip."""

from collections.abc import Sequence

from offramp.cost.mapping.optimized.candidates.task_builder import TaskBuilder
from offramp.cost.mapping.optimized.candidates.tasks import Task
from offramp.cost.mapping.optimized.core_groups import CoreGroup
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.unsupported import UnpricedJobsError
from offramp.workload.graph import Layer
from offramp.workload.layer import Op

LONGEST_CHAIN = 6
_NEVER = float("inf")


def group_layers(builder: TaskBuilder, group: CoreGroup, steps: frozenset[MappingStep]) -> list[tuple[Layer, ...]]:
    """Group the layers of a network.

    Args:
        builder: Builds candidate tasks.
        group: The cores.
        steps: Steps of the mapping that are switched on.

    Returns:
        Layers in order, alone or in chains.
    """
    if MappingStep.FUSE not in steps or MappingStep.ON_CHIP not in steps:
        return [(layer,) for layer in builder.layers]
    groups: list[tuple[Layer, ...]] = []
    for run in _runs(builder):
        if len(run) == 1 or all(_stays_on_chip(builder, layer) for layer in run):
            groups += [(layer,) for layer in run]
        else:
            groups += _cheapest_cuts(builder, group, run)
    return groups


def _runs(builder: TaskBuilder) -> list[list[Layer]]:
    """Longest chains of convolutions in which each feeds the next one and nothing else."""
    readers: dict[str, int] = {}
    for layer in builder.layers:
        for name in builder.sources(layer):
            readers[name] = readers.get(name, 0) + 1
    runs: list[list[Layer]] = []
    for layer in builder.layers:
        last = runs[-1][-1] if runs else None
        follows = (
            last is not None
            and layer.shape.op is Op.CONV
            and last.shape.op is Op.CONV
            and (layer.stage, layer.role) == (last.stage, last.role)
            and builder.sources(layer) == (last.name,)
            and readers[last.name] == 1
            and last.name not in builder.exits
            and last.shape.oy == layer.shape.iy
        )
        if follows:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return runs


def _options(builder: TaskBuilder, layers: Sequence[Layer]) -> list[Task]:
    try:
        return builder.options(layers)
    except UnpricedJobsError:
        return []


def _stays_on_chip(builder: TaskBuilder, layer: Layer) -> bool:
    return any(len(task.tiles) == 1 and task.layout != builder.offchip for task in _options(builder, (layer,)))


def _cheapest_cuts(builder: TaskBuilder, group: CoreGroup, run: Sequence[Layer]) -> list[tuple[Layer, ...]]:
    """The chain divided where it costs the least energy for transfers to the DRAM and for what tiles compute twice."""
    best = [0.0] + [_NEVER] * len(run)
    cut = [0] * (len(run) + 1)
    for end in range(1, len(run) + 1):
        for start in range(max(0, end - LONGEST_CHAIN), end):
            cost = best[start] + _energy_pj(builder, group, run[start:end])
            if cost < best[end]:
                best[end], cut[end] = cost, start
    if best[-1] == _NEVER:
        return [(layer,) for layer in run]
    groups: list[tuple[Layer, ...]] = []
    end = len(run)
    while end:
        groups.append(tuple(run[cut[end] : end]))
        end = cut[end]
    return groups[::-1]


def _energy_pj(builder: TaskBuilder, group: CoreGroup, layers: Sequence[Layer]) -> float:
    """Energy of the best task for ``layers``: computing, weights from the DRAM, the result to the DRAM and back."""
    dram = group.activation_memories[group.offchip.name]
    size = builder.tensors[layers[-1].name].size_bits
    there_and_back = dram.write_energy_pj(size) + dram.read_energy_pj(size)
    return min(
        (
            task.energy_pj
            + dram.read_energy_pj(task.weight_bits)
            + (there_and_back if task.layout == builder.offchip else 0.0)
            for task in _options(builder, layers)
        ),
        default=_NEVER,
    )
