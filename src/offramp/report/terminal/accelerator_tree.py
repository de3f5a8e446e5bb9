"""An accelerator as a tree for the terminal, with its cores, memories and links, and a table of published figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from offramp.cost.capacity import size_text
from offramp.cost.published_figures import ReferenceComparison
from offramp.hardware.accelerator import Accelerator, Core, CoreKind, Link, MemoryLevel, PortKind, WeightSparsity
from offramp.hardware.runner import Runner
from offramp.report.terminal.terminal_style import plain_text, simple_table

if TYPE_CHECKING:
    from rich.table import Table
    from rich.tree import Tree

MAX_LINK_LINES = 24
"""Lines of links of a kind that are shown at most."""

MAX_NAMES = 8
"""Equal cores that are listed by name at most."""

_QUANTITIES = {"energy_pj": "energy, pJ", "tops_per_watt": "peak, TOP/s/W"}
_PORT_NAMES = {PortKind.READ: "read", PortKind.WRITE: "write", PortKind.READ_WRITE: "read or write"}


@dataclass(frozen=True)
class _Medium:
    """The properties that links drawn together share."""

    bandwidth_bits: int | None
    energy_pj_per_bit: float
    shared: str


def peak_macs_per_cycle(accelerator: Accelerator) -> int:
    """Peak throughput of all compute cores together.

    Args:
        accelerator: The accelerator.

    Returns:
        Multiply-accumulate operations per clock cycle.
    """
    return sum(core.peak_macs_per_cycle for core in accelerator.cores_of(CoreKind.COMPUTE))


def accelerator_tree(accelerator: Accelerator) -> "Tree":
    """Tree of the cores with their arrays and memories, and of the links; equal cores are shown once.

    Args:
        accelerator: The accelerator.

    Returns:
        The tree.
    """
    from rich.tree import Tree

    tree = Tree(plain_text(accelerator.name))
    if accelerator.description:
        tree.add(plain_text(accelerator.description))
    clock = "" if accelerator.clock_hz is None else f", clock {accelerator.clock_hz / 1e6:g} MHz"
    if accelerator.runner is not None:
        _add_runner(tree, accelerator.runner, clock)
        return tree
    tree.add(plain_text(f"peak {peak_macs_per_cycle(accelerator):,} MACs/cycle on all compute cores{clock}"))
    for group in _equal_cores(accelerator):
        _add_core(tree, group)
    if accelerator.links:
        _add_links(tree, accelerator)
    return tree


def _add_runner(tree: "Tree", runner: Runner, clock: str) -> None:
    own = runner.measurement
    node = tree.add(plain_text(f"measured in {own.arithmetic} by the runner: {runner.command}{clock}"))
    node.add(plain_text(f"{own.warm_up} warm-up runs, {own.repetitions} measured, at most {own.timeout_s:g} s a file"))
    power = "energies are printed by the runner" if own.power_w is None else f"{own.power_w:g} W while it computes"
    node.add(plain_text(f"{power}{f' ({own.power_source})' if own.power_source else ''}"))


def _equal_cores(accelerator: Accelerator) -> list[list[Core]]:
    groups: dict[Core, list[Core]] = {}
    for core in accelerator.cores:
        groups.setdefault(replace(core, name="", source=""), []).append(core)
    return list(groups.values())


def _add_core(tree: "Tree", group: Sequence[Core]) -> None:
    core = group[0]
    names = core.name if len(group) == 1 else f"{_listed(group)}: {len(group)} equal cores"
    node = tree.add(plain_text(f"{names} ({core.kind.value})"))
    sizes = " x ".join(f"{dimension.name} {dimension.size}" for dimension in core.array)
    if core.kind is not CoreKind.OFFCHIP:
        operations = "MACs" if core.kind is CoreKind.COMPUTE else "operations"
        node.add(
            plain_text(f"array {sizes}: peak {core.peak_macs_per_cycle:,} {operations}/cycle, {_array_energy(core)}")
        )
    if core.sparsity is not None:
        node.add(plain_text(_sparsity_line(core.sparsity)))
    if core.dataflow:
        loops = ", ".join(f"{loop.array_dimension}: {loop.loop} {loop.size}" for loop in core.dataflow)
        node.add(plain_text(f"dataflow {loops}"))
    for memory in core.memories:
        node.add(plain_text(_memory_line(memory, core)))


def _listed(group: Sequence[Core]) -> str:
    if len(group) > MAX_NAMES:
        return f"{group[0].name} ... {group[-1].name}"
    return ", ".join(core.name for core in group)


def _array_energy(core: Core) -> str:
    if core.imc is not None:
        steps = core.imc.activation_bits // core.imc.bit_serial_bits
        each = "" if steps == 1 else f", {steps} cycles an operation"
        return f"{core.imc.kind} in-memory array, {core.imc.weight_bits}-bit weights{each}"
    text = f"{core.mac_energy_pj:g} pJ each"
    if core.mac_energy_by_bits is None:
        return f"{text} at any width"
    entries = ", ".join(
        f"{x.weight_bits}x{x.activation_bits}: {x.energy_pj:g}" for x in core.mac_energy_by_bits.entries
    )
    return f"{text}, by weight x activation bits: {entries} pJ"


def _sparsity_line(sparsity: WeightSparsity) -> str:
    saved = f"{sparsity.cycles_saved:.0%} of the cycles and {sparsity.energy_saved:.0%} of the MAC energy saved"
    text = f"zero weights: {saved}"
    if sparsity.storage is None:
        return f"{text}, stored like any others"
    kept = f"{sparsity.storage.bits_per_nonzero:g} bits more for each other weight"
    return f"{text}, not stored: {kept}, {sparsity.storage.bits_per_weight:g} for each position"


def _memory_line(memory: MemoryLevel, core: Core) -> str:
    ports = ", ".join(f"{_PORT_NAMES[port.kind]} {port.bandwidth_bits}" for port in memory.ports)
    whole = {dimension.name for dimension in core.array} <= set(memory.served_dimensions)
    if whole:
        served = ""
    elif memory.served_dimensions:
        served = f", one for each group along {' '.join(memory.served_dimensions)}"
    else:
        served = ", one for each multiplier"
    energy = f"{memory.read_energy_pj:g} / {memory.write_energy_pj:g} pJ"
    what = f"{memory.name} [{' '.join(memory.operands)}] {size_text(memory.size_bits)}"
    return f"{what}; {ports} bit/cycle; {energy}{served}"


def _add_links(tree: "Tree", accelerator: Accelerator) -> None:
    media: dict[_Medium, list[Link]] = {}
    for link in accelerator.links:
        media.setdefault(_Medium(link.bandwidth_bits, link.energy_pj_per_bit, link.shared), []).append(link)
    node = tree.add(plain_text(f"{len(accelerator.links)} links"))
    for medium, links in media.items():
        width = "no transfer time" if medium.bandwidth_bits is None else f"{medium.bandwidth_bits} bit/cycle"
        shared = (
            f", all on the shared medium {medium.shared}" if medium.shared else ", each direction a link of its own"
        )
        child = node.add(plain_text(f"{width}, {medium.energy_pj_per_bit:g} pJ/bit{shared}"))
        lines = _link_lines(links)
        for line in lines[:MAX_LINK_LINES]:
            child.add(plain_text(line))
        if len(lines) > MAX_LINK_LINES:
            child.add(plain_text(f"and from {len(lines) - MAX_LINK_LINES} more"))


def _link_lines(links: Sequence[Link]) -> list[str]:
    """One line per sender; a pair with links in both directions is listed once."""
    ends = {(link.sender, link.receiver) for link in links}
    both: dict[str, list[str]] = {}
    single: dict[str, list[str]] = {}
    drawn: set[tuple[str, str]] = set()
    for link in links:
        if (link.receiver, link.sender) not in ends:
            single.setdefault(link.sender, []).append(link.receiver)
        elif (link.receiver, link.sender) not in drawn:
            both.setdefault(link.sender, []).append(link.receiver)
            drawn.add((link.sender, link.receiver))
    lines = [f"{sender} <-> {', '.join(receivers)}" for sender, receivers in both.items()]
    return lines + [f"{sender} -> {', '.join(receivers)}" for sender, receivers in single.items()]


def reference_table(rows: Sequence[ReferenceComparison]) -> "Table":
    """Table of published figures beside those of the cost engine.

    Args:
        rows: The comparisons.

    Returns:
        The table, one row per comparison.
    """
    table = simple_table("Published figures")
    for heading in ("Layer", "Core", "Quantity"):
        table.add_column(heading, overflow="fold")
    for heading in ("Published", "Priced", "Difference", "Allowed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = (
            row.layer,
            row.core,
            _QUANTITIES.get(row.quantity, row.quantity),
            f"{row.published:,.6g}",
            f"{row.priced:,.6g}",
        )
        percents = (f"{row.difference:+.2%}", f"{row.tolerance:.3g}")
        table.add_row(*(plain_text(cell) for cell in (*cells, *percents)))
    return table


def accelerator_json(accelerator: Accelerator, rows: Sequence[ReferenceComparison]) -> dict[str, Any]:
    """The accelerator and the comparisons as plain data.

    Args:
        accelerator: The accelerator.
        rows: The comparisons with published figures.

    Returns:
        Data that ``json.dumps`` takes.
    """
    from offramp import jsonio

    return {
        **jsonio.to_data(accelerator),
        "peak_macs_per_cycle": peak_macs_per_cycle(accelerator),
        "reference": [{**jsonio.to_data(row), "difference": row.difference, "agrees": row.agrees} for row in rows],
    }
