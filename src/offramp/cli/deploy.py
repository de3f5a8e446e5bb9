"""Commands that use an exported bundle: `offramp bench`, `export-web`, `export-c` and `export-int8`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from offramp.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from offramp.data.labelled_data import Dataset
    from offramp.deploy.bench.device_bench import DeviceBench
    from offramp.deploy.bench.latency_bench import BenchResult
    from offramp.deploy.bundle.manifest import Manifest

_Bundle = Annotated[
    Path, typer.Argument(help="An exported bundle: a folder with manifest.json, a .zip of one, or a detector.")
]
_AllowLarge = Annotated[
    bool,
    typer.Option(
        "--allow-large", help="Load graphs that take more memory or operations than usual; only if you trust them."
    ),
]
_MOST_NAMED = 5
_MOST_COMPARED = 1000
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
    target: Annotated[
        str,
        typer.Option(help="Where: host, or a chip in QEMU whose instructions are counted, such as qemu:cortex-m4."),
    ] = "host",
    seed: Annotated[int | None, typer.Option(help="Seed of the split (default: the bundle's).")] = None,
    allow_large: _AllowLarge = False,
    as_json: _Json = False,
) -> None:
    """Measure a bundle's latency per exit on this machine, or its instructions on a microcontroller.

    Both are compared with the same network without early exits.

    Args:
        bundle: The bundle.
        allow_large: Whether large graphs are loaded.
        as_json: Whether JSON is printed, not tables.

    Raises:
        InputError: The data have other classes than the bundle.
    """
    from offramp.deploy.bench.latency_bench import bench as run_bench
    from offramp.deploy.bench.paired_timing import BenchSettings

    settings = BenchSettings(rounds=rounds, num_threads=threads)
    images, source = None, "images"
    kind, _, chip = target.partition(":")
    if target != "host" and (kind != "qemu" or not chip):
        raise InputError(f"`--target` must be host or qemu:CHIP, such as qemu:cortex-m4, got {target!r}.")
    if data is not None:
        from offramp.data.sample_kinds import user_layout
        from offramp.deploy.bundle.bundle_files import open_files
        from offramp.deploy.bundle.manifest import load_manifest

        dataset = _dataset_for(load_manifest(open_files(bundle)), data, seed)
        images = user_layout(dataset.input_kind, getattr(dataset.splits, split).samples)
        source = f"{dataset.name}, {split} split"
    if chip:
        from offramp.deploy.bench.device_bench import bench_on_device

        counted = bench_on_device(bundle, chip, images=images, source=source, allow_large=allow_large)
        _print_device_bench(counted, as_json=as_json)
    else:
        measured = run_bench(bundle, images=images, source=source, settings=settings, allow_large=allow_large)
        _print_bench(measured, as_json=as_json)


def _dataset_for(manifest: "Manifest", data: str, seed: int | None) -> "Dataset":
    """Load labelled data as the network of a bundle reads them; without a seed, that of the bundle splits them."""
    from offramp.data.dataset_loading import load_dataset
    from offramp.data.sample_kinds import sample_shape

    _, height, width = manifest.input_shape
    dataset = load_dataset(
        data,
        seed=manifest.seed if seed is None else seed,
        image_size=height if height == width and manifest.preprocessing.input_kind == "pixels" else None,
        long_sounds=manifest.preprocessing.long_sounds,
        sound=manifest.preprocessing.sound,
        kind=None if manifest.preprocessing.input_kind == "mfcc" else manifest.preprocessing.input_kind,
    )
    if dataset.sample_shape != sample_shape(manifest.preprocessing.input_kind, manifest.input_shape):
        raise InputError(
            f"The samples of {dataset.name!r} must have the shape that the bundle reads, "
            f"{sample_shape(manifest.preprocessing.input_kind, manifest.input_shape)}, got {dataset.sample_shape}."
        )
    _check_classes(dataset.class_names, manifest.class_names, dataset.name)
    return dataset


def _check_classes(given: Sequence[str], expected: Sequence[str], data: str) -> None:
    """Exit rates of one task say nothing of another."""
    if tuple(given) != tuple(expected):
        raise InputError(
            f"The data must have the classes of the bundle, {_listed(expected)}, but {data!r} has {_listed(given)}."
        )


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(map(repr, names[:_MOST_NAMED]))}{', ...' if len(names) > _MOST_NAMED else ''} ({len(names)})"


def _print_bench(result: "BenchResult", *, as_json: bool) -> None:
    from offramp.report.terminal.bench_table import bench_notes, bench_table

    _print_result(result, bench_table(result), bench_notes(result), as_json=as_json)


def _print_device_bench(result: "DeviceBench", *, as_json: bool) -> None:
    from offramp.report.terminal.device_bench_table import device_bench_notes, device_bench_table

    _print_result(result, device_bench_table(result), device_bench_notes(result), as_json=as_json)


def _print_result(result: object, table: "Table", notes: Sequence[str], *, as_json: bool) -> None:
    from offramp.files.safe_console import SafeConsole
    from offramp.jsonio import to_data

    if as_json:
        print(json.dumps(to_data(result), indent=2))
        return
    console = SafeConsole()
    console.print(table)
    for note in notes:
        console.print(note, highlight=False, markup=False)


def export_web(
    bundle: _Bundle,
    folder: Annotated[Path, typer.Argument(help="Where to write the page: a new or empty folder.")],
    runtime: Annotated[
        Path, typer.Option(help="The onnxruntime-web package: node_modules/onnxruntime-web after `npm install`.")
    ],
    allow_large: _AllowLarge = False,
) -> None:
    """Write a web page that runs the bundle in the browser, with onnxruntime-web.

    Args:
        bundle: The bundle.
        allow_large: Whether large graphs are loaded.
    """
    from offramp.deploy.targets.web.web_target import export_web as write

    page = write(bundle, folder, runtime=runtime, allow_large=allow_large)
    print(page)


def export_c(
    bundle: _Bundle,
    folder: Annotated[Path, typer.Argument(help="Where to write the files: a new or empty folder.")],
    prefix: Annotated[str, typer.Option(help="What all names begin with that are visible outside.")] = "network",
    ram: Annotated[str | None, typer.Option(help="How much memory maps may take, such as 64k.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Labelled data whose test split is compared on (default: random images).")
    ] = None,
    allow_large: _AllowLarge = False,
) -> None:
    """Write a quantised bundle as C99 for microcontrollers, and compare it with the integer network.

    Args:
        bundle: The bundle.
        folder: The folder of the files.
        prefix: What the names begin with.
        ram: The largest size of all maps, in bytes, or with k or M.
        data: Data to compare on.
        allow_large: Whether large graphs are loaded.
    """
    from offramp.deploy.targets.c.c_target import export_c as write

    pixels, source = None, "random images"
    if data is not None:
        from offramp.deploy.bundle.bundle_files import open_files
        from offramp.deploy.bundle.manifest import load_manifest

        samples = _dataset_for(load_manifest(open_files(bundle)), data, None).splits.test.samples[:_MOST_COMPARED]
        pixels = samples.astype("uint8", copy=False)
        source = f"samples of {data}"
    ram_bytes = None if ram is None else _num_bytes(ram)
    done = write(bundle, folder, prefix=prefix, ram_bytes=ram_bytes, pixels=pixels, allow_large=allow_large)
    print(f"{folder} ({done.plan.ram_bytes:,} bytes of RAM for maps)")
    if done.num_compared:
        print(f"Compiled and run on {done.num_compared} {source}: logits equal to the bit, exits and classes equal.")
        if done.num_moved:
            print(f"{done.num_moved} of them lie on a threshold within 2^-28 and left elsewhere.")
    else:
        print("Not compared with the integer network: no C compiler (cc, gcc or clang) was found.")


def _num_bytes(text: str) -> int:
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("k", "K", "M") else (text, "")
    if not number.isascii() or not number.isdigit() or len(number) > 12 or int(number) == 0:
        raise InputError(f"`--ram` must be a number of bytes such as 65536, 64k or 1M, got {text!r}.")
    return int(number) * {"": 1, "k": 2**10, "K": 2**10, "M": 2**20}[unit]


def export_int8(
    bundle: _Bundle,
    folder: Annotated[Path, typer.Argument(help="Where to write the copy: a new or empty folder.")],
    allow_large: _AllowLarge = False,
) -> None:
    """Copy a bundle with its 4-bit and ternary weights stored in 8 bits, for older runtimes and other tools.

    Args:
        bundle: The bundle.
        folder: The folder of the copy.
        allow_large: Whether large graphs are loaded.
    """
    from offramp.deploy.bundle.widened_bundle import widen_bundle

    manifest = widen_bundle(bundle, folder, allow_large=allow_large)
    print(f"{folder} (onnxruntime {manifest.oldest_runtime} or newer)")
