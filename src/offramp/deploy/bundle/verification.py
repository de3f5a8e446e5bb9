"""Does an exported bundle answer as the network does?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE, MODEL_FILE
from offramp.deploy.onnx.stage_graphs import frozen_copy
from offramp.deploy.onnx.value_names import EXIT, IMAGES, LOGITS, exit_name
from offramp.deploy.runtime.graph_sessions import start_content
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import BundleError, ExportError
from offramp.exits.exit_rule import ExitRule
from offramp.nn.network import EarlyExitNetwork

_BATCH = 64
_ROUNDING_FACTOR, _MOST_ROUNDING = 10.0, 0.01

Logits = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Agreement:
    """How far the files are from the network over all exits and samples.

    Attributes:
        largest_difference: The largest difference of two logits.
        logit_scale: The largest logit, at least 1.
        num_on_threshold: Samples whose score is so close to a threshold that the difference, allowed as such, could
            move them to another exit.
        num_moved: Samples that it moved.
        num_strays: Samples that differ by more than the tolerance, as some may.
    """

    largest_difference: float
    logit_scale: float
    num_on_threshold: int
    num_moved: int
    num_strays: int = 0


def network_logits(network: EarlyExitNetwork, inputs: NDArray[np.float32]) -> Logits:
    """Run the network itself, in evaluation mode.

    Args:
        network: The network.
        inputs: Normalised inputs, (samples, channels, height, width).

    Returns:
        Logits of every exit.
    """
    frozen = frozen_copy(network)
    parts = []
    with torch.inference_mode():
        for batch in _batches(inputs):
            parts.append([logits.numpy() for logits in frozen(torch.from_numpy(batch))])
    return tuple(np.concatenate(exits) for exits in zip(*parts, strict=True))


def rounding_tolerance(network: EarlyExitNetwork, inputs: NDArray[np.float32]) -> float:
    """The share of the largest logit by which a file of a float network may differ for reasons of rounding alone.

    Ten times the difference between float32 and float64, at most 1 %: runtimes add in another order and approximate
    functions, each about as exact as float32, and what a network does to such errors it does to all of them.

    Args:
        network: The network.
        inputs: Normalised inputs, (samples, channels, height, width).

    Returns:
        The share.
    """
    rough = network_logits(network, inputs)
    exact_network = frozen_copy(network).double()
    parts = []
    with torch.inference_mode():
        for batch in _batches(inputs):
            parts.append([logits.numpy() for logits in exact_network(torch.from_numpy(batch).double())])
    exact = [np.concatenate(exits) for exits in zip(*parts, strict=True)]
    shares = [float(np.abs(a - b).max()) / max(1.0, float(np.abs(b).max())) for a, b in zip(rough, exact, strict=True)]
    return min(_ROUNDING_FACTOR * max(shares), _MOST_ROUNDING)


def verify_bundle(
    bundle: Path,
    expected: Logits,
    inputs: NDArray[np.float32],
    policy: ExitRule,
    tolerance: float,
    stray_share: float = 0.0,
) -> Agreement:
    """Run all forms of the bundle and compare them with the network's logits and decisions.

    A logit may differ by ``tolerance`` times the largest logit of its exit (at least 1), but for ``stray_share`` of the
    samples: where a value halfway between two integers is rounded to the other one, a sample may go another way.

    Args:
        bundle: The folder of the bundle.
        expected: The network's logits of every exit.
        inputs: Normalised inputs, (samples, channels, height, width).
        policy: The exit rule.
        tolerance: By which share of the largest logit of an exit a logit may differ.
        stray_share: The share of samples that may differ by more.

    Returns:
        How well they agree.

    Raises:
        ExportError: If a form does not reproduce the network; the message holds the largest difference.
    """
    if not all(np.isfinite(logits).all() for logits in expected):
        raise ExportError("The network gives NaN or infinite logits on the inputs to compare on; nothing was written.")
    try:
        return _compare(bundle, expected, inputs, policy, tolerance, stray_share)
    # The rules for files from outside hold for our own: what nobody could load must not be written.
    except BundleError as exc:
        raise ExportError(f"The network cannot be written as a bundle that loads: {exc} Nothing was written.") from exc


def _compare(
    bundle: Path,
    expected: Logits,
    inputs: NDArray[np.float32],
    policy: ExitRule,
    tolerance: float,
    stray_share: float,
) -> Agreement:
    session = EarlyExitSession(bundle, allow_large=True)
    chain = tuple(
        np.concatenate(exits)
        for exits in zip(*(session.all_logits(batch, normalised=True) for batch in _batches(inputs)), strict=True)
    )
    scales = [max(1.0, float(np.abs(logits).max())) for logits in expected]
    comparison = Comparison(len(inputs), int(stray_share * len(inputs)))
    for form, logits in (("The chain of stages", chain), (MODEL_FILE, _joined_logits(bundle, inputs, len(expected)))):
        for index, (ours, theirs) in enumerate(zip(expected, logits, strict=True)):
            comparison.add(form, index, np.arange(len(inputs)), ours, theirs, tolerance * scales[index])
    early = _early_exit_run(bundle, inputs)
    for index, ours in enumerate(expected):
        rows = np.flatnonzero(np.asarray(early.exits) == index)
        if len(rows):
            theirs = np.stack([early.logits[row] for row in rows])
            comparison.add(EARLY_EXIT_FILE, index, rows, ours[rows], theirs, tolerance * scales[index])
    on_threshold = policy.undecided(expected, comparison.slack())
    wanted = policy.decide(expected)
    moved = np.zeros(len(inputs), dtype=bool)
    answers = session.predict(inputs, normalised=True)
    for form, exits in (("The session", [answer.exit for answer in answers]), (EARLY_EXIT_FILE, early.exits)):
        moved |= check_exits(form, wanted, np.asarray(exits), on_threshold)
    return Agreement(
        largest_difference=float(comparison.largest.max()),
        logit_scale=max(scales),
        num_on_threshold=int(on_threshold.sum()),
        num_moved=int(moved.sum()),
        num_strays=int(comparison.strays.sum()),
    )


class Comparison:
    """The largest difference of every sample so far, and which samples are strays.

    Args:
        num_samples: The number of samples.
        num_allowed: How many samples may be strays.
    """

    def __init__(self, num_samples: int, num_allowed: int) -> None:
        self.largest = np.zeros(num_samples)
        self.strays = np.zeros(num_samples, dtype=bool)
        self._num_allowed = num_allowed

    def add(
        self,
        form: str,
        index: int,
        rows: NDArray[np.intp],
        ours: NDArray[np.float32],
        theirs: NDArray[np.float32],
        allowed: float,
    ) -> None:
        """Compare the logits of an exit.

        Args:
            form: What is compared, for messages.
            index: Index of the exit.
            rows: The samples.
            ours: Their logits in the network, (samples, classes).
            theirs: Their logits in the form.
            allowed: The largest difference of a sample that is no stray.

        Raises:
            ExportError: If too many samples are off.
        """
        differences = np.abs(ours.astype(np.float64) - theirs).max(axis=1)
        # Put this way round so that NaN is off, and never a stray.
        off = ~(differences <= allowed)
        self.strays[rows[off]] = True
        if int(self.strays.sum()) > self._num_allowed or not np.isfinite(differences).all():
            raise ExportError(
                f"{form} does not reproduce the network: at exit {index} logits differ by up to "
                f"{differences.max():.3g}, allowed are {allowed:.3g}, which {off.sum()} of {len(rows)} inputs exceed; "
                "nothing was written."
            )
        self.largest[rows] = np.maximum(self.largest[rows], differences)

    def slack(self) -> NDArray[np.float64]:
        """How far each sample's logits may be off in a further run: as far as any that is no stray, or as it was."""
        usual = float(self.largest[~self.strays].max(initial=0.0))
        return self.largest.clip(min=usual)


