"""Execution of an exported anomaly detector with onnxruntime."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.anomaly.detector_manifest import DETECTOR_FILE, DetectorManifest, stage_file
from offramp.data.sound.sound_features import machine_features, machine_part
from offramp.data.sound.wav import read_wav
from offramp.data.sound.windows import Heard
from offramp.deploy.bundle.bundle_files import open_files, read_limited
from offramp.deploy.onnx.value_names import exit_name, features_name, input_name
from offramp.deploy.runtime.bundle_graphs import StageSessions
from offramp.deploy.runtime.graph_sessions import checked_graph, run, start_graph
from offramp.deploy.runtime.oldest_runtime import check_runtime
from offramp.errors import BundleError, InputError
from offramp.jsonio import loads

_MAX_TEXT_BYTES = 2**20

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SoundVerdict:
    """The decision on a sound.

    Attributes:
        anomalous: Whether the sound is anomalous.
        exit: Index of the exit that decided, from 0.
        score: Distance of the sound's score from the threshold that decided: at least 0 for an anomalous sound, at
            most 0 for a normal one.
        macs_per_window: Multiply-accumulate operations that each window took.
        heard: The part of the sound that was judged; None for features.
    """

    anomalous: bool
    exit: int
    score: float
    macs_per_window: int
    heard: Heard | None = None


class DetectorSession:
    """Runs an exported detector with onnxruntime on the CPU; a sound stops at the first exit that decides.

    Attributes:
        path: The folder of the detector.
        manifest: Its manifest.
    """

    def __init__(self, folder: Path | str, *, allow_large: bool = False) -> None:
        """Check and load a detector.

        Args:
            folder: The folder of the detector.
            allow_large: Whether a graph may take more memory and operations than `USUAL_LIMIT`.

        Raises:
            BundleError: A file is missing, was changed, or is not what ``detector.json`` says, or the installed
                onnxruntime is too old.
        """
        self.path = Path(folder)
        text = read_limited(self.path / DETECTOR_FILE, _MAX_TEXT_BYTES)
        what = f"Detector {str(self.path)!r}"
        self.manifest = loads(DetectorManifest, text, what=what, error=BundleError, finite=True)
        if not self.manifest.files:
            raise BundleError(f"{what} must list its graphs with their checksums, but lists none. Export it again.")
        check_runtime(self.manifest.oldest_runtime, what)
        names = [stage_file(index) for index in range(len(self.manifest.policy.scales))]
        files = open_files(self.path)
        graphs = {name: checked_graph(files, self.manifest, name, allow_large=allow_large) for name in names}
        self._stages = StageSessions(
            tuple(start_graph(graph, files.where(name), 1) for name, graph in graphs.items()),
            max(graph.demand.live_bytes for graph in graphs.values()),
        )
        self._check_names()

    def detect_files(self, paths: list[Path]) -> tuple[SoundVerdict, ...]:
        """Classify sounds.

        Args:
            paths: WAV files, mono and 16 kHz.

        Returns:
            One verdict per file, in order.

        Raises:
            DataError: A file is missing or not such a sound; the message names it.
        """
        return tuple(map(self._detect_file, paths))

    def _detect_file(self, path: Path) -> SoundVerdict:
        sound = read_wav(path)
        return replace(self.detect(machine_features(sound, str(path))), heard=machine_part(len(sound)))

    def detect(self, features: NDArray[np.uint8]) -> SoundVerdict:
        """Classify one sound.

        Args:
            features: Its features (frames, bands) as bytes.

        Returns:
            The verdict.

        Raises:
            InputError: ``features`` has another number of bands, or fewer frames than a window.
        """
        policy = self.manifest.policy
        inputs = normalised_windows(features, self.manifest)
        hidden = inputs
        errors = np.zeros((1, len(self._stages.sessions)))
        for index in range(len(self._stages.sessions)):
            hidden, output = self._run(index, hidden)
            errors[0, index] = float(np.square(output - inputs.reshape(len(inputs), -1)).mean(dtype=np.float64))
            # The errors of later exits are still 0. They do not matter where this exit or an earlier one decides.
            verdict = policy.decide(errors)
            if verdict.exits[0] <= index:
                break
        taken = int(verdict.exits[0])
        macs = self.manifest.macs_to_exit[taken]
        return SoundVerdict(bool(verdict.anomalous[0]), taken, float(verdict.scores[0]), macs)

    def rebuild(self, inputs: Floats) -> tuple[Floats, ...]:
        """Run all stages on normalised windows.

        Args:
            inputs: Normalised windows of shape ``(count, *input_shape)``.

        Returns:
            The output of each exit (count, features of a window).
        """
        outputs = []
        hidden = inputs
        for index in range(len(self._stages.sessions)):
            hidden, output = self._run(index, hidden)
            outputs.append(output)
        return tuple(outputs)

    def _run(self, index: int, hidden: Floats) -> tuple[Floats, Floats]:
        last = index == len(self._stages.sessions) - 1
        names = [exit_name(index)] if last else [exit_name(index), features_name(index)]
        what = f"Stage {index} of {str(self.path)!r}"
        size = self._stages.batch_size(len(hidden))
        parts = [
            run(self._stages.sessions[index], names, {input_name(index): hidden[start : start + size]}, what)
            for start in range(0, len(hidden), size)
        ]
        results: list[Floats] = [np.concatenate(values) for values in zip(*parts, strict=True)]
        if not all(np.isfinite(values).all() for values in results):
            raise BundleError(f"{what} gave NaN or infinite values, which are no answer.")
        return (hidden if last else results[1]), results[0]

    def _check_names(self) -> None:
        for index, stage in enumerate(self._stages.sessions):
            inputs = {value.name for value in stage.get_inputs()}
            outputs = {value.name for value in stage.get_outputs()}
            if inputs != {input_name(index)} or exit_name(index) not in outputs:
                raise BundleError(f"{stage_file(index)} of {str(self.path)!r} is not stage {index} of a detector.")


def normalised_windows(features: NDArray[np.uint8], manifest: DetectorManifest) -> Floats:
    """All windows of a sound as inputs of the graphs.

    Args:
        features: Features of the sound (frames, bands) as bytes.
        manifest: The manifest of the detector.

    Returns:
        Normalised windows of shape ``(count, *input_shape)``, one for each frame at which a whole window begins.

    Raises:
        InputError: ``features`` has another number of bands, or fewer frames than a window.
    """
    _, frames, bands = manifest.input_shape
    if features.ndim != 2 or features.shape[0] < frames or features.shape[1] != bands:
        raise InputError(f"`features` must be at least {frames} frames of {bands} bands, got {features.shape}.")
    view = np.lib.stride_tricks.sliding_window_view(features, frames, axis=0).transpose(0, 2, 1)
    values = (view.astype(np.float32) / np.float32(255.0) - np.float32(manifest.mean)) / np.float32(manifest.std)
    return np.ascontiguousarray(values[:, None])
