"""The command line's entry point: quick to start, since a command loads its heavy parts itself."""

import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from offramp.cli.accelerators import app as accelerators_app
from offramp.cli.console import accept_all_characters
from offramp.cli.cost import cost
from offramp.cli.deploy import bench, export_c, export_int8, export_web
from offramp.cli.detect import detect
from offramp.cli.list_names import list_names
from offramp.cli.predict import predict
from offramp.cli.runs import export_results, front, report, watch
from offramp.cli.search import search
from offramp.cli.setting_options import GroupedCommand
from offramp.cli.tables import app as table_app
from offramp.errors import InputError, Interrupted, OfframpError
from offramp.files.escaped_text import escaped
from offramp.files.escaping_stream import escape_output
from offramp.registry import PluginWarning
from offramp.version import __version__

_INTERRUPTED = 130
"""Exit code after Ctrl-C, as of other programs: 128 + SIGINT. typer ends with it, too, without a word."""

app = typer.Typer(
    name="offramp",
    help="Search, train and deploy early-exit neural networks for edge accelerators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _summary(command: Callable[..., None]) -> str:
    """The help of a command: its docstring without the part on parameters, which the options describe."""
    return re.split(r"\n\s*(?:Args|Raises):", inspect.cleandoc(command.__doc__ or ""))[0].strip()


app.command(cls=GroupedCommand, help=_summary(search))(search)
app.command(cls=GroupedCommand, help=_summary(cost))(cost)
app.command(help=_summary(front))(front)
app.command(help=_summary(report))(report)
app.command(help=_summary(watch))(watch)
app.command(name="export-results", help=_summary(export_results))(export_results)
app.command(help=_summary(predict))(predict)
app.command(help=_summary(bench))(bench)
app.command(name="export-web", help=_summary(export_web))(export_web)
app.command(name="export-c", help=_summary(export_c))(export_c)
app.command(name="export-int8", help=_summary(export_int8))(export_int8)
app.command(help=_summary(detect))(detect)
app.command(name="list", help=_summary(list_names))(list_names)
app.add_typer(accelerators_app, name="accelerators")
app.add_typer(table_app, name="table")


def main() -> None:
    """Entry point. Exit codes: 0 done, 2 wrong input, 130 stopped by Ctrl-C, 1 anything else."""
    # Read when torch starts its threads. By default idle threads spin for long, and two of them beside any other busy
    # process train ten times slower; with this they yield soon, for 7 % less speed on a machine of their own.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    warnings.formatwarning = _format_warning
    accept_all_characters()
    plain = sys.stdout, sys.stderr
    escape_output()
    try:
        _run()
    finally:
        sys.stdout, sys.stderr = plain


def _run() -> None:
    try:
        _check_arguments(sys.argv[1:])
        app()
    except SystemExit as exc:
        if exc.code == _INTERRUPTED:
            _fail("Stopped.", _INTERRUPTED)
        raise
    except InputError as exc:
        _fail(str(exc), 2)
    except (Interrupted, KeyboardInterrupt) as exc:
        _fail(str(exc) or "Stopped.", _INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output is gone (for example `| head`); there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OfframpError as exc:
        _fail(str(exc), 1)
    except Exception as exc:
        if os.environ.get("OFFRAMP_DEBUG"):
            raise
        reason = " ".join(str(exc).split()) or "no further word"
        _fail(f"Something went wrong inside offramp ({type(exc).__name__}: {reason}). OFFRAMP_DEBUG=1 shows where.", 1)


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuse empty arguments: as a path, one would be the current folder."""
    for place, argument in enumerate(arguments):
        if not argument.strip():
            before = f" (behind {arguments[place - 1]!r})" if place else ""
            raise InputError(
                f"Argument {place + 1}{before} must not be empty. Give a value, or leave the argument out; a variable "
                "of the shell may be unset."
            )


_FORMAT_OTHERS = warnings.formatwarning


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Plug-ins that are skipped concern the user, who has no use for the line that looked them up."""
    if issubclass(category, PluginWarning):
        return f"offramp: {escaped(str(message))}\n"
    return _FORMAT_OTHERS(message, category, filename, lineno, line)


def _fail(message: str, code: int) -> None:
    print(f"offramp: {escaped(message)}", file=sys.stderr)
    sys.exit(code)


def _print_version(value: bool) -> None:
    if value:
        print(f"offramp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Search, train and deploy early-exit networks for edge accelerators."""


if __name__ == "__main__":
    main()
