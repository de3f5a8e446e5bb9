"""The command `offramp search`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from offramp.cli import STARTED
from offramp.cli.runner_permission import AllowRunner, give_permission
from offramp.cli.setting_options import COMMON, SEARCH_OPTIONS, takes_settings
from offramp.cli.tables import search_on_table
from offramp.errors import InputError, Interrupted, UntrustedRunError
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.settings.config_file import load_config
from offramp.settings.keywords import KeywordSettings

if TYPE_CHECKING:
    from offramp.run.api import SearchResult


@takes_settings(SEARCH_OPTIONS)
def search(
    changes: dict[str, object],
    run: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Run folder (default: a new one under runs/).", rich_help_panel=COMMON),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Settings file (YAML); options override it.", rich_help_panel=COMMON),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Search a table of `offramp table make`, or the shipped one (digits): no training, no torch.",
            rich_help_panel=COMMON,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --run.", rich_help_panel=COMMON)] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --run.", rich_help_panel=COMMON)
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="With --resume: go on although versions of torch and the like changed; never with other data.",
            rich_help_panel=COMMON,
        ),
    ] = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="With --resume: read the files that the run names, although somebody else began it.",
            rich_help_panel=COMMON,
        ),
    ] = False,
    allow_runner: AllowRunner = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.", rich_help_panel=COMMON)] = False,
) -> None:
    """Search early-exit networks for your data and accelerator, and export the best.

    Args:
        changes: Settings that were given as options, by name.
        allow_runner: Whether the command of the accelerator's file may be run.

    Raises:
        InputError: A run is resumed with settings that may not change.
    """
    give_permission(allow_runner)
    if table is not None:
        others = {"--run": run, "--resume": resume, "--overwrite": overwrite, "--accept-changes": accept_changes}
        start = load_config(config) if config else Config()
        search_on_table(table, changes, start, {**others, "--trust": trust, "--quiet": quiet})
        return
    if resume and (config is not None or not all(map(_may_change, changes))):
        raise InputError(
            "--resume continues with the settings of the run; leave out the others. Only --budget, --workers, "
            "--devices, --cluster, --evaluation-timeout, --max-failures, --track and --set execution.* may change, and "
            "--data, --accelerator, --weights and --licence may name a new place of the same content."
        )
    if accept_changes and not resume:
        raise InputError("--accept-changes belongs to --resume: a new run has nothing to compare with. Leave it out.")
    if "execution.workers" in changes or "execution.cluster" in changes:
        # Workers of one kind take the place of the others.
        changes = {"execution.workers": None, "execution.cluster": None, **changes}
    settings = None if resume else with_settings(load_config(config) if config else Config(), changes)
    by_keyword = {name.replace(".", "__"): value for name, value in changes.items()} if resume else {}
    # Loads torch: only now that the settings can be understood.
    from offramp.progress import SilentReporter, TerminalReporter
    from offramp.run.api import search as run_search

    def run_with(trust: bool) -> "SearchResult":
        return run_search(
            settings,
            run=run,
            resume=resume,
            overwrite=overwrite,
            reporter=SilentReporter() if quiet else TerminalReporter(),
            started=STARTED,
            accept_changes=accept_changes,
            trust=trust,
            **cast(KeywordSettings, by_keyword),
        )

    try:
        result = run_with(trust)
    except UntrustedRunError as exc:
        if not sys.stdin.isatty() or not typer.confirm(f"offramp: {exc} Go on?"):
            raise
        result = run_with(True)
    _print_result(result)


def _may_change(name: str) -> bool:
    """Whether a resumed run may be given a setting."""
    places = ("data.source", "cost.accelerator", "space.weights", "deploy.licence")
    return name in places or name.partition(".")[0] in ("execution", "budget")


def _print_result(result: "SearchResult") -> None:
    from offramp.files.safe_console import SafeConsole
    from offramp.records.run_summary import load_summary
    from offramp.report.headline import headline
    from offramp.report.terminal.run_tables import chosen_table, fronts_tables, summary_fronts

    console, folder = SafeConsole(), result.folder
    summary = load_summary(folder / "summary.json")
    for alert in summary.alerts:
        console.print(f"Warning: {alert}", highlight=False, markup=False, soft_wrap=True)
    found = headline(summary)
    console.print(found.verdict, style="bold", highlight=False, markup=False, soft_wrap=True)
    console.print(found.details, highlight=False, markup=False, soft_wrap=True)
    for part in fronts_tables(summary_fronts(summary)):
        console.print(part)
    if summary.chosen:
        console.print(chosen_table(summary))
    recommended = summary.recommended
    for network in summary.exported:
        mark = ", recommended" if recommended is not None and network.rule == recommended.rule else ""
        console.print(f"Bundle ({network.rule}{mark}): {folder / network.bundle}", highlight=False, markup=False)
        for target in result.written_targets:
            if target.rule == network.rule:
                console.print(f"Target {target.name} ({target.rule}): {target.folder}", highlight=False, markup=False)
    console.print(f"Report: {folder / 'report.html'}", highlight=False, markup=False)
    for failure in result.failed_targets:
        console.print(f"Warning: {failure}", highlight=False, markup=False, soft_wrap=True)
    if result.interrupted:
        raise Interrupted(
            f"The search was stopped; this is what it found. Resume it with: offramp search --run {folder} --resume"
        )
