"""The manifest of an exported anomaly detector: ``detector.json``."""

from dataclasses import dataclass
from typing import Final, Literal

from offramp.anomaly.anomaly_policy import AnomalyPolicy
from offramp.deploy.bundle.manifest import listing_faults
from offramp.deploy.bundle.manifest_records import BundleFile
from offramp.deploy.runtime.oldest_runtime import is_version

DETECTOR_FILE: Final = "detector.json"
"""Name of the manifest in the folder of a detector."""

_MAX_STAGES = 16
_MAX_GRAPH_BYTES = 64 * 2**20


@dataclass(frozen=True)
class DetectorManifest:
    """What a runtime must know of a detector.

    The error of an exit is the mean squared difference between its output and the window, over all windows of a sound.

    Attributes:
        name: Name of the kind of machine.
        input_shape: Shape of a window (1, frames, bands).
        mean: Mean of the bytes divided by 255; an input is ``(byte / 255 - mean) / std``.
        std: Standard deviation of the bytes divided by 255; above 0.
        policy: The policy, of 1 to 16 exits.
        macs_to_exit: Multiply-accumulate operations of a window up to each exit, with all branches that it passes.
        files: The graphs of the stages in order, with their checksums; empty until the graphs are written.
        format: Name of the format.
        schema_version: Version of the format.
        oldest_runtime: The oldest version of onnxruntime that runs the graphs; None in older detectors.
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
    oldest_runtime: str | None = None

    def __post_init__(self) -> None:
        stages = len(self.policy.scales)
        if not 1 <= stages <= _MAX_STAGES or len(self.macs_to_exit) != stages:
            raise ValueError(f"a detector must have 1 to {_MAX_STAGES} exits with one count of MACs each.")
        if not self.std > 0 or min(self.input_shape) < 1:
            raise ValueError("`std` must be > 0 and `input_shape` must be three sizes >= 1.")
        if self.files and [file.name for file in self.files] != [stage_file(index) for index in range(stages)]:
            raise ValueError("`files` must be the graphs of all stages, in order.")
        faults = [*listing_faults(self.files)]
        faults += [f"{file.name} is too large" for file in self.files if file.size_bytes > _MAX_GRAPH_BYTES]
        if self.oldest_runtime is not None and not is_version(self.oldest_runtime):
            faults.append(f"`oldest_runtime` must be a version such as 1.23.0, got {self.oldest_runtime!r:.100}")
        if faults:
            raise ValueError("; ".join(faults))


def stage_file(index: int) -> str:
    """Name of the file of a stage.

    Args:
        index: Index of the stage, from 0.

    Returns:
        A file name such as ``stage_0.onnx``.
    """
    return f"stage_{index}.onnx"
