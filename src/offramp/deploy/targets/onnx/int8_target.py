"""The bundle with narrow weights stored in 8 bits, as a target."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE
from offramp.deploy.bundle.widened_bundle import widen_bundle
from offramp.deploy.targets.deployment_target import DEPLOYMENT_TARGETS, INT8_TARGET, DeploymentSource, TargetAnswers
from offramp.deploy.targets.onnx.onnx_target import early_exit_answers


@dataclass(frozen=True)
class Int8Target:
    """The bundle of `widen_bundle`.

    Attributes:
        name: The registered name.
        description: What is written, in one line.
    """

    name: str = INT8_TARGET
    description: str = "the bundle with 4-bit and ternary weights stored in 8 bits, for older runtimes and other tools"

    def check_ready(self) -> None:
        """Nothing is needed beyond the packages of offramp."""

    def export(self, source: DeploymentSource, folder: Path) -> None:
        """See `DeploymentTarget.export`."""
        widen_bundle(source.bundle, folder)

    def answers(self, folder: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
        """See `DeploymentTarget.answers`; those of the file that leaves early."""
        return early_exit_answers(folder / EARLY_EXIT_FILE, inputs)


DEPLOYMENT_TARGETS.add(INT8_TARGET, Int8Target())
