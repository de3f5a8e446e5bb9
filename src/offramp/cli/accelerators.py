"""`offramp accelerators`: commands about accelerator descriptions."""

import json
from typing import Annotated

import typer

from offramp.errors import AcceleratorError

app = typer.Typer(help="Check and draw accelerator descriptions.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _accelerators() -> None:
    """Check and draw accelerator descriptions."""


@app.command(
    help="Validate an accelerator, draw it, and compare it with its published figures. "
    "Exit code 2 means that something is wrong."
)
def check(
    file: Annotated[str, typer.Argument(help="YAML file (offramp's format, ZigZag's or Stream's), or a shipped name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Validate an accelerator, draw it, and compare it with its published figures.

    Raises:
        AcceleratorError: A published figure is not met within its tolerance.
    """
    from offramp.cost.engines.formula.peak_efficiency import compare_peaks
    from offramp.cost.pricing import engine_for
    from offramp.cost.published_figures import compare_with_reference
    from offramp.hardware.loader import load_accelerator
    from offramp.report.terminal.accelerator_tree import accelerator_json, accelerator_tree, reference_table

    accelerator = load_accelerator(file)
    rows = (*compare_with_reference(accelerator, engine_for(accelerator)), *compare_peaks(accelerator))
    if as_json:
        print(json.dumps(accelerator_json(accelerator, rows), indent=2))
    else:
        from offramp.files.safe_console import SafeConsole

        console = SafeConsole()
        console.print(accelerator_tree(accelerator))
        if rows:
            console.print(reference_table(rows))
    wrong = [row for row in rows if not row.agrees]
    if wrong:
        listed = "; ".join(
            f"{row.layer}, {row.quantity}: {row.priced:.6g} instead of {row.published:.6g} ({row.difference:+.2%})"
            for row in wrong
        )
        raise AcceleratorError(
            f"Accelerator '{accelerator.name}' must be priced as published, within the tolerances of its `reference`; "
            f"{len(wrong)} of {len(rows)} figures differ: {listed}. Correct the description, or the tolerance."
        )
