"""An anomaly detector as a folder with one graph per stage, and the session that runs it."""

import json
import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from offramp.anomaly.anomaly_rule import AnomalyPolicy
from offramp.data.sound.sound_features import machine_features
from offramp.data.sound.wav import read_wav
from offramp.deploy.bundle.bundle_files import open_files, read_limited
from offramp.deploy.bundle.manifest import listing_faults
from offramp.deploy.bundle.manifest_records import BundleFile
from offramp.deploy.bundle.verification import network_logits
from offramp.deploy.onnx.stage_graphs import stage_models
from offramp.deploy.onnx.value_names import exit_name, features_name, input_name
from offramp.deploy.runtime.graph_sessions import checked_content, start_content
from offramp.errors import BundleError, ExportError, InputError
from offramp.jsonio import loads, to_data
from offramp.nn.network import EarlyExitNetwork

DETECTOR_FILE: Final = "detector.json"
_MAX_STAGES = 16
_MAX_TEXT_BYTES = 2**20
_MAX_GRAPH_BYTES = 64 * 2**20
_TOLERANCE = 1e-4

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class DetectorManifest:
    """What a runtime must know: a window of ``input_shape`` is ``byte / 255`` less ``mean``, divided by ``std``.

    The error of an exit is the mean squared difference between its output and the window, over all windows of a sound.
    ``files`` are the graphs of the stages with their checksums; none are listed before the graphs are written.
    """

    name: str
    input_shape: tuple[int, int, int]
    mean: float
    std: float
    policy: AnomalyPolicy
    macs_to_exit: tuple[int, ...]
    files: tuple[BundleFile, ...] = ()
    format: Literal["offramp-detector"] = "offramp-detector"
    schema_version: Literal[1] = 1

    def __post_init__(self) -> None:
        stages = len(self.policy.scales)
        if not 1 <= stages <= _MAX_STAGES or len(self.macs_to_exit) != stages:
            raise ValueError(f"a detector must have 1 to {_MAX_STAGES} exits with one count of MACs each.")
        if not self.std > 0 or min(self.input_shape) < 1:
            raise ValueError("`std` must be > 0 and `input_shape` must be three sizes >= 1.")
        if self.files and [file.name for file in self.files] != [_stage_file(index) for index in range(stages)]:
            raise ValueError("`files` must be the graphs of all stages, in order.")
        faults = [*listing_faults(self.files)]
        faults += [f"{file.name} is too large" for file in self.files if file.size_bytes > _MAX_GRAPH_BYTES]
        if faults:
            raise ValueError("; ".join(faults))


@dataclass(frozen=True)
class SoundVerdict:
    """Whether a sound is anomalous, the exit that said so, how far beyond its edge, and the MACs of each window."""

    anomalous: bool
    exit: int
    score: float
    macs_per_window: int


def export_detector(
    network: EarlyExitNetwork, manifest: DetectorManifest, destination: Path, checks: Floats, *, overwrite: bool = False
) -> float:
    """Write ``stage_0.onnx``, ... and ``detector.json``; gives the largest difference seen on ``checks``.

    ``checks``: windows ``(count, *input_shape)``, normalised. Raises ExportError, and writes nothing, where graphs do
    not rebuild them as the network does.
    """
    if destination.exists() and not (overwrite and (destination / DETECTOR_FILE).is_file()):
        raise InputError(f"{str(destination)!r} is there already. Allow overwriting a detector or give another path.")
    draft = destination.parent / f".{destination.name}.{secrets.token_hex(4)}.part"
    try:
        draft.mkdir(parents=True)
        graphs = [model.SerializeToString(deterministic=True) for model in stage_models(network)]
        files = tuple(BundleFile.of(_stage_file(index), graph) for index, graph in enumerate(graphs))
        for file, graph in zip(files, graphs, strict=True):
            (draft / file.name).write_bytes(graph)
        manifest = replace(manifest, files=files)
        (draft / DETECTOR_FILE).write_text(json.dumps(to_data(manifest), indent=2) + "\n", encoding="utf-8")
        difference = _largest_difference(draft, network, checks)
        if destination.exists():
            shutil.rmtree(destination)
        draft.rename(destination)
    except OSError as exc:
        raise InputError(f"A detector cannot be written to {str(destination)!r}: {exc.strerror or exc}.") from exc
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return difference


