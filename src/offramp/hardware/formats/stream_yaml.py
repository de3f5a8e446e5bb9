"""Stream's multi-core YAML: a list of core files and a two-dimensional mesh between them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationInfo

from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import Accelerator, Core, CoreKind, Link
from offramp.hardware.block import Block, context_of
from offramp.hardware.field_types import Count, Figure, Items, Name, Text, WholeNumber, must
from offramp.hardware.formats.core_block import CoreBlock
from offramp.hardware.formats.faults import Faults, read_block
from offramp.hardware.formats.yaml_file import read_yaml

MAX_CORES = 1024
SPECIAL = {
    "pooling_core_id": CoreKind.POOLING,
    "simd_core_id": CoreKind.SIMD,
    "offchip_core_id": CoreKind.OFFCHIP,
}


def _free_position(value: int | None, info: ValidationInfo) -> int | None:
    files = context_of(info)["files"]
    if value is None or files is None:
        return value
    if value >= len(files):
        raise ValueError(f"must be below the number of cores ({len(files)}), got {value}")
    for key, kind in SPECIAL.items():
        if key != info.field_name and info.data.get(key) == value:
            raise ValueError(f"names core {value}, which is the {kind.value} core already")
    return value


Position = Annotated[WholeNumber | None, AfterValidator(_free_position)]


@dataclass(frozen=True)
class MeshBlock(Block):
    """The block `graph`. The context's ``files`` are the core files, None where they have a fault.

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

    type: Literal["2d_mesh"]
    nb_rows: Count
    nb_cols: Count
    bandwidth: Count
    unit_energy_cost: Figure = 0.0
    pooling_core_id: Position = None
    simd_core_id: Position = None
    offchip_core_id: Position = None


@dataclass(frozen=True)
class StreamFile(Block):
    """A file as a whole; mesh and core files are read one by one.

    Attributes:
        name: What the accelerator is called.
        cores: Core files, relative to this one; a file may be named more than once.
        graph: The mesh.
    """

    name: Text
    cores: Annotated[
        Items[Name], must(lambda files: len(files) <= MAX_CORES, "must name at most 1024 cores, got {count}")
    ]
    graph: Any


@dataclass(frozen=True, kw_only=True)
class StreamCore(CoreBlock):
    """A core file.

    Attributes:
        name: Not used: cores are called by kind and position.
    """

    name: Text = ""


def read_stream(data: Mapping[str, Any], path: Path) -> Accelerator:
    """A Stream accelerator.

    Compute cores are called core0, core1, ... in file order and fill the mesh column by column; the others are called
    pooling, simd and offchip. Links: neighbours in the mesh and pooling core to compute core at the mesh's bandwidth,
    each direction a link of its own; SIMD core to compute and pooling cores without transfer time; one link, shared by
    all traffic, between the off-chip core and every other core, as wide as the off-chip memory's port.
    Stream's `unit_energy_cost` is per cycle that a link is active, here spread over the bits of such a cycle.
    Source: Stream (KULeuven-MICAS/stream, asyms/stream branch expl-eenn), its 2d_mesh interconnect.

    Args:
        data: The content of the file.
        path: Where the file is; core files must lie in its folder or below.

    Returns:
        The accelerator.

    Raises:
        AcceleratorError: The file or a core file has faults; the message lists all of them.
    """
    faults = Faults()
    file = read_block(StreamFile, data, "", faults)
    files = None if file is None else file.cores
    graph, mesh = data.get("graph"), None
    if graph is not None:
        mesh = read_block(MeshBlock, graph, "graph", faults, {"files": files})
    kinds = _kinds(graph, len(files or ()))
    cores = _read_cores(files or (), kinds, path, faults)
    num_compute = kinds.count(CoreKind.COMPUTE)
    if files is not None and mesh is not None and num_compute != mesh.nb_rows * mesh.nb_cols:
        needs = f"a {mesh.nb_rows} x {mesh.nb_cols} mesh needs as many compute cores"
        faults.add("graph", f"{needs}, got {num_compute}")
    faults.raise_if_any(path.name)
    assert file is not None  # it has no faults
    assert mesh is not None
    return Accelerator(
        name=file.name,
        cores=tuple(cores),
        links=tuple(_links(cores, mesh)),
        description=f"Read from Stream's {path.name}.",
        sources=(f"Figures as given in {path.name} and the core files that it names.",),
    )


