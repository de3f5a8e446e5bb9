"""The price of one network as JSON data and as a table for the terminal."""

from typing import TYPE_CHECKING, Any

from offramp.cost.base import CostReport
from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.jsonio import to_data

if TYPE_CHECKING:
    from rich.table import Table


def cost_json(model: str, report: CostReport, static: CostReport, expected: ExpectedCost | None) -> dict[str, Any]:
    """What `offramp cost --json` prints; ``expected`` is null without exit rates, ``static`` has no early exits."""
    return {
        "model": model,
        "accelerator": report.accelerator,
        "engine": report.engine,
        "engine_version": report.engine_version,
        "convention": report.convention,
        "stages": [to_data(stage) for stage in report.stages],
        "expected": None if expected is None else to_data(expected),
        "static": to_data(expected_cost(static, (1.0,))),
        "warnings": list(report.warnings),
    }


def cost_table(model: str, report: CostReport, static: CostReport, expected: ExpectedCost | None) -> "Table":
    """One row per exit, then the mean over samples, then the same network without early exits."""
    from rich.table import Table

    table = Table(
        title=f"{model} on {report.accelerator}",
        caption=f"Engine {report.engine} {report.engine_version}, convention {report.convention}",
    )
    table.add_column("Exit", overflow="fold")
    for heading in ("Backbone cycles", "Branch cycles", "Cycles to exit", "uJ to exit", "MACs to exit", "J x cycles"):
        table.add_column(heading, justify="right")
    for stage in report.stages:
        product = stage.energy_to_exit_pj * 1e-12 * stage.latency_to_exit_cycles
        table.add_row(
            stage.exit,
            f"{stage.backbone_latency_cycles:,.0f}",
            f"{stage.branch_latency_cycles:,.0f}",
            f"{stage.latency_to_exit_cycles:,.0f}",
            f"{stage.energy_to_exit_pj * 1e-6:,.2f}",
            f"{stage.macs_to_exit:,}",
            f"{product:,.4g}",
        )
    table.add_section()
    if expected is not None:
        _add_mean(table, "expected", expected)
    _add_mean(table, "without early exits", expected_cost(static, (1.0,)))
    return table


def _add_mean(table: "Table", name: str, cost: ExpectedCost) -> None:
    table.add_row(
        name,
        "",
        "",
        f"{cost.latency_cycles:,.0f}",
        f"{cost.energy_pj * 1e-6:,.2f}",
        f"{cost.macs:,.0f}",
        f"{cost.energy_latency_product_j_cycles:,.4g}",
    )
