"""What every deployment target must do, as a check that raises AssertionError with a sentence."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.targets.deployment_target import (
    DEPLOYMENT_TARGETS,
    DeploymentSource,
    DeploymentTarget,
    export_target,
)
from offramp.exits.exit_policy import ExitPolicy
from offramp.testing.pass_through import export_pass_through, pass_through

_NUM_SAMPLES, _NUM_EXITS, _NUM_CLASSES = 60, 3, 4


def check_deployment_target(name: str) -> None:
    """Try a registered deployment target on a small network.

    The files must reproduce the network, for one sample alone and in any order of samples, and the answers must come
    from the files.

    Args:
        name: The registered name of the target.

    Raises:
        AssertionError: If the target does not do what it must; the message says what.
        ExportError: If its files do not reproduce the network.
        InputError: If the target lacks something on this machine.
    """
    target = DEPLOYMENT_TARGETS.get(name)
    _require(target.name == name, f"target and registered name must agree, got {target.name!r} and {name!r}")
    _require(bool(target.description), f"target {name!r} must have a description of one line")
    rng = np.random.default_rng(0)
    inputs = rng.normal(scale=2.0, size=(_NUM_SAMPLES, _NUM_EXITS * _NUM_CLASSES, 1, 1)).astype(np.float32)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rule = ExitPolicy("max_probability", (0.8, 0.7))
        bundle = export_pass_through(folder / "bundle", rule, inputs, _NUM_CLASSES)
        source = DeploymentSource(bundle, pass_through(_NUM_EXITS, _NUM_CLASSES))
        export_target(target, source, folder / "written", checks=inputs)
        check_answers(target, folder / "written", inputs)


def check_answers(target: DeploymentTarget, folder: Path, inputs: NDArray[np.float32]) -> None:
    """Check that answers depend on the sample and on the files alone; empties the folder.

    Args:
        target: The target.
        folder: The folder that it has written.
        inputs: Normalised inputs, (samples, channels, height, width).

    Raises:
        AssertionError: If answers depend on other samples, or are given without the files.
    """
    together = target.answers(folder, inputs)
    reverse = target.answers(folder, inputs[::-1])
    _require(
        np.array_equal(reverse.exits[::-1], together.exits), "a sample must be answered alike whatever came before it"
    )
    alone = target.answers(folder, inputs[:1])
    _require(int(alone.exits[0]) == int(together.exits[0]), "one sample alone must be answered as among others")
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    try:
        target.answers(folder, inputs)
    # Each target reports a file that is missing in its own way.
    except Exception:
        return
    raise AssertionError("answers must come from the files of the folder, but there are answers without the files.")


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(f"{sentence}.")
