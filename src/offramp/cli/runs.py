"""Commands that show a run, finished or not: `offramp front`, `report`, `watch` and `export-results`."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from offramp.report.terminal.live import LiveState

_Run = Annotated[Path, typer.Argument(help="Run folder of a search that has finished or is still running.")]


def report(
    run: _Run,
    output: Annotated[
        Path | None, typer.Option(help="Where to write the page (default: report.html in the run).")
    ] = None,
) -> None:
    """Write the HTML report of a run.

    Args:
        run: The run folder.
    """
    from offramp.files.output_names import check_output_name
    from offramp.records.run_summary import load_summary
    from offramp.report.pages.run_page import write_page

    target = output or run / "report.html"
    check_output_name(target, ".html", ".htm")
    write_page(load_summary(run / "summary.json"), target)
    print(target)


def front(
    run: _Run,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object with both fronts and what early exits add.")
    ] = False,
) -> None:
    """Show the two Pareto fronts of a run: networks with early exits, and static networks.

    Args:
        run: The run folder.
    """
    from offramp.records import read_run
    from offramp.report.terminal.run_tables import fronts_json, fronts_tables

    store = read_run(run)
    try:
        fronts = store.fronts()
    finally:
        store.close()
    if as_json:
        print(json.dumps(fronts_json(fronts), indent=2))
        return
    from offramp.files.safe_console import SafeConsole

    console = SafeConsole()
    for part in fronts_tables(fronts):
        console.print(part)


def watch(
    run: _Run,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two updates.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show the present state and end.")] = False,
) -> None:
    """Watch a search: its progress, and both fronts as tables and plots, until it ends or Ctrl-C is pressed.

    Args:
        run: The run folder.
    """
    from rich.live import Live

    from offramp.files.safe_console import SafeConsole
    from offramp.report.terminal.live import live_view

    console = SafeConsole()
    state = look_at(run)
    if once:
        console.print(live_view(state))
        return
    try:
        with Live(live_view(state), console=console, auto_refresh=False, transient=False) as live:
            while not state.over:
                time.sleep(every)
                state = look_at(run)
                live.update(live_view(state), refresh=True)
    except KeyboardInterrupt:
        console.print("No longer watching; the search continues.")


def look_at(run: Path) -> "LiveState":
    """Read the state of a run at this moment.

    Args:
        run: The run folder.

    Returns:
        What is known of the run by now.
    """
    from offramp.objectives.parse import parse_objectives
    from offramp.records import read_run
    from offramp.records.folder_lock import search_is_running
    from offramp.report.terminal.live import LiveState

    # Asked before the record is read: what a search wrote before it ended must not be missed.
    running = search_is_running(run)
    store = read_run(run)
    try:
        batches = store.batches()
        return LiveState(
            name=str(run),
            phase=store.get("phase"),
            running=running,
            num_proposed=sum(len(batch.proposals) for batch in batches),
            evaluations=tuple(evaluation for batch in batches for evaluation in batch.evaluations),
            objectives=parse_objectives(store.config.search.objectives),
            statics=store.static_candidates(),
        )
    finally:
        store.close()


def export_results(
    run: _Run,
    file: Annotated[Path, typer.Argument(help="The Parquet file to write, *.parquet; an existing one is replaced.")],
) -> None:
    """Write all evaluations of a run, and its static networks, as a Parquet table, one row each.

    Args:
        run: The run folder.
    """
    from offramp.records import read_run
    from offramp.records.evaluation_table import export_results as write

    store = read_run(run)
    try:
        count = write(store, file)
    finally:
        store.close()
    print(f"{file}: {count} evaluations")
