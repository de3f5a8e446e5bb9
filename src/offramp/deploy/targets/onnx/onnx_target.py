"""The bundle itself as a target: ONNX graphs and their manifest."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bundle.bundle_files import MANIFEST_FILE, open_files
from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE, manifest_text
from offramp.deploy.onnx.value_names import EXIT, IMAGES, LOGITS
from offramp.deploy.runtime.graph_sessions import checked_content, run, start_content
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.deploy.targets.deployment_target import (
    BUNDLE_TARGET,
    DEPLOYMENT_TARGETS,
    DeploymentSource,
    TargetAnswers,
)
from offramp.files.safe_files import write_atomically


@dataclass(frozen=True)
class OnnxTarget:
    """The files of the bundle, with onnxruntime as what runs them.

    Attributes:
        name: The registered name.
        description: What is written, in one line.
    """

    name: str = BUNDLE_TARGET
    description: str = "the bundle: ONNX graphs and a manifest; always written, and what other targets are made from"

    def check_ready(self) -> None:
        """Nothing is needed beyond the packages of offramp."""

    def export(self, source: DeploymentSource, folder: Path) -> None:
        """See `DeploymentTarget.export`."""
        files, manifest = open_files(source.bundle), EarlyExitSession(source.bundle, allow_large=True).manifest
        for file in manifest.files:
            write_atomically(folder / file.name, checked_content(files, manifest, file.name))
        write_atomically(folder / MANIFEST_FILE, manifest_text(manifest))

    def answers(self, folder: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
        """See `DeploymentTarget.answers`; those of the file that leaves early."""
        return early_exit_answers(folder / EARLY_EXIT_FILE, inputs)


def early_exit_answers(file: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
    """Run a file that leaves early, with the thresholds it carries, one sample at a time.

    Args:
        file: The ONNX file.
        inputs: Normalised inputs, (samples, channels, height, width).

    Returns:
        The exits and logits that it gives.

    Raises:
        BundleError: If the file is not safe to run, or cannot be run.
    """
    model = start_content(file.read_bytes(), file.name, 1, branches=True, allow_large=True)
    results = [run(model, [EXIT, LOGITS], {IMAGES: inputs[row : row + 1]}, file.name) for row in range(len(inputs))]
    exits = np.array([int(taken[0]) for taken, _ in results])
    return TargetAnswers(exits, np.concatenate([logits for _, logits in results]))


DEPLOYMENT_TARGETS.add(BUNDLE_TARGET, OnnxTarget())