def _kinds(graph: Any, num_cores: int) -> list[CoreKind]:
    """The kinds of cores as far as the mesh, which may have faults, tells them."""
    given = graph if isinstance(graph, dict) else {}
    special = {index: kind for key, kind in SPECIAL.items() if isinstance(index := given.get(key), int | float)}
    return [special.get(index, CoreKind.COMPUTE) for index in range(num_cores)]


def _read_cores(files: Sequence[str], kinds: Sequence[CoreKind], path: Path, faults: Faults) -> list[Core]:
    cores: list[Core] = []
    num_compute = 0
    for file, kind in zip(files, kinds, strict=True):
        name = kind.value
        if kind is CoreKind.COMPUTE:
            name, num_compute = f"core{num_compute}", num_compute + 1
        found = _inside(path.parent, file)
        if found is None:
            faults.add("cores", f"core file {file!r} must lie in the folder of {path.name}")
            continue
        try:
            data = read_yaml(found).data
        except AcceleratorError as exc:
            faults.add("cores", str(exc).rstrip("."))
            continue
        context = {"min_array_size": 0 if kind is CoreKind.OFFCHIP else 1}
        block = read_block(StreamCore, data, f"core file '{file}'", faults, context)
        if block is not None:
            cores.append(block.build(name, kind, f"{file}, named by {path.name}"))
    return cores


def _inside(folder: Path, file: str) -> Path | None:
    """The file below ``folder``, links followed; None when it lies elsewhere."""
    try:
        found = (folder / file).resolve()
    except (OSError, ValueError, RuntimeError):
        return None
    return found if found.is_relative_to(folder.resolve()) else None


def _links(cores: list[Core], mesh: MeshBlock) -> list[Link]:
    """Every link of the accelerator, each direction on its own."""
    compute = [core.name for core in cores if core.kind is CoreKind.COMPUTE]
    of_kind = {kind: [core.name for core in cores if core.kind is kind] for kind in CoreKind}
    width, energy = mesh.bandwidth, mesh.unit_energy_cost / mesh.bandwidth
    mesh_pairs: list[tuple[str, str]] = []
    for index, name in enumerate(compute):
        column, row = divmod(index, mesh.nb_rows)
        if column + 1 < mesh.nb_cols:
            mesh_pairs.append((name, compute[index + mesh.nb_rows]))
        if row + 1 < mesh.nb_rows:
            mesh_pairs.append((name, compute[index + 1]))
    mesh_pairs += itertools.product(compute, of_kind[CoreKind.POOLING])
    simd_pairs = itertools.product(compute + of_kind[CoreKind.POOLING], of_kind[CoreKind.SIMD])
    links = [Link(one, other, width, energy) for pair in mesh_pairs for one, other in (pair, pair[::-1])]
    links += [Link(one, other, None, 0.0) for pair in simd_pairs for one, other in (pair, pair[::-1])]
    for core in cores:
        if core.kind is CoreKind.OFFCHIP:
            links += _offchip_links(core, [other.name for other in cores if other is not core], mesh)
    return links


def _offchip_links(offchip: Core, others: list[str], mesh: MeshBlock) -> list[Link]:
    """One medium for both directions when the off-chip memory has one port, else one per direction."""
    memory = offchip.top_memory
    one_port = len(memory.ports) == 1
    write = offchip.name if one_port else f"{offchip.name}-write"
    read = offchip.name if one_port else f"{offchip.name}-read"
    writes, reads, cost = memory.write_bandwidth_bits, memory.read_bandwidth_bits, mesh.unit_energy_cost
    links: list[Link] = []
    for name in others:
        links.append(Link(name, offchip.name, writes, cost / writes, write))
        links.append(Link(offchip.name, name, reads, cost / reads, read))
    return links
