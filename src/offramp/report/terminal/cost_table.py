"""The cost of a priced model for the terminal: a rich table, and plain data for JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from offramp import jsonio
from offramp.cost.device_energy import DeviceEnergy
from offramp.cost.priced_model import PricedModel
from offramp.cost.report import CostReport, StageCost
from offramp.report import units
from offramp.report.terminal.run_tables import COST_HEADINGS, UNITS, FrontCosts, cost_cells
from offramp.report.terminal.terminal_style import plain_text, simple_table
from offramp.settings.cost_config import ALL_MAPPING_STEPS

if TYPE_CHECKING:
    from rich.table import Table as RichTable


def engine_name(report: CostReport) -> str:
    """Write the engine and its version, without the mapping, which stands beside it.

    Args:
        report: A cost report.

    Returns:
        Name and version, separated by a space.
    """
    return f"{report.engine} {report.engine_version.removesuffix(', mapping optimized')}".strip()


def mapping_name(report: CostReport) -> str:
    """Write the mapping in words, with the steps that are switched off.

    Args:
        report: A cost report.

    Returns:
        For example ``mapping optimized without fuse``.
    """
    steps = ALL_MAPPING_STEPS if report.mapping_steps is None else report.mapping_steps
    missing = [name for name in ALL_MAPPING_STEPS if name not in steps]
    return f"mapping {report.mapping}" + (f" without {', '.join(missing)}" if missing else "")


def cost_json(priced: PricedModel) -> dict[str, Any]:
    """Write the cost of a model as plain data, without what is known per layer.

    Args:
        priced: The model and its cost report.

    Returns:
        What ``json.dumps`` takes; ``expected`` is None where no exit rates were given.
    """
    report = jsonio.to_data(priced.report.per_exit())
    about = ("accelerator", "engine", "engine_version", "convention", "mapping", "mapping_steps", "stages")
    return {
        "model": priced.model,
        **{name: report[name] for name in about},
        "static": jsonio.to_data(priced.static_cost),
        "expected": jsonio.to_data(priced.expected),
        "warnings": list(priced.warnings),
        "leaves_out": report["leaves_out"],
        "memory": [{**jsonio.to_data(need), "fits": need.fits, "share": need.share} for need in priced.report.memory],
        "weight_density": priced.weight_density,
        "device": jsonio.to_data(priced.device),
    }


def cost_table(priced: PricedModel) -> "RichTable":
    """Lay out the cost of a model: a row per exit, the static network and, with exit rates, the expected cost.

    Args:
        priced: The model and its cost report.

    Returns:
        A table whose caption holds notes and warnings.
    """
    report, static, expected = priced.report, priced.static_cost, priced.expected
    terms = f"{engine_name(report)}, convention {report.convention}, {mapping_name(report)}"
    table = simple_table(f"{priced.model} on {report.accelerator} ({terms}); {UNITS}")
    table.add_column("To exit", overflow="fold")
    for heading in ("Backbone", "Branch", *COST_HEADINGS):
        table.add_column(heading, justify="right", overflow="fold")
    for stage in report.stages:
        own = (stage.backbone_latency_cycles, stage.branch_latency_cycles)
        busy = (units.cycles(value).removesuffix("cycles").rstrip() for value in own)
        table.add_row(*map(plain_text, (stage.exit, *busy, *cost_cells(_cost_to(stage)))))
    table.add_section()
    table.add_row(*map(plain_text, ("static network", "", "", *cost_cells(static))))
    if expected is not None:
        table.add_row(*map(plain_text, ("expected (mean)", "", "", *cost_cells(expected))))
    notes = _notes(priced)
    table.caption = plain_text("\n".join(notes)) if notes else None
    return table


def _notes(priced: PricedModel) -> list[str]:
    static, expected, notes = priced.static_cost, priced.expected, list[str]()
    if expected is not None:
        saved = units.reduction(expected.energy_delay_product_j_cycles, static.energy_delay_product_j_cycles)
        notes.append(f"{saved} energy-delay product, compared with the static network")
        products = (expected.energy_delay_product_j_cycles, expected.product_of_means_j_cycles)
        mean, other = map(units.energy_delay_product, products)
        notes.append(f"Expected product: {mean} as the mean of the products, {other} as the product of the means")
    if priced.device is not None:
        notes += _device_notes(priced.device, [stage.exit for stage in priced.report.stages])
    if priced.weight_density is not None:
        notes.append(f"Zero weights counted: {units.percent(1.0 - priced.weight_density)} of those in the file")
    notes += priced.warnings
    if priced.report.leaves_out:
        notes.append("\n".join(("Left out:", *(f"- {sentence}" for sentence in priced.report.leaves_out))))
    return notes


def _device_notes(device: DeviceEnergy, exits: Sequence[str]) -> list[str]:
    """Energy that is no part of the table: static power, and the batch of a device that starts for each inference."""
    notes = []
    if device.static_to_exit_j is not None and device.static_w is not None:
        spent = zip(exits, device.static_to_exit_j, strict=True)
        to_exits = ", ".join(f"{units.si(joules, 'J')} to {name}" for name, joules in spent)
        notes.append(f"Static power of {units.si(device.static_w, 'W')}, not in the table: {to_exits}")
    if device.static_network_batch_j is not None and device.start_up_j is not None:
        counted = "" if device.static_w is None else " and static power"
        what = f"{device.inferences:,} inferences with a start of {units.si(device.start_up_j, 'J')} each{counted}"
        own = "exit rates are needed" if device.batch_j is None else units.si(device.batch_j, "J")
        notes.append(f"{what}: {own}; static network {units.si(device.static_network_batch_j, 'J')}")
    return notes


def _cost_to(stage: StageCost) -> FrontCosts:
    """What an image costs that leaves at this exit."""
    return FrontCosts(
        stage.latency_to_exit_cycles,
        stage.energy_to_exit_pj,
        float(stage.macs_to_exit),
        stage.product_to_exit_j_cycles,
    )
