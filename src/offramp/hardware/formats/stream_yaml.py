"""Stream's multi-core YAML, today's dialect and the older ones: core files and what connects them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from offramp.hardware.accelerator import Accelerator, Core, CoreKind, Link
from offramp.hardware.block import Block, context_of
from offramp.hardware.field_types import Figure, Items, Text, WholeNumber, must, shown
from offramp.hardware.formats.faults import Faults, read_block
from offramp.hardware.formats.stream_core import StreamCore, read_core_file, stated_kind
from offramp.hardware.formats.stream_links import (
    SPECIAL,
    BusBlock,
    MeshBlock,
    connected,
    graph_of,
    mesh_links,
    offchip_links,
)

MAX_CORES = 1024
_MEMORY_SHARING = "cores that share their outermost memory are not modelled; leave the key out and state a link"
_MEASURED = "measured bandwidths are not modelled; state the bandwidth of each connection"


def _numbered(value: Any) -> Any:
    """Cores as a list; a mapping must number them 0, 1, ... without a gap."""
    if not isinstance(value, dict):
        return value
    ids = [int(key) if isinstance(key, str) and key.isdecimal() else key for key in value]
    if any(isinstance(key, bool) or not isinstance(key, int) for key in ids) or sorted(ids) != list(range(len(ids))):
        given = shown(list(value))
        raise ValueError(f"must number the cores 0, 1, ... without a gap, got {given}")
    by_id = dict(zip(ids, value.values(), strict=True))
    return [by_id[number] for number in range(len(ids))]


def _file_or_block(value: tuple[Any, ...]) -> tuple[Any, ...]:
    wrong = [item for item in value if not isinstance(item, str | dict)]
    if wrong:
        raise ValueError(f"must hold names, got {shown(wrong[0])}")
    return value


def _known_core(value: int | None, info: ValidationInfo) -> int | None:
    num_cores = context_of(info)["num_cores"]
    if value is not None and num_cores is not None and value >= num_cores:
        raise ValueError(f"must be below the number of cores ({num_cores}), got {value}")
    return value


_CoreId = Annotated[WholeNumber | None, AfterValidator(_known_core)]


@dataclass(frozen=True, kw_only=True)
class StreamFile(Block):
    """A file as a whole; interconnect and core files are read one by one.

    Attributes:
        name: What the accelerator is called.
        cores: Core files by number, or blocks in their place; a file may be named more than once.
        offchip_core_id: Number of the off-chip memory.
        pooling_core_id: Number of the pooling core.
        simd_core_id: Number of the SIMD core.
        offchip_core: File of an off-chip memory that has no number; linked with every core.
        bandwidth: Bits per cycle of the connections that are text.
        unit_energy_cost: pJ per cycle that a connection is active.
        core_connectivity: The connections of today's files.
        graph: The interconnect of older files; ``2d_mesh`` in some.
        bus: The same.
        core_memory_sharing: Must be empty.
        core_coordinates: Not used.
        kernel_library: Not used.
        technology_node: Not used.
        memory_aliases: Not used.
        reconfiguration: Not used.
    """

    name: Text
    cores: Annotated[
        Items[Any],
        BeforeValidator(_numbered),
        AfterValidator(_file_or_block),
        must(lambda files: len(files) <= MAX_CORES, "must name at most 1024 cores, got {count}"),
    ]
    offchip_core_id: _CoreId = None
    pooling_core_id: _CoreId = None
    simd_core_id: _CoreId = None
    offchip_core: Text = ""
    bandwidth: Annotated[Any, must(lambda value: not isinstance(value, dict), _MEASURED)] = None
    unit_energy_cost: Figure = 0.0
    core_connectivity: Items[Any] | None = None
    graph: Any = None
    bus: Any = None
    core_memory_sharing: Annotated[Items[Any], must(lambda groups: not groups, _MEMORY_SHARING)] = ()
    core_coordinates: Any = None
    kernel_library: Any = None
    technology_node: Any = None
    memory_aliases: Any = None
    reconfiguration: Any = None


def is_stream(data: Mapping[str, Any]) -> bool:
    """Whether a file without `schema` is one of Stream's.

    Args:
        data: The content of the file.

    Returns:
        Whether its cores are files, or an interconnect is described in Stream's terms.
    """
    cores = data.get("cores")
    files = isinstance(cores, dict) and any(isinstance(item, str) for item in cores.values())
    keys = ("graph", "2d_mesh", "bus", "core_connectivity", "offchip_core_id", "offchip_core")
    return isinstance(cores, list) or files or any(key in data for key in keys)


def read_stream(data: Mapping[str, Any], path: Path) -> Accelerator:
    """A Stream accelerator.

    Compute cores are called core0, core1, ... in the order of their numbers; the others are called pooling, simd and
    offchip, with a number where there are several. A core's kind is that of its number in the file
    (``offchip_core_id`` and the like), else of its core file.

    Links of today's files: `core_connectivity`, a bus being one medium; of two connections of the same pair the first
    counts. Links of older files: neighbours in the mesh and pooling core to compute core at the mesh's bandwidth, each
    direction a link of its own; SIMD core to compute and pooling cores without transfer time; one link, shared by
    all traffic, between the off-chip core and every other core, as wide as the off-chip memory's port.
    Stream's `unit_energy_cost` is per cycle that a link is active, here spread over the bits of such a cycle.
    Source: Stream (KULeuven-MICAS/stream, main branch; asyms/stream, branch expl-eenn), its interconnects.

    Args:
        data: The content of the file.
        path: Where the file is; core files must lie in its folder or below.

    Returns:
        The accelerator.

    Raises:
        AcceleratorError: The file or a core file has faults; the message lists all of them.
    """
    faults = Faults()
    entries = _entries(data)
    count = None if entries is None else len(entries)
    plain = {key: value for key, value in data.items() if key != "2d_mesh"}
    file = read_block(StreamFile, plain, "", faults, {"num_cores": count})
    key, graph = graph_of(data)
    if not key and data.get("core_connectivity") is None:
        faults.add("", "`core_connectivity` is missing, which says how cores are connected (in older files `graph`)")
    elif key and data.get("core_connectivity") is not None:
        faults.add("", f"`core_connectivity` and `{key}` both say how cores are connected; leave one of them out")
    interconnect = _read_graph(key, graph, count, faults) if key else None
    special = _special_kinds(data, graph)
    cores = _read_cores(entries or (), special, path, faults)
    cores += _separate_offchip(data.get("offchip_core"), path, faults)
    links: list[Link] = []
    if file is not None and not key:
        complete = cores if len(cores) >= len(entries or ()) else None
        links = connected(
            file.core_connectivity or (), complete, file.bandwidth, file.unit_energy_cost, count or 0, faults
        )
    num_compute = sum(core.kind is CoreKind.COMPUTE for core in cores)
    if isinstance(interconnect, MeshBlock) and count is not None and len(cores) == count:
        if num_compute != interconnect.nb_rows * interconnect.nb_cols:
            needs = f"a {interconnect.nb_rows} x {interconnect.nb_cols} mesh needs as many compute cores"
            faults.add(key, f"{needs}, got {num_compute}")
    elif count is not None and not faults.items and not num_compute:
        faults.add("cores", "one core at least must be a compute core, got none")
    faults.raise_if_any(path.name)
    assert file is not None  # it has no faults
    if interconnect is not None:
        links = mesh_links(cores, interconnect) + offchip_links(cores, interconnect.unit_energy_cost)
    elif file.offchip_core:
        links += offchip_links(cores, file.unit_energy_cost)
    return Accelerator(
        name=file.name,
        cores=tuple(cores),
        links=tuple(links),
        description=f"Read from Stream's {path.name}.",
        sources=(f"Figures as given in {path.name} and the core files that it names.",),
    )


def _entries(data: Mapping[str, Any]) -> Sequence[Any] | None:
    """Core files and blocks by number; None where the key has a fault."""
    try:
        found = _numbered(data.get("cores"))
        return _file_or_block(tuple(found)) if isinstance(found, list) and len(found) <= MAX_CORES else None
    except ValueError:
        return None


def _read_graph(key: str, graph: Any, count: int | None, faults: Faults) -> MeshBlock | BusBlock | None:
    kind = graph.get("type", "" if key == "graph" else key) if isinstance(graph, dict) else "2d_mesh"
    if kind == "bus":
        return read_block(BusBlock, graph, key, faults, {"num_cores": count})
    if kind != "2d_mesh":
        faults.add(key, f"`type` must be one of 2d_mesh, bus, got {shown(kind)}")
    return read_block(
        MeshBlock, {**graph, "type": "2d_mesh"} if isinstance(graph, dict) else graph, key, faults, {"num_cores": count}
    )


def _special_kinds(data: Mapping[str, Any], graph: Any) -> dict[float, CoreKind]:
    """The kinds of cores as far as the file, which may have faults, tells them by number."""
    given = {**data, **(graph if isinstance(graph, dict) else {})}
    ids = {key: given.get(key) for key in SPECIAL}
    return {index: SPECIAL[key] for key, index in ids.items() if isinstance(index, int | float)}


def _read_cores(entries: Sequence[Any], special: Mapping[float, CoreKind], path: Path, faults: Faults) -> list[Core]:
    blocks: list[tuple[CoreKind, StreamCore, str]] = []
    for number, entry in enumerate(entries):
        data = entry if isinstance(entry, dict) else read_core_file(entry, path, faults)
        label = f"core {number}" if isinstance(entry, dict) else f"core file '{entry}'"
        if data is None:
            continue
        kind = special.get(number) or stated_kind(data)
        if isinstance(kind, str) and not isinstance(kind, CoreKind):
            faults.add(label, kind)
            continue
        if kind is CoreKind.OFFCHIP and CoreKind.OFFCHIP in special.values() and number not in special:
            faults.add(label, "is an off-chip memory, but `offchip_core_id` names another core")
            continue
        block = read_block(StreamCore, data, label, faults, _context(kind))
        if block is not None:
            source = label if isinstance(entry, dict) else f"{entry}, named by {path.name}"
            blocks.append((kind, block, source))
    counts = Counter(kind for kind, _, _ in blocks)
    numbers: Counter[CoreKind] = Counter()
    cores = []
    for kind, block, source in blocks:
        numbered = kind is CoreKind.COMPUTE or counts[kind] > 1
        stem = "core" if kind is CoreKind.COMPUTE else kind.value
        cores.append(block.build(f"{stem}{numbers[kind]}" if numbered else stem, kind, source))
        numbers[kind] += 1
    if counts[CoreKind.OFFCHIP] > 1:
        faults.add("cores", f"at most one core may be an off-chip memory, got {counts[CoreKind.OFFCHIP]}")
    return cores


def _separate_offchip(file: Any, path: Path, faults: Faults) -> list[Core]:
    if not isinstance(file, str) or not file:
        return []
    data = read_core_file(file, path, faults)
    block = data and read_block(StreamCore, data, f"core file '{file}'", faults, _context(CoreKind.OFFCHIP))
    return [block.build("offchip", CoreKind.OFFCHIP, f"{file}, named by {path.name}")] if block else []


def _context(kind: CoreKind) -> dict[str, Any]:
    return {"min_array_size": 0 if kind is CoreKind.OFFCHIP else 1}
