"""The command `offramp cost`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from offramp.cli.runner_permission import AllowRunner, give_permission
from offramp.cli.setting_options import COMMON, COST, COST_OPTIONS, takes_settings
from offramp.errors import InputError
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.settings.cost_config import CostConfig, parse_mapping_steps


@takes_settings(COST_OPTIONS)
def cost(
    changes: dict[str, object],
    model: Annotated[
        Path, typer.Argument(help="An ONNX file, with or without early exits; its weights may be stripped.")
    ],
    branch_bits: Annotated[
        int | None,
        typer.Option(metavar="INTEGER", help="Bits of branches (default: as backbone).", rich_help_panel=COMMON),
    ] = None,
    exit_rates: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Share of samples leaving at each exit: 0.7,0.3.", rich_help_panel=COMMON),
    ] = None,
    final: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Output that is the final exit, where the graph leaves it open.",
            rich_help_panel=COMMON,
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            help="Size of an axis that the file leaves open, such as sequence=128 or image.2=224. Repeatable.",
            rich_help_panel=COMMON,
        ),
    ] = None,
    mapping_steps: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Steps that the optimized mapping may take: on_chip,prefetch,split,beside,fuse,optimum, or none.",
            rich_help_panel=COST,
        ),
    ] = None,
    without_step: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="A step that the optimized mapping does without. Repeatable.", rich_help_panel=COST
        ),
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Write a page (HTML) that shows which core and link does what when.",
            rich_help_panel=COMMON,
        ),
    ] = None,
    allow_runner: AllowRunner = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=COMMON)] = False,
) -> None:
    """Estimate the cost of the network in an ONNX file on an accelerator, to each of its exits.

    Args:
        changes: Settings that were given as options, by name.
        allow_runner: Whether the command of the accelerator's file may be run.
    """
    from offramp.cost.pricing import price_onnx
    from offramp.report.terminal.cost_table import cost_json, cost_table

    give_permission(allow_runner)
    settings = _settings(changes, branch_bits, mapping_steps, without_step or [])
    priced = price_onnx(model, settings, _parse_rates(exit_rates), final, _parse_sizes(size or []))
    if timeline is not None:
        from offramp.report.pages.timeline_page import write_timeline_page

        write_timeline_page(priced, timeline)
    if as_json:
        print(json.dumps(cost_json(priced), indent=2))
        return
    from offramp.files.safe_console import SafeConsole

    SafeConsole().print(cost_table(priced))


def _settings(
    changes: dict[str, object], branch_bits: int | None, mapping_steps: str | None, without: list[str]
) -> CostConfig:
    other = [name for name in changes if not name.startswith("cost.")]
    if other:
        raise InputError(f"`offramp cost` takes settings of cost alone, got {', '.join(other)}. Leave the others out.")
    options = {
        "--branch-bits": ("cost.branch_weight_bits", "cost.branch_activation_bits") if branch_bits is not None else (),
        "--mapping-steps": ("cost.mapping_steps",) if mapping_steps is not None else (),
        "--without-step": ("cost.mapping_steps",) if without else (),
    }
    for option, names in options.items():
        twice = [name for name in names if name in changes]
        if twice:
            raise InputError(
                f"The setting {twice[0]!r} must be given once, but {option} and --set both give it. "
                "Leave one of them out."
            )
    given = dict(changes)
    for part in ("weight_bits", "activation_bits"):
        branches = given.get(f"cost.{part}") if branch_bits is None else branch_bits
        if branches is not None:
            given.setdefault(f"cost.branch_{part}", branches)
    if mapping_steps is not None or without:
        given["cost.mapping_steps"] = parse_mapping_steps(mapping_steps, without)
    return with_settings(Config(), given).cost


def _parse_rates(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as exc:
        raise InputError(f"--exit-rates must be shares separated by commas, such as 0.7,0.3; got {text!r}.") from exc


def _parse_sizes(texts: list[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for text in texts:
        name, _, size = text.rpartition("=")
        if not name or not size.isdecimal() or name in sizes:
            raise InputError(f"--size must be the name of an axis and its size, each name once, got {text!r}.")
        sizes[name] = int(size)
    return sizes
