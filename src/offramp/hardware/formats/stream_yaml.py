"""Stream's multi-core YAML: a list of core files and a two-dimensional mesh between them."""

from dataclasses import dataclass
from pathlib import Path

from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import Accelerator, Core, CoreKind, Link
from offramp.hardware.formats.yaml_fields import Faults, Section, read_yaml
from offramp.hardware.formats.zigzag_yaml import read_core

MAX_CORES = 1024
SPECIAL = {"pooling": CoreKind.POOLING, "simd": CoreKind.SIMD, "offchip": CoreKind.OFFCHIP}


@dataclass(frozen=True)
class _Mesh:
    rows: int
    columns: int
    bandwidth_bits: int
    energy_pj_per_cycle: float


def read_stream(root: Section, path: Path) -> Accelerator:
    """A Stream accelerator; core files are looked for relative to ``path`` and must lie in its folder.

    Compute cores are called core0, core1, ... in file order and fill the mesh column by column; the others are called
    pooling, simd and offchip. Links: neighbours in the mesh and pooling core to compute core at the mesh's bandwidth,
    each direction a link of its own; SIMD core to compute and pooling cores without transfer time; one link, shared by
    all traffic, between the off-chip core and every other core, as wide as the off-chip memory's port.
    Stream's `unit_energy_cost` is per cycle that a link is active, here spread over the bits of such a cycle.
    Source: Stream (KULeuven-MICAS/stream, asyms/stream branch expl-eenn), its 2d_mesh interconnect.
    """
    name = root.text("name")
    files = root.repeated_words("cores")
    graph = root.section("graph")
    graph.choice("type", ("2d_mesh",))
    mesh = _Mesh(
        rows=graph.integer("nb_rows", minimum=1),
        columns=graph.integer("nb_cols", minimum=1),
        bandwidth_bits=graph.integer("bandwidth", minimum=1),
        energy_pj_per_cycle=graph.number("unit_energy_cost", default=0.0),
    )
    kinds = _kinds(graph, len(files))
    graph.done()
    root.done()
    cores = _read_cores(files, kinds, path, root.faults)
    compute = [core for core in cores if core.kind is CoreKind.COMPUTE]
    if len(compute) != mesh.rows * mesh.columns:
        graph.fault(f"a {mesh.rows} x {mesh.columns} mesh needs as many compute cores, got {len(compute)}")
    root.faults.raise_if_any(path.name)
    return Accelerator(
        name=name,
        cores=tuple(cores),
        links=tuple(_links(cores, mesh)),
        description=f"Read from Stream's {path.name}.",
        sources=(f"Figures as given in {path.name} and the core files that it names.",),
    )


def _kinds(graph: Section, num_cores: int) -> list[CoreKind]:
    kinds = [CoreKind.COMPUTE] * num_cores
    for word, kind in SPECIAL.items():
        key = f"{word}_core_id"
        if key not in graph:
            graph.integer(key, minimum=0, default=0)
            continue
        index = graph.integer(key, minimum=0)
        if index >= num_cores:
            graph.fault(f"`{key}` must be below the number of cores ({num_cores}), got {index}")
        elif kinds[index] is not CoreKind.COMPUTE:
            graph.fault(f"`{key}` names core {index}, which is the {kinds[index].value} core already")
        else:
            kinds[index] = kind
    return kinds


def _read_cores(files: list[str], kinds: list[CoreKind], path: Path, faults: Faults) -> list[Core]:
    cores: list[Core] = []
    if len(files) > MAX_CORES:
        faults.add("cores", f"at most {MAX_CORES} cores, got {len(files)}")
        return cores
    num_compute = 0
    for file, kind in zip(files, kinds, strict=True):
        if kind is CoreKind.COMPUTE:
            name, num_compute = f"core{num_compute}", num_compute + 1
        else:
            name = kind.value
        found = _inside(path.parent, file)
        if found is None:
            faults.add("cores", f"core file {file!r} must lie in the folder of {path.name}")
            continue
        try:
            data = read_yaml(found).data
        except AcceleratorError as exc:
            faults.add("cores", str(exc).rstrip("."))
            continue
        body = Section(data, f"core file '{file}'", faults)
        body.text("name", default=name)
        cores.append(read_core(body, name, kind, source=f"{file}, named by {path.name}"))
        body.done()
    return cores


def _inside(folder: Path, file: str) -> Path | None:
    """The file below ``folder``, links followed; None when it lies elsewhere."""
    try:
        found = (folder / file).resolve()
    except (OSError, ValueError, RuntimeError):
        return None
    return found if found.is_relative_to(folder.resolve()) else None


def _links(cores: list[Core], mesh: _Mesh) -> list[Link]:
    """Every link of the accelerator, each direction on its own."""
    compute = [core.name for core in cores if core.kind is CoreKind.COMPUTE]
    of_kind = {kind: [core.name for core in cores if core.kind is kind] for kind in CoreKind}
    width, energy = mesh.bandwidth_bits, mesh.energy_pj_per_cycle / mesh.bandwidth_bits
    links: list[Link] = []
    for index, name in enumerate(compute):
        column, row = divmod(index, mesh.rows)
        if column + 1 < mesh.columns:
            links += _both_ways(name, compute[index + mesh.rows], width, energy)
        if row + 1 < mesh.rows:
            links += _both_ways(name, compute[index + 1], width, energy)
    for pooling in of_kind[CoreKind.POOLING]:
        for name in compute:
            links += _both_ways(name, pooling, width, energy)
    for simd in of_kind[CoreKind.SIMD]:
        for name in compute + of_kind[CoreKind.POOLING]:
            links += _both_ways(name, simd, None, 0.0)
    for core in cores:
        if core.kind is CoreKind.OFFCHIP:
            links += _offchip_links(core, [other.name for other in cores if other is not core], mesh)
    return links


def _both_ways(one: str, other: str, bandwidth_bits: int | None, energy: float) -> list[Link]:
    return [Link(one, other, bandwidth_bits, energy), Link(other, one, bandwidth_bits, energy)]


def _offchip_links(offchip: Core, others: list[str], mesh: _Mesh) -> list[Link]:
    """One medium for both directions when the off-chip memory has one port, else one per direction."""
    memory = offchip.top_memory
    one_port = len(memory.ports) == 1
    write = offchip.name if one_port else f"{offchip.name}-write"
    read = offchip.name if one_port else f"{offchip.name}-read"
    links: list[Link] = []
    for name in others:
        for sender, receiver, width, shared in (
            (name, offchip.name, memory.write_bandwidth_bits, write),
            (offchip.name, name, memory.read_bandwidth_bits, read),
        ):
            links.append(Link(sender, receiver, width, mesh.energy_pj_per_cycle / width, shared))
    return links
