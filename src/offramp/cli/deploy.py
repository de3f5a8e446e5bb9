"""Commands that use an exported bundle: `offramp predict`, `bench`, `export-web` and `export-int8`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from offramp.cli.detect import predict_sounds
from offramp.errors import InputError

if TYPE_CHECKING:
    from offramp.deploy.bench.latency_bench import BenchResult

_Bundle = Annotated[
    Path, typer.Argument(help="An exported bundle: a folder with manifest.json, a .zip of one, or a detector.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def predict(
    bundle: _Bundle,
    images: Annotated[list[Path], typer.Argument(help="Image files; .wav files for a network of speech.")],
    rule: Annotated[
        str | None,
        typer.Option(
            help="Exit rule to use in place of the bundle's own: patience:2, cumulative:0.9,0.95, threshold:0.9,0.8, "
            "or another of `offramp list exit-rules`."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, one object an image.")] = False,
) -> None:
    """Classify images or sounds and print the exit of each; with a detector, print whether a sound is anomalous.

    Args:
        bundle: The bundle, or a detector.

    Raises:
        InputError: An exit rule is given for a detector.
    """
    if (bundle / "detector.json").is_file():
        if rule is not None:
            raise InputError("A detector decides by its own bands of scores; leave out --rule.")
        predict_sounds(bundle, images, as_json=as_json)
        return
    from offramp.deploy.bundle.manifest import load_manifest
    from offramp.deploy.runtime.session import EarlyExitSession
    from offramp.exits.rule_text import parse_rule
    from offramp.jsonio import to_data

    # The next files are decoded while one is being classified.
    decides = None if rule is None else parse_rule(rule, load_manifest(bundle).rule_notation)
    predictions = EarlyExitSession(bundle, rule=decides).stream(images, prefetch=8)
    if as_json:
        rows = [{"image": str(path), **to_data(p)} for path, p in zip(images, predictions, strict=True)]
        print(json.dumps(rows, indent=2))
        return
    for path, prediction in zip(images, predictions, strict=True):
        print(
            f"{path}: {prediction.class_name} (confidence {prediction.confidence:.3f}, left at exit {prediction.exit})"
        )


def bench(
    bundle: _Bundle,
    data: Annotated[
        str | None,
        typer.Option(help="Labelled images to take exit rates from (default: the validation rates in the manifest)."),
    ] = None,
    split: Annotated[
        Literal["test", "validation"], typer.Option(help="Split of the data to take exit rates from.")
    ] = "test",
    rounds: Annotated[int, typer.Option(min=2, help="How often everything is measured.")] = 300,
    threads: Annotated[int, typer.Option(min=1, help="Threads inside an operator.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of the split (default: the bundle's).")] = None,
    as_json: _Json = False,
) -> None:
    """Measure a bundle's latency per exit on this machine, against the same network without early exits.

    Args:
        bundle: The bundle.
        as_json: Whether JSON is printed, not tables.
    """
    from offramp.deploy.bench.latency_bench import bench as run_bench
    from offramp.deploy.bench.paired_timing import BenchSettings
    from offramp.deploy.bundle.bundle_files import open_files
    from offramp.deploy.bundle.manifest import load_manifest
    from offramp.jsonio import to_data

    settings = BenchSettings(rounds=rounds, num_threads=threads)
    if data is None:
        result = run_bench(bundle, settings=settings)
    else:
        from offramp.data.labelled_data import load_dataset

        manifest = load_manifest(open_files(bundle))
        _, height, width = manifest.input_shape
        dataset = load_dataset(
            data,
            seed=manifest.seed if seed is None else seed,
            image_size=height if height == width else None,
        )
        images = getattr(dataset.splits, split).images
        result = run_bench(bundle, images=images, source=f"{dataset.name}, {split} split", settings=settings)
    if as_json:
        print(json.dumps(to_data(result), indent=2))
    else:
        _print_bench(result)


def _print_bench(result: "BenchResult") -> None:
    from rich.console import Console

    from offramp.report.terminal.bench_table import bench_notes, bench_table

    console = Console()
    console.print(bench_table(result))
    for note in bench_notes(result):
        console.print(note, highlight=False, markup=False)


def export_web(
    bundle: _Bundle,
    folder: Annotated[Path, typer.Argument(help="Where to write the page: a new or empty folder.")],
    runtime: Annotated[
        Path, typer.Option(help="The onnxruntime-web package: node_modules/onnxruntime-web after `npm install`.")
    ],
) -> None:
    """Write a web page that runs the bundle in the browser, with onnxruntime-web.

    Args:
        bundle: The bundle.
    """
    from offramp.deploy.targets.web.web_target import export_web as write

    page = write(bundle, folder, runtime=runtime)
    print(page)


def export_int8(
    bundle: _Bundle,
    folder: Annotated[Path, typer.Argument(help="Where to write the copy: a new or empty folder.")],
) -> None:
    """Copy a bundle with its 4-bit and ternary weights stored in 8 bits, for older runtimes and other tools.

    Args:
        bundle: The bundle.
        folder: The folder of the copy.
    """
    from offramp.deploy.bundle.widened_bundle import widen_bundle

    manifest = widen_bundle(bundle, folder)
    print(f"{folder} (onnxruntime {manifest.oldest_runtime} or newer)")
