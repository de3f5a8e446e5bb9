"""Does an exported bundle answer as the network does?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from offramp.errors import ExportError
from offramp.exiting.policy import ExitPolicy
from offramp.export.manifest import EARLY_EXIT_FILE, MODEL_FILE
from offramp.export.nested_if import EXIT, LOGITS
from offramp.export.onnx_export import IMAGES, exit_name, frozen_copy
from offramp.export.session import EarlyExitSession
from offramp.nn.network import EarlyExitNetwork

_BATCH = 64

Logits = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Agreement:
    """How far the files are from the network over all exits and samples.

    ``num_on_threshold`` samples were so close to a threshold that the difference, allowed as such, could move them to
    another exit; ``num_moved`` of them were.
    """

    largest_difference: float
    logit_scale: float
    num_on_threshold: int
    num_moved: int


def network_logits(network: EarlyExitNetwork, inputs: NDArray[np.float32]) -> Logits:
    """Logits of every exit as the network itself gives them in evaluation mode."""
    frozen = frozen_copy(network)
    parts = []
    with torch.inference_mode():
        for batch in _batches(inputs):
            parts.append([logits.numpy() for logits in frozen(torch.from_numpy(batch))])
    return tuple(np.concatenate(exits) for exits in zip(*parts, strict=True))


def verify_bundle(
    bundle: Path, expected: Logits, inputs: NDArray[np.float32], policy: ExitPolicy, tolerance: float
) -> Agreement:
    """Run all forms of the bundle on ``inputs`` and compare with the network's logits and decisions.

    A logit may differ by ``tolerance`` times the largest logit of its exit (at least 1). Raises ExportError with the
    largest difference.
    """
    if not all(np.isfinite(logits).all() for logits in expected):
        raise ExportError("The network gives NaN or infinite logits on the inputs to compare on; nothing was written.")
    session = EarlyExitSession(bundle)
    chain = tuple(
        np.concatenate(exits) for exits in zip(*(session.all_logits(batch) for batch in _batches(inputs)), strict=True)
    )
    scales = [max(1.0, float(np.abs(logits).max())) for logits in expected]
    largest = 0.0
    for form, logits in (("The chain of stages", chain), (MODEL_FILE, _joined_logits(bundle, inputs, len(expected)))):
        for index, (ours, theirs) in enumerate(zip(expected, logits, strict=True)):
            difference = _difference(ours, theirs)
            _check_difference(form, index, difference, tolerance * scales[index])
            largest = max(largest, difference)
    early = _early_exit_run(bundle, inputs)
    for row, (taken, answer) in enumerate(zip(early.exits, early.logits, strict=True)):
        difference = _difference(expected[taken][row], answer)
        _check_difference(EARLY_EXIT_FILE, taken, difference, tolerance * scales[taken])
        largest = max(largest, difference)
    on_threshold = _on_threshold(expected, policy, largest)
    wanted = policy.decide(expected)
    moved = np.zeros(len(inputs), dtype=bool)
    answers = session.predict(inputs)
    for form, exits in (("The session", [answer.exit for answer in answers]), (EARLY_EXIT_FILE, early.exits)):
        moved |= _moved(form, wanted, np.asarray(exits), on_threshold)
    return Agreement(largest, max(scales), int(on_threshold.sum()), int(moved.sum()))


def _difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float(np.abs(ours.astype(np.float64) - theirs).max())


def _check_difference(form: str, index: int, difference: float, allowed: float) -> None:
    # Put this way round so that NaN fails.
    if not difference <= allowed:
        raise ExportError(
            f"{form} does not reproduce the network: at exit {index} logits differ by up to {difference:.3g}, "
            f"allowed are {allowed:.3g}; nothing was written."
        )


def _on_threshold(expected: Logits, policy: ExitPolicy, largest_difference: float) -> NDArray[np.bool_]:
    """Samples whose confidence, changed as much as logits were seen to differ, could cross a threshold."""
    on_threshold = np.zeros(len(expected[-1]), dtype=bool)
    for index, (logits, threshold) in enumerate(zip(expected[:-1], policy.thresholds, strict=True)):
        # No measure moves by more than the logits it is taken of; both sides may be off, hence twice.
        slack = 2.0 * largest_difference / policy.temperature(index) + 1e-12
        on_threshold |= np.abs(policy.confidence(logits, index) - threshold) <= slack
    return on_threshold


def _moved(
    form: str, wanted: NDArray[np.intp], taken: NDArray[np.integer], on_threshold: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Samples that left elsewhere, which only those on a threshold may."""
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
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _batches(inputs: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
    """One sample alone, then larger batches: a batch size that was frozen into a graph shows up."""
    return [inputs[:1], *(inputs[start : start + _BATCH] for start in range(1, len(inputs), _BATCH))]
