"""Does an exported bundle answer as the network does?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from offramp.errors import ExportError
from offramp.exiting.measures import confidence
from offramp.exiting.policy import ExitPolicy
from offramp.export.manifest import MODEL_FILE
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
    """Run both forms of the bundle on ``inputs`` and compare with the network's logits and decisions.

    A logit may differ by ``tolerance`` times the largest logit of its exit (at least 1). Raises ExportError with the
    largest difference.
    """
    if not all(np.isfinite(logits).all() for logits in expected):
        raise ExportError("The network gives NaN or infinite logits on the inputs to compare on; nothing was written.")
    session = EarlyExitSession(bundle)
    chain = tuple(
        np.concatenate(exits) for exits in zip(*(session.all_logits(batch) for batch in _batches(inputs)), strict=True)
    )
    largest = 0.0
    scale = 1.0
    for form, logits in (("The chain of stages", chain), (MODEL_FILE, _joined_logits(bundle, inputs, len(expected)))):
        for index, (ours, theirs) in enumerate(zip(expected, logits, strict=True)):
            exit_scale = max(1.0, float(np.abs(ours).max()))
            difference = float(np.abs(ours.astype(np.float64) - theirs).max())
            if not difference <= tolerance * exit_scale:
                raise ExportError(
                    f"{form} does not reproduce the network: at exit {index} logits differ by up to {difference:.3g}, "
                    f"allowed are {tolerance * exit_scale:.3g}; nothing was written."
                )
            largest, scale = max(largest, difference), max(scale, exit_scale)
    return _compare_decisions(session, expected, inputs, policy, Agreement(largest, scale, 0, 0))


def _compare_decisions(
    session: EarlyExitSession,
    expected: Logits,
    inputs: NDArray[np.float32],
    policy: ExitPolicy,
    agreement: Agreement,
) -> Agreement:
    # No measure moves by more than the logits do; both sides may be off, hence twice.
    slack = 2.0 * agreement.largest_difference + 1e-12
    on_threshold = np.zeros(len(inputs), dtype=bool)
    for logits, threshold in zip(expected[:-1], policy.thresholds, strict=True):
        on_threshold |= np.abs(confidence(logits, policy.measure) - threshold) <= slack
    wanted = policy.decide(expected)
    taken = np.array([answer.exit for answer in session.predict(inputs, batch_size=_BATCH)])
    moved = wanted != taken
    if (moved & ~on_threshold).any():
        first = int(np.flatnonzero(moved & ~on_threshold)[0])
        raise ExportError(
            f"The bundle decides otherwise than the network for {int((moved & ~on_threshold).sum())} of {len(inputs)} "
            f"inputs: input {first} leaves at exit {taken[first]} instead of {wanted[first]} (largest logit "
            f"difference {agreement.largest_difference:.3g}); nothing was written."
        )
    return Agreement(agreement.largest_difference, agreement.logit_scale, int(on_threshold.sum()), int(moved.sum()))


def _joined_logits(bundle: Path, inputs: NDArray[np.float32], num_exits: int) -> Logits:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    model: Any = onnxruntime.InferenceSession(bundle / MODEL_FILE, options, providers=["CPUExecutionProvider"])
    names = [exit_name(index) for index in range(num_exits)]
    parts = [model.run(names, {IMAGES: batch}) for batch in _batches(inputs)]
    return tuple(np.concatenate(exits) for exits in zip(*parts, strict=True))


def _batches(inputs: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
    """One sample alone, then larger batches: a batch size that was frozen into a graph shows up."""
    return [inputs[:1], *(inputs[start : start + _BATCH] for start in range(1, len(inputs), _BATCH))]