def check_exits(
    form: str, wanted: NDArray[np.intp], taken: NDArray[np.integer], on_threshold: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Compare decisions: only samples on a threshold may leave elsewhere.

    Args:
        form: What is compared, for messages.
        wanted: The exits in the network, (samples,).
        taken: The exits in the form.
        on_threshold: Which samples are on a threshold.

    Returns:
        Which samples left elsewhere.

    Raises:
        ExportError: If another sample did.
    """
    moved: NDArray[np.bool_] = wanted != taken
    wrong = np.flatnonzero(moved & ~on_threshold)
    if len(wrong):
        first = int(wrong[0])
        raise ExportError(
            f"{form} decides otherwise than the network for {len(wrong)} of {len(wanted)} inputs: "
            f"input {first} leaves at exit {taken[first]} instead of {wanted[first]}; nothing was written."
        )
    return moved


def _joined_logits(bundle: Path, inputs: NDArray[np.float32], num_exits: int) -> Logits:
    model = _runtime(bundle / MODEL_FILE)
    names = [exit_name(index) for index in range(num_exits)]
    parts = [model.run(names, {IMAGES: batch}) for batch in _batches(inputs)]
    return tuple(np.concatenate(exits) for exits in zip(*parts, strict=True))


@dataclass(frozen=True)
class _EarlyExitRun:
    exits: list[int]
    logits: list[NDArray[np.float32]]


def _early_exit_run(bundle: Path, inputs: NDArray[np.float32]) -> _EarlyExitRun:
    """One sample at a time, as the file is made for, with the thresholds it carries."""
    model = _runtime(bundle / EARLY_EXIT_FILE)
    results = [model.run([EXIT, LOGITS], {IMAGES: inputs[row : row + 1]}) for row in range(len(inputs))]
    return _EarlyExitRun([int(taken[0]) for taken, _ in results], [logits[0] for _, logits in results])


def _runtime(path: Path) -> Any:
    return start_content(path.read_bytes(), path.name, 1, branches=path.name == EARLY_EXIT_FILE, allow_large=True)


def _batches(inputs: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
    """One sample alone, then larger batches: a batch size that was frozen into a graph shows up."""
    return [inputs[:1], *(inputs[start : start + _BATCH] for start in range(1, len(inputs), _BATCH))]
