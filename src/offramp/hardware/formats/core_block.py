"""One core in ZigZag's vocabulary, which all three formats use."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AliasChoices, Field, PlainValidator, ValidationInfo

from offramp.hardware.accelerator import ArrayDimension, Core, CoreKind, MemoryLevel, SpatialLoop
from offramp.hardware.block import Block, Fault, context_of, near_name, raise_faults, read_as
from offramp.hardware.field_types import DISTINCT, STRING_KEYS, Items, Name, matches
from offramp.hardware.formats.array_block import ArrayBlock, InMemoryArrayBlock, MacArrayBlock
from offramp.hardware.formats.memory_block import MOVES, memory_level, read_memory

LOOPS = ("B", "G", "K", "C", "OY", "OX", "FY", "FX")
CELLS = "cells"


def _array(data: Any, info: ValidationInfo) -> ArrayBlock:
    in_memory = isinstance(data, dict) and data.get("is_imc") is True
    kind: type[ArrayBlock] = InMemoryArrayBlock if in_memory else MacArrayBlock
    return kind.read(data, info.context)


_MemoryBlocks = Annotated[dict[str, Annotated[Any, PlainValidator(read_memory)]], STRING_KEYS]


def _memories(data: Any, info: ValidationInfo) -> tuple[MemoryLevel, ...]:
    array = info.data.get("operational_array")
    context = {**context_of(info), "dimensions": array.dimensions if array else ()}
    memories = tuple(memory_level(block, name) for name, block in read_as(_MemoryBlocks, data, context).items())
    faults = list(_hierarchy_faults(memories, computes=context.get("min_array_size", 1) > 0))
    if memories and isinstance(array, InMemoryArrayBlock):
        faults += _cell_faults({memory.name: memory for memory in memories}, array)
    raise_faults(faults)
    return memories


_Unrolling = matches(
    rf"\s*({'|'.join(LOOPS)})\s*,\s*(?!0+\s*$)\d{{1,18}}\s*",
    f"must hold entries such as 'K, 8' (loops {' '.join(LOOPS)})",
)
_Unrollings = Annotated[dict[str, Annotated[Items[Annotated[Name, _Unrolling]], DISTINCT]], STRING_KEYS]


def _dataflow(data: Any, info: ValidationInfo) -> tuple[SpatialLoop, ...]:
    given = read_as(_Unrollings, data)
    array = info.data.get("operational_array")
    if array is None:
        return ()
    sizes = dict(zip(array.dimensions, array.sizes, strict=True))
    faults = [
        Fault(f"unknown key `{name}`{near_name(name, sizes, ', did you mean `{}`?')}", ("dataflows",))
        for name in given
        if name not in sizes
    ]
    loops: list[SpatialLoop] = []
    for name, size in sizes.items():
        entries = [entry.split(",") for entry in given.get(name, ())]
        loops += [SpatialLoop(name, loop.strip(), int(count)) for loop, count in entries]
        unrolled = math.prod(loop.size for loop in loops if loop.array_dimension == name)
        if entries and unrolled > size:
            faults.append(Fault(f"`{name}` unrolls {unrolled} over an array dimension of size {size}", ("dataflows",)))
    raise_faults(faults)
    return tuple(loops)


@dataclass(frozen=True, kw_only=True)
class CoreBlock(Block):
    """The body of a core: array, memories and perhaps a fixed dataflow.

    Attributes:
        operational_array: The multipliers; ``multipliers`` in the oldest files.
        memories: From the multipliers outwards; a mapping from names in the file.
        dataflows: The loops that are unrolled over each array dimension, such as ``K, 8``; empty where that is
            searched.
    """

    operational_array: Annotated[
        ArrayBlock,
        PlainValidator(_array),
        Field(validation_alias=AliasChoices("operational_array", "multipliers")),
    ]
    memories: Annotated[tuple[MemoryLevel, ...], PlainValidator(_memories)]
    dataflows: Annotated[tuple[SpatialLoop, ...], PlainValidator(_dataflow)] = ()

    def build(self, name: str, kind: CoreKind, source: str = "") -> Core:
        """The core as a value.

        Args:
            name: What it is called.
            kind: What it may run.
            source: Where its figures come from.

        Returns:
            The core.
        """
        array = self.operational_array
        return Core(
            name=name,
            kind=kind,
            array=tuple(map(ArrayDimension, array.dimensions, array.sizes)),
            mac_energy_pj=array.unit_energy if isinstance(array, MacArrayBlock) else 0.0,
            memories=self.memories,
            dataflow=self.dataflows,
            imc=array.build() if isinstance(array, InMemoryArrayBlock) else None,
            source=source,
            systolic_dimensions=array.systolic_dimensions,
        )


@dataclass(frozen=True)
class NamedCore:
    """A core as other blocks of the file refer to it.

    Attributes:
        name: Its name in the accelerator, the number of its copy included.
        kind: What it may run; None where the file states no such kind.
        core: The core itself; None where its block has faults.
    """

    name: str
    kind: CoreKind | None
    core: Core | None


def _hierarchy_faults(memories: Sequence[MemoryLevel], computes: bool) -> Iterator[Fault]:
    """Every operand has memories, each connected with the next; an off-chip memory holds all operands."""
    if not memories:
        yield Fault("`memories` must hold at least one memory")
        return
    for operand in ("I1", "I2", "O"):
        levels = [memory for memory in memories if operand in memory.operands]
        if not levels:
            yield Fault(f"no memory holds operand {operand}")
        elif levels[-1] is not memories[-1] and not computes:
            yield Fault(f"the last memory '{memories[-1].name}' must hold all operands, but not {operand}")
        for memory in levels[:-1]:
            (ports,) = (item for item in memory.operand_ports if item.operand == operand)
            for move, port in (("fh", ports.from_high), ("th", ports.to_high if operand == "O" else "")):
                if port is None:
                    yield Fault(f"memory '{memory.name}': {MOVES[move]} of {operand} has no port")


def _cell_faults(memories: Mapping[str, MemoryLevel], array: InMemoryArrayBlock) -> Iterator[Fault]:
    """An in-memory array keeps its weights in a memory called `cells`, one per multiplier."""
    cells = memories.get(CELLS)
    if cells is None:
        yield Fault(f"an in-memory computing core needs a memory called '{CELLS}'{near_name(CELLS, memories)}")
        return
    if cells.operands != ("I2",):
        yield Fault(f"memory '{CELLS}' must hold I2 alone, got {', '.join(cells.operands)}")
    if cells.served_dimensions:
        yield Fault(f"memory '{CELLS}' must have `served_dimensions: []`, got {', '.join(cells.served_dimensions)}")
    weight_bits = array.input_precision[1]
    if cells.size_bits % weight_bits:
        yield Fault(f"memory '{CELLS}' must hold whole {weight_bits}-bit weights, got size {cells.size_bits}")
