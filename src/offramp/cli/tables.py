"""`offramp table`: tables of runs, on which search algorithms are compared without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.errors import InputError, UntrustedRunError
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config

if TYPE_CHECKING:
    from offramp.tabular.benchmark_table import Table

app = typer.Typer(
    help="Make and show tables for comparing search algorithms.", no_args_is_help=True, rich_markup_mode=None
)

_USED = (
    "search.algorithm",
    "search.evaluations",
    "search.batch",
    "search.objectives",
    "search.constraints",
    "seed",
    "cost.accelerator",
    "budget",
    "budget.evaluations",
)
"""Settings that a search on a table uses."""


@app.callback()
def _tables() -> None:
    """Make and show tables for comparing search algorithms."""


@app.command(
    help="Write the table of a run: answers, confidences and costs of every exit of every backbone, without images."
)
def make(
    run: Annotated[Path, typer.Argument(help="Run folder of a search whose supernet is trained.")],
    output: Annotated[Path | None, typer.Option(help="File to write (default: table.npz in the run).")] = None,
    backbones: Annotated[int, typer.Option(min=1, max=10_000, help="Largest number of backbones.")] = 100,
    samples: Annotated[int, typer.Option(min=1, help="Largest number of samples of each split.")] = 2_000,
    bits: Annotated[int, typer.Option(help="Bits of a logit: 8 or 16.")] = 8,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Licence of the table (default: that of the run's settings).")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read the files that the run names, although somebody else began it.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Write the table of a run.

    Args:
        run: The run folder.

    Raises:
        InputError: The number of bits is neither 8 nor 16.
        UntrustedRunError: Somebody else began the run, and it names files.
    """
    from offramp.files.output_names import check_output_name

    if bits not in (8, 16):
        raise InputError(f"The logits of a table must have 8 or 16 bits, got --bits {bits}.")
    target = output or run / "table.npz"
    check_output_name(target, ".npz")
    if not target.absolute().parent.is_dir():
        raise InputError(f"The folder of the table must exist, but {str(target.absolute().parent)!r} does not.")
    # Loads torch.
    from offramp.progress import SilentReporter, TerminalReporter
    from offramp.tabular.make_table import TableOptions, make_table

    options = TableOptions(backbones, samples, bits, licence, trust=trust)
    try:
        make_table(run, target, options, SilentReporter() if quiet else TerminalReporter())
    except UntrustedRunError as exc:
        raise UntrustedRunError(str(exc).replace("resume it", "make the table")) from exc
    show(str(target))


@app.command(help="Say what a table is of, who may use it, and how exact it is.")
def show(file: Annotated[str, typer.Argument(help="The file, or the name of a shipped table: digits.")]) -> None:
    """Say what a table is of, who may use it, and how exact it is."""
    from offramp.files.safe_console import SafeConsole
    from offramp.tabular.benchmark_table import Table

    console = SafeConsole()
    table = Table.load(file)
    header = table.header
    channels, height, width = header.input_shape
    accelerators = ", ".join(item.name for item in header.accelerators)
    errors = ", ".join(f"{name} {error:.2g}" for name, error in sorted(header.confidence_errors.items()))
    for line in (
        _title(table, file),
        f"Licence: {header.licence}",
        f"Origin: {header.origin}",
        f"Input: {channels} x {height} x {width}, {len(header.class_names)} classes",
        f"Costs on: {accelerators}",
        f"Logits of {header.code_bits} bits; answers are exact, confidences at most so far off: {errors}",
        *(f"Left out: {sentence}" for sentence in header.left_out),
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    table.close()


def search_on_table(file: str, changes: Mapping[str, object], config: Config, others: Mapping[str, object]) -> None:
    """Run a search on a table and print both fronts and its regret.

    Args:
        file: The file, or the name of a shipped table.
        changes: Settings that were given as options, by name.
        config: The settings to start from.
        others: Other options that were given; there must be none.

    Raises:
        InputError: A setting or an option has no effect on a table.
    """
    unused = [name for name in changes if name not in _USED] + [name for name, value in others.items() if value]
    settings = with_settings(config, changes)
    if settings.budget.seconds is not None:
        unused.append("a budget of time")
    if unused:
        raise InputError(
            f"A search on a table trains and writes nothing, so {', '.join(unused)} would have no effect. Leave it "
            f"out; these are used: {', '.join(_USED[:-2])}, and a budget of evaluations."
        )
    from offramp.files.safe_console import SafeConsole
    from offramp.objectives.fronts import as_what_it_is, split_fronts
    from offramp.objectives.parse import parse_constraints, parse_objectives
    from offramp.report.terminal.run_tables import fronts_tables
    from offramp.tabular.benchmark_table import Table

    objectives = parse_objectives(settings.search.objectives)
    accelerator = settings.cost.accelerator if "cost.accelerator" in changes else None
    table = Table.load(file, accelerator, parse_constraints(settings.search.constraints))
    found = table.search(
        settings.search.algorithm,
        evaluations=settings.budget.evaluations or settings.search.evaluations,
        batch=settings.search.batch,
        objectives=objectives,
        seed=settings.seed,
    )
    console = SafeConsole()
    networks = [*map(as_what_it_is, found.evaluations), *table.statics()]
    fronts = split_fronts(networks, objectives)
    console.print(_title(table, file), highlight=False, markup=False, soft_wrap=True)
    for part in fronts_tables(fronts):
        console.print(part, highlight=False, markup=False)
    count = len(found.evaluations)
    console.print(f"{found.algorithm}: {count} candidates in {found.seconds:.2f} s", highlight=False, markup=False)
    beyond = fronts.beyond_static
    console.print(
        f"Early exits: no static network of the table equals or beats {len(beyond)} of the early-exit networks found",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if table.constraints:
        console.print("Regret: not known with constraints", highlight=False, markup=False)
    else:
        regret = table.regret(found.evaluations, objectives)
        number = len(table.true_front(objectives))
        console.print(
            f"Regret: {100 * regret:.3g} % of the hypervolume of the true front, which has {number} networks",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    table.close()


def _title(table: "Table", file: str) -> str:
    header = table.header
    return (
        f"Table {file} of {header.data}: {len(table.backbones)} backbones, {header.validation_samples} validation and "
        f"{header.test_samples} test samples"
    )
