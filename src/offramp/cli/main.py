"""The command line: thin, and quick to start; heavy parts are imported by the command that needs them."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from offramp.cli import deploy as cli_deploy
from offramp.cli import runs as cli_runs
from offramp.cli.accelerators import app as accelerators_app
from offramp.cli.detect import detect
from offramp.errors import InputError, Interrupted, OfframpError
from offramp.version import __version__

_STARTED = time.monotonic()

app = typer.Typer(
    name="offramp",
    help="Search, train and deploy early-exit networks for edge accelerators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(accelerators_app, name="accelerators")
app.command()(cli_deploy.predict)
app.command()(cli_runs.watch)
app.command(name="export-results")(cli_runs.export_results)
app.command()(cli_deploy.bench)
app.command(name="export-web")(cli_deploy.export_web)
app.command()(detect)


def main() -> None:
    """Entry point. Exit codes: 0 done, 2 wrong input, 1 anything else."""
    # Read when torch starts its threads. By default idle threads spin for long, and two of them beside any other busy
    # process train ten times slower; with this they yield soon, for 7 % less speed on a machine of their own.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        app()
    except InputError as exc:
        _fail(str(exc), 2)
    except (Interrupted, KeyboardInterrupt) as exc:
        _fail(str(exc) or "Stopped.", 1)
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


def _fail(message: str, code: int) -> None:
    print(f"offramp: {message}", file=sys.stderr)
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


@app.command()
def search(
    data: Annotated[str | None, typer.Option(help="`digits`, or a file or folder with labelled images.")] = None,
    backbone: Annotated[str | None, typer.Option(help="A family (see `offramp list backbones`) or timm:NAME.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of a timm backbone: a safetensors file.")] = None,
    freeze: Annotated[
        bool | None, typer.Option("--freeze", help="Train the branches only, not the timm backbone.")
    ] = None,
    accelerator: Annotated[
        str | None, typer.Option(help="Name (see `offramp list accelerators`) or YAML file.")
    ] = None,
    branches: Annotated[
        list[str] | None,
        typer.Option(
            help="Types of exit branches, see `offramp list branches`; `searched`: layer by layer. Repeatable."
        ),
    ] = None,
    algorithm: Annotated[str | None, typer.Option(help="Search algorithm; see `offramp list algorithms`.")] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="What to optimise, for example energy_pj. Repeatable.")
    ] = None,
    constraint: Annotated[
        list[str] | None, typer.Option(help='A bound such as "latency_cycles<=200000" or "macs<=2.4M". Repeatable.')
    ] = None,
    pick: Annotated[
        list[str] | None,
        typer.Option(help='Points to finish: knee, most_accurate, cheapest, a number, "macs<=2M". Repeatable.'),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Wall time of the whole command (90s, 40m, 2h) or a number of evaluations.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="What has bit widths of its own: fixed (nothing), network (backbone, branches), stage, layer."
        ),
    ] = None,
    bits: Annotated[
        list[str] | None,
        typer.Option(help="Weight/activation bits to search among, such as 8/8 or ternary/8. Repeatable."),
    ] = None,
    analog_shares: Annotated[
        list[str] | None,
        typer.Option(help="Shares of a layer on the analog core to search among: 0,0.5,1 (accelerator diana)."),
    ] = None,
    quantize: Annotated[
        bool | None, typer.Option("--quantize/--no-quantize", help="Train the chosen networks at the bits priced.")
    ] = None,
    weight_density: Annotated[
        float | None, typer.Option(help="Share of nonzero weights to prune to, where the accelerator gains from zeros.")
    ] = None,
    guarantee: Annotated[
        str | None, typer.Option(help="Accuracy that leaving early may cost, and the confidence in that: 0.01@0.95.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the exported networks: a name such as CC-BY-4.0, or a text file.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that evaluate and fine-tune on this machine.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Scheduler of a Dask cluster to work on: tcp://host:8786.")
    ] = None,
    evaluation_timeout: Annotated[
        float | None, typer.Option(help="Seconds after which a candidate counts as failed.")
    ] = None,
    max_failures: Annotated[
        int | None, typer.Option(help="More failed candidates than this end the search (default: half of all).")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Cost engine: see `offramp list engines`.")] = None,
    mapping: Annotated[str | None, typer.Option(help="layer_by_layer (one core) or optimized (all cores).")] = None,
    track: Annotated[str | None, typer.Option(help="Log figures elsewhere too: tensorboard.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder (default: a new one under runs/).")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file; options override it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Search early-exit networks for your data and accelerator, and export the best."""
    from offramp.exits.accuracy_guarantee import parse_target
    from offramp.progress import SilentReporter, TerminalReporter
    from offramp.settings.budget_config import parse_budget
    from offramp.settings.by_name import with_settings
    from offramp.settings.config import Config
    from offramp.settings.config_file import load_config

    if guarantee is not None:
        parse_target(guarantee)
    given: dict[str, Any] = {
        "data.source": data,
        "space.backbone": backbone,
        "space.weights": weights,
        "space.freeze": freeze,
        "cost.accelerator": accelerator,
        "cost.engine": engine,
        "cost.mapping": mapping,
        "space.branches": _split_commas(branches),
        "search.algorithm": algorithm,
        "search.objectives": _split_commas(objective),
        "search.constraints": constraint,
        "fine_tune.picks": pick,
        "fine_tune.guarantee": guarantee,
        "fine_tune.quantize": quantize,
        "fine_tune.weight_density": weight_density,
        "deploy.licence": licence,
        "space.precision": precision,
        "space.precisions": _split_commas(bits),
        "space.analog_shares": _split_commas(analog_shares),
        "seed": seed,
        "budget": parse_budget(budget).model_dump() if budget else None,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if resume and (changes or config):
        raise InputError(
            "--resume goes on with the settings of the run; leave out the others. Only --workers, --cluster, "
            "--evaluation-timeout, --max-failures and --track may change."
        )
    how = _execution(workers, cluster, evaluation_timeout, max_failures, track)
    settings = with_settings(load_config(config) if config else Config(), changes)
    reporter = SilentReporter() if quiet else TerminalReporter()
    from offramp.run.api import search as run_search

    result = run_search(
        None if resume else settings,
        run=run,
        resume=resume,
        overwrite=overwrite,
        reporter=reporter,
        started=_STARTED,
        **how,
    )
    _print_result(result.folder, result.interrupted)


def _execution(
    workers: int | None,
    cluster: str | None,
    evaluation_timeout: float | None,
    max_failures: int | None,
    track: str | None,
) -> dict[str, Any]:
    """The options on how the work is done, by setting; workers of one kind take the place of the others."""
    how: dict[str, Any] = {}
    if workers is not None or cluster is not None:
        how = {"execution__workers": workers, "execution__cluster": cluster}
    others = {
        "execution__evaluation_timeout_s": evaluation_timeout,
        "execution__max_failures": max_failures,
        "execution__tracker": track,
    }
    return how | {name: value for name, value in others.items() if value is not None}


def _split_commas(values: list[str] | None) -> list[str] | None:
    return None if values is None else [part.strip() for value in values for part in value.split(",")]


def _print_result(folder: Path, interrupted: bool) -> None:
    from rich.console import Console

    from offramp.records.run_summary import load_summary
    from offramp.report.terminal.text import chosen_table, front_table

    console = Console()
    summary = load_summary(folder / "summary.json")
    console.print(front_table(summary))
    if summary.chosen:
        console.print(chosen_table(summary))
    for network in summary.chosen:
        console.print(f"Bundle ({network.rule}): {folder / network.bundle}", highlight=False, markup=False)
    console.print(f"Report: {folder / 'report.html'}", highlight=False, markup=False)
    if interrupted:
        raise Interrupted(f"Stopped early; this is what there is. Go on with: offramp search --run {folder} --resume")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    output: Annotated[
        Path | None, typer.Option(help="Where to write the page (default: report.html in the run).")
    ] = None,
) -> None:
    """Write the HTML report of a run."""
    from offramp.records.run_summary import load_summary
    from offramp.report.pages.run_page import write_page

    target = output or run / "report.html"
    write_page(load_summary(run / "summary.json"), target)
    print(target)


