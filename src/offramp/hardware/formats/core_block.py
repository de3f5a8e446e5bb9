"""One core in ZigZag's vocabulary, which all three formats use."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, Field, PlainValidator, ValidationInfo, field_validator

from offramp.hardware.accelerator import Core, CoreKind, SpatialLoop
from offramp.hardware.formats.array_block import ArrayBlock, MacArrayBlock
from offramp.hardware.formats.block import DISTINCT, STRING_KEYS, Block, Fault, near_name, raise_faults
from offramp.hardware.formats.in_memory_block import InMemoryArrayBlock, cell_faults
from offramp.hardware.formats.memory_block import MOVES, MemoryBlock, memory_model

LOOPS = ("B", "G", "K", "C", "OY", "OX", "FY", "FX")
_UNROLLING = re.compile(r"\s*([A-Z]+)\s*,\s*(\d{1,18})\s*")


def _check_array(data: Any, info: ValidationInfo) -> ArrayBlock:
    in_memory = isinstance(data, dict) and data.get("is_imc") is True
    kind: type[ArrayBlock] = InMemoryArrayBlock if in_memory else MacArrayBlock
    return kind.model_validate(data, context=info.context)


def _check_memory(data: Any, info: ValidationInfo) -> MemoryBlock:
    array = info.data.get("operational_array")
    context = {**(info.context or {}), "dimensions": array.dimensions if array else ()}
    return memory_model(data).model_validate(data, context=context)


def _unrolling(value: str) -> str:
    match = _UNROLLING.fullmatch(value)
    if match is None or match[1] not in LOOPS or int(match[2]) < 1:
        raise ValueError(f"must hold entries such as 'K, 8' (loops {' '.join(LOOPS)}), got {value!r}")
    return value


class CoreBlock(Block):
    """The body of a core: array, memories and perhaps a fixed dataflow.

    Attributes:
        operational_array: The multipliers; ``multipliers`` in the oldest files.
        memories: By name, from the multipliers outwards.
        dataflows: For each array dimension the loops that are unrolled over it, such as ``K, 8``; None where that is
            searched.
    """

    operational_array: Annotated[ArrayBlock, PlainValidator(_check_array)] = Field(
        validation_alias=AliasChoices("operational_array", "multipliers")
    )
    memories: Annotated[dict[str, Annotated[MemoryBlock, PlainValidator(_check_memory)]], STRING_KEYS]
    dataflows: (
        Annotated[dict[str, Annotated[list[Annotated[str, AfterValidator(_unrolling)]], DISTINCT]], STRING_KEYS] | None
    ) = None

    @field_validator("memories")
    @classmethod
    def _complete(cls, value: dict[str, MemoryBlock], info: ValidationInfo) -> dict[str, MemoryBlock]:
        if not value:
            raise_faults([Fault("`memories` must hold at least one memory")])
        array = info.data.get("operational_array")
        faults = list(_hierarchy_faults(value))
        if isinstance(array, InMemoryArrayBlock):
            faults += cell_faults(value, array)
        raise_faults(faults)
        return value

    @field_validator("dataflows")
    @classmethod
    def _fits(cls, value: dict[str, list[str]] | None, info: ValidationInfo) -> dict[str, list[str]] | None:
        array = info.data.get("operational_array")
        if array is not None and value is not None:
            raise_faults(_dataflow_faults(value, array))
        return value

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
            array=array.array,
            mac_energy_pj=array.unit_energy if isinstance(array, MacArrayBlock) else 0.0,
            memories=tuple(memory.build(key) for key, memory in self.memories.items()),
            dataflow=tuple(
                SpatialLoop(dimension, loop, size)
                for dimension in array.dimensions
                for loop, size in _loops((self.dataflows or {}).get(dimension, []))
            ),
            imc=array.build() if isinstance(array, InMemoryArrayBlock) else None,
            source=source,
            systolic_dimensions=tuple(array.systolic_dimensions),
        )


@dataclass(frozen=True)
class NamedCore:
    """A core as other blocks of the file refer to it.

    Attributes:
        name: Its name in the accelerator, the number of its copy included.
        kind: What it may run; None where the file states no such kind.
        block: Its block; None where that has faults.
    """

    name: str
    kind: CoreKind | None
    block: CoreBlock | None


def _loops(entries: list[str]) -> Iterator[tuple[str, int]]:
    for entry in entries:
        loop, size = entry.split(",")
        yield loop.strip(), int(size)


def _dataflow_faults(dataflows: Mapping[str, list[str]], array: ArrayBlock) -> Iterator[Fault]:
    sizes = dict(zip(array.dimensions, array.sizes, strict=True))
    for dimension, entries in dataflows.items():
        if dimension not in sizes:
            hint = near_name(dimension, sizes, ", did you mean `{}`?")
            yield Fault(f"unknown key `{dimension}`{hint}", ("dataflows",))
            continue
        unrolled = 1
        for _, size in _loops(entries):
            unrolled *= size
        if unrolled > sizes[dimension]:
            what = f"`{dimension}` unrolls {unrolled} over an array dimension of size {sizes[dimension]}"
            yield Fault(what, ("dataflows",))


def _hierarchy_faults(memories: Mapping[str, MemoryBlock]) -> Iterator[Fault]:
    """Every operand has memories up to the last one, and every memory below that is connected upwards."""
    last = list(memories)[-1]
    for operand in ("I1", "I2", "O"):
        levels = [name for name, memory in memories.items() if operand in memory.operands]
        if not levels:
            yield Fault(f"no memory holds operand {operand}")
        elif levels[-1] != last:
            yield Fault(f"the last memory '{last}' must hold all operands, but not {operand}")
        for name in levels[:-1]:
            moves = memories[name].layout().moves.get(operand, {})
            for move in ("fh", "th") if operand == "O" else ("fh",):
                if move not in moves:
                    yield Fault(f"memory '{name}': {MOVES[move]} of {operand} has no port")