def _largest_difference(draft: Path, network: EarlyExitNetwork, checks: Floats) -> float:
    rebuilt = DetectorSession(draft).rebuild(checks)
    expected = network_logits(network, checks)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(rebuilt, expected, strict=True))
    allowed = _TOLERANCE * max(1.0, *(float(np.abs(output).max()) for output in expected))
    # Put this way round so that NaN fails.
    if not difference <= allowed:
        raise ExportError(
            f"The graphs do not reproduce the network: outputs differ by up to {difference:.3g}, allowed are "
            f"{allowed:.3g}; nothing was written."
        )
    return difference


class DetectorSession:
    """Runs an exported detector with onnxruntime on the CPU; a sound stops at the first exit that is sure.

    Raises BundleError for a file that is missing, changed, or not what ``detector.json`` says.
    """

    def __init__(self, folder: Path | str) -> None:
        self.path = Path(folder)
        text = read_limited(self.path / DETECTOR_FILE, _MAX_TEXT_BYTES)
        what = f"Detector {str(self.path)!r}"
        self.manifest = loads(DetectorManifest, text, what=what, error=BundleError)
        if not self.manifest.files:
            raise BundleError(f"{what} must list its graphs with their checksums, but lists none. Export it again.")
        names = [_stage_file(index) for index in range(len(self.manifest.policy.scales))]
        self._stages = [start_content(self._content(name), str(self.path / name), 1) for name in names]
        self._check_names()

    def detect_files(self, paths: list[Path]) -> tuple[SoundVerdict, ...]:
        """One verdict per WAV file, in order; raises DataError that names a bad file."""
        return tuple(self.detect(machine_features(read_wav(path), str(path))) for path in paths)

    def detect(self, features: NDArray[np.uint8]) -> SoundVerdict:
        """The verdict on one sound, given its features (frames, bands) as bytes."""
        policy = self.manifest.policy
        inputs = normalised_windows(features, self.manifest)
        hidden = inputs
        errors = np.zeros((1, len(self._stages)))
        for index in range(len(self._stages)):
            hidden, output = self._run(index, hidden)
            errors[0, index] = float(np.square(output - inputs.reshape(len(inputs), -1)).mean(dtype=np.float64))
            # Exits behind this one have not been asked: as long as no earlier one is sure, they do not matter.
            verdict = policy.decide(errors)
            if verdict.exits[0] <= index:
                break
        taken = int(verdict.exits[0])
        spent = self.manifest.macs_to_exit[taken]
        return SoundVerdict(bool(verdict.anomalous[0]), taken, float(verdict.scores[0]), spent)

    def rebuild(self, inputs: Floats) -> tuple[Floats, ...]:
        """What every exit makes of normalised windows, nothing skipped."""
        outputs = []
        hidden = inputs
        for index in range(len(self._stages)):
            hidden, output = self._run(index, hidden)
            outputs.append(output)
        return tuple(outputs)

    def _run(self, index: int, hidden: Floats) -> tuple[Floats, Floats]:
        last = index == len(self._stages) - 1
        names = [exit_name(index)] if last else [exit_name(index), features_name(index)]
        results = self._stages[index].run(names, {input_name(index): hidden})
        return (hidden if last else results[1]), results[0]

    def _content(self, name: str) -> bytes:
        """A graph as it was exported."""
        return checked_content(open_files(self.path), self.manifest, name)

    def _check_names(self) -> None:
        for index, stage in enumerate(self._stages):
            inputs = {value.name for value in stage.get_inputs()}
            outputs = {value.name for value in stage.get_outputs()}
            if inputs != {input_name(index)} or exit_name(index) not in outputs:
                raise BundleError(f"{_stage_file(index)} of {str(self.path)!r} is not stage {index} of a detector.")


def normalised_windows(features: NDArray[np.uint8], manifest: DetectorManifest) -> Floats:
    """All windows ``(count, *input_shape)`` of a sound's features (frames, bands)."""
    _, frames, bands = manifest.input_shape
    if features.ndim != 2 or features.shape[0] < frames or features.shape[1] != bands:
        raise InputError(f"`features` must be at least {frames} frames of {bands} bands, got {features.shape}.")
    view = np.lib.stride_tricks.sliding_window_view(features, frames, axis=0).transpose(0, 2, 1)
    values = (view.astype(np.float32) / np.float32(255.0) - np.float32(manifest.mean)) / np.float32(manifest.std)
    return np.ascontiguousarray(values[:, None])


def _stage_file(index: int) -> str:
    return f"stage_{index}.onnx"
