"""Commands that look at a run, finished or not: `offramp watch` and `export-results`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from offramp.report.terminal.live import LiveState

_Run = Annotated[Path, typer.Argument(help="Run folder, of a finished search or one that is still going on.")]


def watch(
    run: _Run,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
) -> None:
    """Watch a search: how far it is, its front as a table and a plot; ends when the search ends, or with Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    from offramp.report.terminal.live import live_view

    console = Console()
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
        console.print("No longer watching; the search goes on.")


def look_at(run: Path) -> "LiveState":
    """The state of a run at this moment. Raises RunError where there is none."""
    from offramp.objectives.parse import parse_objectives
    from offramp.records import read_run
    from offramp.records.run_folder import search_is_running
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
        )
    finally:
        store.close()


def export_results(
    run: _Run,
    file: Annotated[Path, typer.Argument(help="The Parquet file to write; one that is there is replaced.")],
) -> None:
    """Write all evaluations of a run as a Parquet table, one row each."""
    from offramp.records import read_run
    from offramp.records.evaluation_table import export_results as write

    store = read_run(run)
    try:
        count = write(store, file)
    finally:
        store.close()
    print(f"{file}: {count} evaluations")
