"""The interconnect of Stream's files: meshes, buses and lists of connections."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from offramp.hardware.accelerator import Core, CoreKind, Link
from offramp.hardware.block import Block, context_of
from offramp.hardware.field_types import DISTINCT, Count, Figure, Items, WholeNumber, checked_whole, must
from offramp.hardware.formats.faults import Faults, read_block

SPECIAL = {
    "pooling_core_id": CoreKind.POOLING,
    "simd_core_id": CoreKind.SIMD,
    "offchip_core_id": CoreKind.OFFCHIP,
}
MAX_LINKS = 20_000


def _free_position(value: int | None, info: ValidationInfo) -> int | None:
    num_cores = context_of(info)["num_cores"]
    if value is None or num_cores is None:
        return value
    if value >= num_cores:
        raise ValueError(f"must be below the number of cores ({num_cores}), got {value}")
    for key, kind in SPECIAL.items():
        if key != info.field_name and info.data.get(key) == value:
            raise ValueError(f"names core {value}, which is the {kind.value} core already")
    return value


Position = Annotated[WholeNumber | None, AfterValidator(_free_position)]


@dataclass(frozen=True, kw_only=True)
class BusBlock(Block):
    """The block `graph` or `bus` of older files. The context's ``num_cores`` is None where the cores have a fault.

    Attributes:
        type: bus.
        bandwidth: Bits per cycle of a link.
        unit_energy_cost: pJ per cycle that a link is active.
        pooling_core_id: Position of the pooling core in the list of cores.
        simd_core_id: Position of the SIMD core.
        offchip_core_id: Position of the off-chip memory.
    """

    type: Literal["bus"] = "bus"
    bandwidth: Count
    unit_energy_cost: Figure = 0.0
    pooling_core_id: Position = None
    simd_core_id: Position = None
    offchip_core_id: Position = None


@dataclass(frozen=True, kw_only=True)
class MeshBlock(Block):
    """The block `graph` or `2d_mesh` of older files.

    Attributes:
        type: 2d_mesh.
        nb_rows: Rows of the mesh.
        nb_cols: Columns of the mesh.
        bandwidth: Bits per cycle of a link.
        unit_energy_cost: pJ per cycle that a link is active.
        pooling_core_id: Position of the pooling core in the list of cores.
        simd_core_id: Position of the SIMD core.
        offchip_core_id: Position of the off-chip memory.
    """

    type: Literal["2d_mesh"] = "2d_mesh"
    nb_rows: Count
    nb_cols: Count
    bandwidth: Count
    unit_energy_cost: Figure = 0.0
    pooling_core_id: Position = None
    simd_core_id: Position = None
    offchip_core_id: Position = None


def _core_ids(value: Any, info: ValidationInfo) -> Any:
    """Numbers of cores; text such as ``0, 1`` is a list of them, as in older files."""
    if not isinstance(value, list):
        return value
    num_cores = context_of(info)["num_cores"]
    ids = tuple(checked_whole(item, 0) for item in value)
    unknown = [item for item in ids if num_cores is not None and item >= num_cores]
    if unknown:
        raise ValueError(f"must name cores below {num_cores}, got {', '.join(map(str, unknown))}")
    return ids


def _ends(value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
    if info.data.get("type") == "link" and len(value) != 2:
        raise ValueError(f"must name two cores, because a link joins two, got {len(value)}")
    return value


@dataclass(frozen=True, kw_only=True)
class ConnectionBlock(Block):
    """One entry of `core_connectivity`. The context's ``num_cores`` is None where the cores have a fault.

    Attributes:
        type: link joins two cores, each direction on its own; bus is one medium between all its cores.
        cores: Numbers of the cores.
        bandwidth: Bits per cycle.
        unit_energy_cost: pJ per cycle that it is active; None for that of the file.
    """

    type: Literal["link", "bus"] = "link"
    cores: Annotated[
        Items[int],
        BeforeValidator(_core_ids),
        DISTINCT,
        must(lambda ids: len(ids) >= 2, "must name at least two cores, got {count}"),
        AfterValidator(_ends),
    ]
    bandwidth: Count
    unit_energy_cost: Figure | None = None


def connected(
    entries: Sequence[Any],
    cores: Sequence[Core] | None,
    bandwidth: Any,
    unit_energy: float,
    num_cores: int,
    faults: Faults,
) -> list[Link]:
    """The links of `core_connectivity`.

    Where a pair of cores is in several connections, the first one counts.

    Args:
        entries: Plain data of the connections: mappings, or text such as ``0, 1`` in older files.
        cores: The cores by number; None where they have faults.
        bandwidth: Bits per cycle of the connections that are text.
        unit_energy: pJ per cycle that a connection is active, where it does not say so itself.
        num_cores: Number of cores.
        faults: Gets all faults.

    Returns:
        The links; none where there are faults.
    """
    links: dict[tuple[str, str], Link] = {}
    for index, entry in enumerate(entries):
        given = entry
        if isinstance(entry, str) and re.fullmatch(r"\s*\d{1,9}(\s*,\s*\d{1,9})*\s*", entry):
            ids = [int(part) for part in entry.split(",")]
            given = {"type": "link" if len(ids) == 2 else "bus", "cores": ids, "bandwidth": bandwidth}
        place = f"core_connectivity {index + 1}"
        block = read_block(ConnectionBlock, given, place, faults, {"num_cores": num_cores})
        if block is None or cores is None:
            continue
        if len(links) + len(block.cores) ** 2 > MAX_LINKS:
            faults.add(place, f"at most {MAX_LINKS} links are understood; this connection brings more")
            return []
        energy = unit_energy if block.unit_energy_cost is None else block.unit_energy_cost
        shared = f"bus{index + 1}" if block.type == "bus" else ""
        for one, other in itertools.permutations([cores[item].name for item in block.cores], 2):
            link = Link(one, other, block.bandwidth, energy / block.bandwidth, shared)
            links.setdefault((one, other), link)
    return list(links.values())


def mesh_links(cores: Sequence[Core], graph: MeshBlock | BusBlock) -> list[Link]:
    """The links of a mesh or bus of older files, each direction on its own.

    Args:
        cores: The cores; compute cores fill a mesh column by column.
        graph: The interconnect.

    Returns:
        The links.
    """
    compute = [core.name for core in cores if core.kind is CoreKind.COMPUTE]
    of_kind = {kind: [core.name for core in cores if core.kind is kind] for kind in CoreKind}
    width, energy = graph.bandwidth, graph.unit_energy_cost / graph.bandwidth
    shared = "" if isinstance(graph, MeshBlock) else "bus"
    pairs = list(
        _neighbours(compute, graph.nb_rows, graph.nb_cols)
        if isinstance(graph, MeshBlock)
        else itertools.combinations(compute, 2)
    )
    pairs += itertools.product(compute, of_kind[CoreKind.POOLING])
    simd_pairs = itertools.product(compute + of_kind[CoreKind.POOLING], of_kind[CoreKind.SIMD])
    links = [Link(one, other, width, energy, shared) for pair in pairs for one, other in (pair, pair[::-1])]
    links += [Link(one, other, None, 0.0) for pair in simd_pairs for one, other in (pair, pair[::-1])]
    return links


def _neighbours(compute: Sequence[str], rows: int, columns: int) -> Iterator[tuple[str, str]]:
    for index, name in enumerate(compute):
        column, row = divmod(index, rows)
        if column + 1 < columns:
            yield name, compute[index + rows]
        if row + 1 < rows:
            yield name, compute[index + 1]


def offchip_links(cores: Sequence[Core], unit_energy: float) -> list[Link]:
    """Links between the off-chip memory and every other core, as wide as the memory's ports.

    Args:
        cores: All cores.
        unit_energy: pJ per cycle that a link is active.

    Returns:
        The links: one medium for both directions where the memory has one port, else one per direction.
    """
    links: list[Link] = []
    for offchip in (core for core in cores if core.kind is CoreKind.OFFCHIP):
        memory = offchip.top_memory
        one_port = len(memory.ports) == 1
        write = offchip.name if one_port else f"{offchip.name}-write"
        read = offchip.name if one_port else f"{offchip.name}-read"
        writes, reads = memory.write_bandwidth_bits, memory.read_bandwidth_bits
        for core in cores:
            if core is not offchip:
                links.append(Link(core.name, offchip.name, writes, unit_energy / writes, write))
                links.append(Link(offchip.name, core.name, reads, unit_energy / reads, read))
    return links


def graph_of(data: Mapping[str, Any]) -> tuple[str, Any]:
    """The key and the content of the interconnect of an older file.

    Args:
        data: The content of the file.

    Returns:
        The key `graph`, `2d_mesh` or `bus`, and its block; the key is empty where there is none.
    """
    return next(((key, data[key]) for key in ("graph", "2d_mesh", "bus") if data.get(key) is not None), ("", None))
