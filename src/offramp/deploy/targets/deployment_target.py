"""Deployment targets: the forms in which a network is delivered, each written only if it reproduces the network."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bundle.verification import Agreement, Comparison, Logits, check_exits, network_logits
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import ExportError, InputError, OfframpError
from offramp.nn.network import EarlyExitNetwork
from offramp.registry import Registry, object_like

# That of a bundle in floating point, for bundles that do not state theirs.
_TOLERANCE = 1e-4

BUNDLE_TARGET = "onnx"
"""The target that a run always writes: all others are made from its bundle."""
INT8_TARGET = "int8"
"""The target that a run also writes for a network with weights of fewer than 8 bits."""


@dataclass(frozen=True, eq=False)
class DeploymentSource:
    """What a target is made from.

    Attributes:
        bundle: A verified bundle: a folder, or a .zip of one.
        network: The network that the bundle was made from; None where only the bundle is at hand.
    """

    bundle: Path
    network: EarlyExitNetwork | None = None


@dataclass(frozen=True, eq=False)
class TargetAnswers:
    """What the files of a target answer.

    Attributes:
        exits: The exit that each sample left at, (samples,).
        logits: The logits of that exit, (samples, classes).
    """

    exits: NDArray[np.integer]
    logits: NDArray[np.float32]


class DeploymentTarget(Protocol):
    """A form in which a network is delivered; registered in `DEPLOYMENT_TARGETS`.

    Attributes:
        name: The registered name; also the name of the folder that a run writes.
        description: What is written, in one line.
    """

    @property
    def name(self) -> str:
        """The registered name."""
        ...

    @property
    def description(self) -> str:
        """What is written, in one line."""
        ...

    def check_ready(self) -> None:
        """Check, before any work, that what the target needs on this machine is there.

        Raises:
            InputError: If something is missing; the message says how to get it.
        """
        ...

    def export(self, source: DeploymentSource, folder: Path) -> None:
        """Write the files.

        Args:
            source: What the target is made from.
            folder: An empty folder.

        Raises:
            InputError: If the network cannot be written in this form, or a file cannot be written.
        """
        ...

    def answers(self, folder: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
        """Run the files that were written, and nothing else, one sample at a time.

        Args:
            folder: The folder that `export` has written.
            inputs: Normalised inputs, (samples, channels, height, width).

        Returns:
            What the files answer.
        """
        ...


@dataclass(frozen=True)
class WrittenTarget:
    """A deployment target that lies beside a bundle.

    Attributes:
        name: The registered name of the target.
        rule: The pick that the network was finished for.
        folder: Its folder.
    """

    name: str
    rule: str
    folder: Path


DEPLOYMENT_TARGETS: Registry[DeploymentTarget] = Registry(
    "deployment target",
    "offramp.deploy.targets",
    entry_points="offramp.deployment_targets",
    expects=object_like(DeploymentTarget),
)


def check_target_ready(target: DeploymentTarget) -> None:
    """Check, before any work, that a target has what it needs on this machine.

    Args:
        target: The target, see `DEPLOYMENT_TARGETS`.

    Raises:
        InputError: If the target lacks something.
        ExportError: If the check itself fails; the message names the target.
    """
    with _target_errors(target, "check_ready"):
        target.check_ready()


def export_target(
    target: DeploymentTarget,
    source: DeploymentSource,
    folder: Path,
    *,
    checks: NDArray[np.float32],
    overwrite: bool = False,
) -> Agreement:
    """Write a target, run it on ``checks``, and keep it only if it answers as the network does.

    Logits may differ by the tolerance that the bundle was verified with; only samples whose score is as near to a
    threshold may leave at another exit.

    Args:
        target: The target, see `DEPLOYMENT_TARGETS`.
        source: What it is made from.
        folder: Where to write it: a new or empty folder.
        checks: Normalised inputs, (samples, channels, height, width).
        overwrite: Whether a folder that holds files is replaced.

    Returns:
        How well the files agree with the network.

    Raises:
        InputError: If ``folder`` cannot be written, or the target lacks something.
        ExportError: If the code of the target fails, or its files do not reproduce the network; the message names
            the target, and nothing is kept.
    """
    check_target_ready(target)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"A target is written to a folder; {str(folder)!r} is something else. Give another path.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(f"{str(folder)!r} must be a new or empty folder, but it holds files.")
    destination = folder.resolve()
    draft = destination.parent / f".{destination.name}.{secrets.token_hex(4)}.part"
    try:
        draft.mkdir(parents=True)
        with _target_errors(target, "export"):
            target.export(source, draft)
        if not any(path.is_file() for path in draft.rglob("*")):
            raise ExportError(f"Target {target.name!r} must write files, but its `export` wrote none.")
        agreement = _verified(target, source, draft, checks)
        if destination.exists():
            shutil.rmtree(destination)
        draft.rename(destination)
    except OSError as exc:
        raise InputError(
            f"Target {target.name!r} cannot be written to {str(folder)!r}: {exc.strerror or exc}."
        ) from exc
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return agreement


@contextmanager
def _target_errors(target: DeploymentTarget, method: str) -> Iterator[None]:
    """Convert what the code of a target raises into an error that names the target and the method."""
    try:
        yield
    except OfframpError:
        raise
    # A target may be of another package and raise anything; a compiler that it calls in this process may exit.
    except (Exception, SystemExit) as exc:
        reason = f"{type(exc).__name__}: {' '.join(str(exc).split())}".rstrip(": .")
        raise ExportError(f"Target {target.name!r} failed in its `{method}`: {reason}; nothing was written.") from exc


def _verified(
    target: DeploymentTarget, source: DeploymentSource, draft: Path, inputs: NDArray[np.float32]
) -> Agreement:
    session = EarlyExitSession(source.bundle, allow_large=True)
    stated = session.manifest.verification
    tolerance, stray_share = (_TOLERANCE, 0.0) if stated is None else (stated.tolerance, stated.stray_share)
    expected: Logits = (
        session.all_logits(inputs, normalised=True)
        if source.network is None
        else network_logits(source.network, inputs)
    )
    answers = _answers(target, draft, inputs, len(expected), expected[-1].shape[1])
    what = f"Target {target.name!r}"
    comparison = Comparison(len(inputs), int(stray_share * len(inputs)))
    scales = [max(1.0, float(np.abs(logits).max())) for logits in expected]
    for index, ours in enumerate(expected):
        rows = np.flatnonzero(answers.exits == index)
        if len(rows):
            comparison.add(what, index, rows, ours[rows], answers.logits[rows], tolerance * scales[index])
    rule = session.manifest.policy
    # Logits of the exits that nobody left at are not seen: they may be off by as much as is allowed.
    slack = np.maximum(comparison.slack(), tolerance * max(scales))
    undecided = rule.undecided(expected, slack)
    moved = check_exits(what, rule.decide(expected), answers.exits, undecided)
    return Agreement(
        largest_difference=float(comparison.largest.max()),
        logit_scale=max(scales),
        num_on_threshold=int(undecided.sum()),
        num_moved=int(moved.sum()),
        num_strays=int(comparison.strays.sum()),
    )


def _answers(
    target: DeploymentTarget, draft: Path, inputs: NDArray[np.float32], exits: int, classes: int
) -> TargetAnswers:
    """The answers of a target, with the types, shapes and exits that they must have."""
    with _target_errors(target, "answers"):
        answers = target.answers(draft, inputs)
    # The annotations promise these types; the code of another package may break them.
    given: object = answers
    if not isinstance(given, TargetAnswers):
        raise ExportError(
            f"Target {target.name!r} must answer with TargetAnswers, got {type(given).__name__}; nothing was written."
        )
    for name, kind, words in (("exits", np.integer, "integers"), ("logits", np.floating, "floating-point numbers")):
        array: object = getattr(answers, name)
        if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, kind):
            got = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise ExportError(
                f"Target {target.name!r} must answer with {name} in a NumPy array of {words}, got {got}; nothing was "
                "written."
            )
    if answers.exits.shape != (len(inputs),) or answers.logits.shape != (len(inputs), classes):
        raise ExportError(
            f"Target {target.name!r} must answer with {len(inputs)} exits and logits of {classes} classes each, got "
            f"shapes {answers.exits.shape} and {answers.logits.shape}; nothing was written."
        )
    if not np.isin(answers.exits, range(exits)).all():
        raise ExportError(
            f"Target {target.name!r} must answer with exits from 0 to {exits - 1}, got "
            f"{sorted(set(answers.exits.tolist()))}; nothing was written."
        )
    return answers
