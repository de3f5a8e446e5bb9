"""The command `offramp predict`."""

import csv
import io
import json
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.cli.detect import predict_sounds
from offramp.errors import InputError
from offramp.files.escaped_text import csv_cell, escaped
from offramp.files.output_names import check_output_name
from offramp.files.safe_files import replacing

if TYPE_CHECKING:
    from offramp.deploy.runtime.sample_inputs import LoadedSample
    from offramp.deploy.runtime.session import EarlyExitSession, Prediction

_COLUMNS = (
    "file",
    "row",
    "class_name",
    "label",
    "confidence",
    "exit",
    "start_s",
    "end_s",
    "macs",
    "energy_pj",
    "latency_cycles",
)


def predict(
    bundle: Annotated[
        Path, typer.Argument(help="An exported bundle: a folder with manifest.json, a .zip of one, or a detector.")
    ],
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Image or sound files, or folders of them at any depth, as the network reads; .npy and .npz files "
            "for a network of series, feature maps or vectors."
        ),
    ],
    rule: Annotated[
        str | None,
        typer.Option(
            help="Exit rule to use in place of the bundle's own: patience:2, cumulative:0.9,0.95, threshold:0.9,0.8, "
            "or another of `offramp list exit-rules`."
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a CSV table to this file, one row an answer.")
    ] = None,
    allow_large: Annotated[
        bool,
        typer.Option(
            "--allow-large", help="Load graphs that take more memory or operations than usual; only if you trust them."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, one object an answer.")] = False,
) -> None:
    """Classify images, sounds or arrays and print the exit of each; with a detector, print whether a sound is normal.

    Args:
        bundle: The bundle, or a detector.
        files: Files and folders.
        allow_large: Whether large graphs are loaded.

    Raises:
        InputError: An exit rule or a table is asked of a detector, a folder holds no fitting file, or the table cannot
            be written or would replace a file that is no table.
    """
    if (bundle / "detector.json").is_file():
        if rule is not None or table is not None:
            raise InputError(
                "A detector decides by its own bands of scores, and writes no CSV: leave out --rule, --csv."
            )
        predict_sounds(bundle, _expanded(files, (".wav",), "sounds"), allow_large=allow_large, as_json=as_json)
        return
    if table is not None:
        check_output_name(table, ".csv")
    from offramp.deploy.bundle.manifest import load_manifest
    from offramp.deploy.runtime.session import EarlyExitSession
    from offramp.exits.rule_text import parse_rule

    decides = None if rule is None else parse_rule(rule, load_manifest(bundle).rule_notation)
    session = EarlyExitSession(bundle, rule=decides, allow_large=allow_large)
    paths = _expanded(files, *_file_kind(session))
    answers = _answers(session, paths)
    if table is not None:
        count = _write_table(table, answers)
        print(f"{table}: {count} answers")
    elif as_json:
        from offramp.jsonio import to_data

        shown = [{"image": str(source.path), "row": source.row, **to_data(answer)} for source, answer in answers]
        print(json.dumps(shown, indent=2))
    else:
        for source, answer in answers:
            print(f"{escaped(str(source))}: {escaped(_described(answer))}")


@dataclass(frozen=True)
class _Source:
    """Where a sample is from: a file, and its row in an array of samples."""

    path: Path
    row: int | None

    def __str__(self) -> str:
        return str(self.path) if self.row is None else f"{self.path}[{self.row}]"


def _file_kind(session: "EarlyExitSession") -> tuple[Collection[str], str]:
    """Suffixes of the files that a network reads, and what they are."""
    from offramp.data.images.image_files import IMAGE_SUFFIXES
    from offramp.data.sound.sound_decoding import SOUND_SUFFIXES
    from offramp.deploy.runtime.array_files import ARRAY_SUFFIXES

    preprocessing = session.manifest.preprocessing
    if preprocessing.input_kind == "pixels":
        return IMAGE_SUFFIXES, "images"
    if preprocessing.input_kind == "mfcc" or preprocessing.sound is not None:
        return SOUND_SUFFIXES, "sounds"
    return ARRAY_SUFFIXES, "arrays"


def _expanded(files: list[Path], suffixes: Collection[str], kind: str) -> list[Path]:
    """The files, with folders replaced by the fitting files in them; what is ignored is said on standard error."""
    from offramp.data.file_listing import list_files

    found: list[Path] = []
    for path in files:
        if not path.is_dir():
            found.append(path)
            continue
        listing = list_files(path, suffixes)
        if not listing.files:
            raise InputError(f"Folder {str(path)!r} must hold {kind} ({', '.join(sorted(suffixes))}), but it has none.")
        for note in listing.notes(path, kind):
            print(f"offramp: {escaped(note)}", file=sys.stderr)
        found += listing.files
    return found


def _answers(session: "EarlyExitSession", paths: list[Path]) -> Iterator[tuple[_Source, "Prediction"]]:
    """The answers with their sources; a long sound or an array may have several."""
    order: list[_Source] = []
    from offramp.deploy.runtime.array_files import ARRAY_SUFFIXES

    def samples() -> Iterator["LoadedSample"]:
        for path in paths:
            for row, sample in enumerate(session.samples_of(path)):
                order.append(_Source(path, row if path.suffix.lower() in ARRAY_SUFFIXES else None))
                yield sample

    # The next files are decoded while one is being classified.
    for number, answer in enumerate(session.stream(samples(), prefetch=8)):
        yield order[number], answer


def _described(answer: "Prediction") -> str:
    part = f", {answer.heard}" if answer.heard else ""
    return f"{answer.class_name} (confidence {answer.confidence:.3f}, left at exit {answer.exit}{part})"


def _write_table(table: Path, answers: Iterator[tuple[_Source, "Prediction"]]) -> int:
    """Write all rows beside the table's place, and put them there at the end; after an error nothing has changed."""
    count = 0
    try:
        with replacing(table) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
            writer = csv.DictWriter(text, _COLUMNS)
            writer.writeheader()
            for source, answer in answers:
                writer.writerow(_row(source, answer))
                count += 1
            text.detach()
    except OSError as exc:
        raise InputError(f"The table cannot be written to {str(table)!r}: {exc.strerror or exc}.") from exc
    return count


def _row(source: _Source, answer: "Prediction") -> dict[str, object]:
    heard, cost = answer.heard, answer.cost
    return {
        "file": csv_cell(str(source.path)),
        "row": source.row,
        "class_name": csv_cell(answer.class_name),
        "label": answer.label,
        "confidence": answer.confidence,
        "exit": answer.exit,
        "start_s": heard.start_s if heard else None,
        "end_s": heard.end_s if heard else None,
        "macs": cost.macs if cost else None,
        "energy_pj": cost.energy_pj if cost else None,
        "latency_cycles": cost.latency_cycles if cost else None,
    }
