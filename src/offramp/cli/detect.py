"""The command `offramp detect`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offramp.errors import InputError
from offramp.files.escaped_text import escaped

if TYPE_CHECKING:
    from offramp.anomaly.detector_training import DetectorRecord


def detect(
    data: Annotated[Path, typer.Argument(help="Folder of one kind of machine, as ToyADMOS is published.")],
    run: Annotated[Path, typer.Option(help="Folder for checkpoint, record and detector.")] = Path("runs/detector"),
    exits: Annotated[str, typer.Option(help="Layers (1 to 9) that may carry an exit, such as 1,5.")] = "1,5",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 20,
    auc_drop: Annotated[float, typer.Option(help="AUC on validation sounds that leaving early may cost.")] = 0.0,
    accelerator: Annotated[str, typer.Option(help="Name or YAML file.")] = "edge-tpu-quad",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the training in --run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in --run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Train a detector of anomalous machine sounds that decides early, and export it."""
    from offramp.anomaly.detector_training import DetectorSettings, train_detector
    from offramp.progress import SilentReporter, TerminalReporter

    settings = DetectorSettings(
        exits=_parse_exits(exits), epochs=epochs, auc_drop=auc_drop, accelerator=accelerator, seed=seed
    )
    reporter = SilentReporter() if quiet else TerminalReporter()
    record = train_detector(data, run, settings, reporter=reporter, resume=resume, overwrite=overwrite)
    for line in _lines(record):
        print(line)
    print(f"Detector: {run / 'detector'}")


def predict_sounds(detector: Path, sounds: list[Path], *, allow_large: bool, as_json: bool) -> None:
    """Judge sounds with a detector and print the verdicts; what `offramp predict` does with a detector.

    Args:
        detector: The folder of the detector.
        sounds: The .wav files.
        allow_large: Whether large graphs are loaded.
        as_json: Whether JSON is printed, not lines of text.
    """
    from offramp.anomaly.detector_session import DetectorSession
    from offramp.jsonio import to_data

    verdicts = DetectorSession(detector, allow_large=allow_large).detect_files(sounds)
    if as_json:
        rows = [{"sound": str(path), **to_data(v)} for path, v in zip(sounds, verdicts, strict=True)]
        print(json.dumps(rows, indent=2))
        return
    for path, verdict in zip(sounds, verdicts, strict=True):
        word = "anomalous" if verdict.anomalous else "normal"
        print(f"{escaped(str(path))}: {word} (score {verdict.score:.2f}, left at exit {verdict.exit}, {verdict.heard})")


def _lines(record: "DetectorRecord") -> list[str]:
    def shares(rates: tuple[float, ...]) -> str:
        return "/".join(f"{100 * rate:.0f}" for rate in rates)

    exits = ", ".join(map(str, record.exits)) or "none"
    lines = [f"{record.name}: exits behind layer {exits}; MACs to each exit {record.macs_to_exit}"]
    splits = (
        ("validation", record.validation, record.expected_validation),
        ("test", record.test, record.expected_test),
    )
    for name, found, cost in splits:
        lines.append(
            f"{name:<10} AUC {found.auc:.3f} (each exit alone: {', '.join(f'{a:.3f}' for a in found.exit_aucs)}), "
            f"{100 * found.detections:.0f} % of anomalies found, {100 * found.false_alarms:.0f} % false alarms, "
            f"leaving {shares(found.rates)} %"
        )
        lines.append(
            f"{'':<10} per window {cost.macs:.0f} MACs ({100 * cost.macs / record.static_macs:.0f} % of static), "
            f"{cost.energy_pj / 1e6:.2f} uJ ({100 * cost.energy_pj / record.static_energy_pj:.0f} %), "
            f"{cost.latency_cycles:.0f} cycles ({100 * cost.latency_cycles / record.static_latency_cycles:.0f} %)"
        )
    return lines


def _parse_exits(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as exc:
        raise InputError(f"--exits must be numbers of layers separated by commas, such as 1,5; got {text!r}.") from exc