@app.command()
def front(
    run: Annotated[Path, typer.Argument(help="Run folder, of a finished search or one that is still going on.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, one object a point.")] = False,
) -> None:
    """Show the Pareto front of a run."""
    from offramp.objectives.pareto import pareto_front
    from offramp.objectives.parse import parse_objectives
    from offramp.records import read_run
    from offramp.report.terminal.text import evaluations_table, front_json

    store = read_run(run)
    try:
        objectives = parse_objectives(store.config.search.objectives)
        members = pareto_front(store.evaluations(), objectives).evaluations
    finally:
        store.close()
    if as_json:
        print(json.dumps(front_json(members), indent=2))
        return
    from rich.console import Console

    Console().print(evaluations_table(members))


@app.command()
def cost(
    model: Annotated[Path, typer.Argument(help="An early-exit ONNX file; its weights may be stripped.")],
    accelerator: Annotated[str, typer.Option(help="Name or YAML file.")] = "edge-tpu-quad",
    weight_bits: Annotated[int, typer.Option(min=1, max=32, help="Bits of backbone weights.")] = 8,
    activation_bits: Annotated[int, typer.Option(min=1, max=32, help="Bits of backbone activations.")] = 8,
    branch_bits: Annotated[
        int | None, typer.Option(min=1, max=32, help="Bits of branches (default: as backbone).")
    ] = None,
    exit_rates: Annotated[str | None, typer.Option(help="Share of samples leaving at each exit: 0.7,0.3.")] = None,
    engine: Annotated[str, typer.Option(help="Cost engine: see `offramp list engines`.")] = "native",
    convention: Annotated[
        str, typer.Option(help="offramp, or published (pooling charged as in the reference).")
    ] = "offramp",
    mapping: Annotated[
        str, typer.Option(help="layer_by_layer (one core, as the reference) or optimized (all cores).")
    ] = "layer_by_layer",
    mapping_steps: Annotated[
        str | None,
        typer.Option(help="What the optimized mapping may do: on_chip,prefetch,split,beside,fuse,optimum, or none."),
    ] = None,
    without_step: Annotated[
        list[str] | None, typer.Option(help="A step that the optimized mapping does without. Repeatable.")
    ] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Write a page (HTML) that shows which core and link does what when.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Price an early-exit ONNX graph on an accelerator."""
    from offramp.cost.pricing import price_onnx
    from offramp.report.terminal.text import cost_json, cost_table
    from offramp.settings.cost_config import CostConfig, parse_mapping_steps
    from offramp.settings.section import build_section

    settings = build_section(
        CostConfig,
        {
            "accelerator": accelerator,
            "engine": engine,
            "convention": convention,
            "mapping": mapping,
            "weight_bits": weight_bits,
            "activation_bits": activation_bits,
            "branch_weight_bits": branch_bits or weight_bits,
            "branch_activation_bits": branch_bits or activation_bits,
            "mapping_steps": parse_mapping_steps(mapping_steps, without_step or []),
        },
    )
    priced = price_onnx(model, settings, _parse_rates(exit_rates))
    if timeline is not None:
        from offramp.report.pages.timeline_page import write_timeline_page

        write_timeline_page(priced, timeline)
    if as_json:
        print(json.dumps(cost_json(priced), indent=2))
        return
    from rich.console import Console

    Console().print(cost_table(priced))


def _parse_rates(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as exc:
        raise InputError(f"--exit-rates must be shares separated by commas, such as 0.7,0.3; got {text!r}.") from exc


@app.command(name="list")
def list_names(
    kind: Annotated[str, typer.Argument(help="accelerators, backbones, branches or algorithms.")],
) -> None:
    """List what can be named in settings."""
    from offramp.cli.catalogue import describe

    for entry in describe(kind):
        print(f"{entry.name:<22} {entry.description}".rstrip())


if __name__ == "__main__":
    main()
