"""Training step of an auto-encoder with exits, and its reconstruction errors on whole sounds."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offramp.anomaly.machine_sounds import window_view, windows
from offramp.data.labelled_data import Preprocessing, Split
from offramp.data.mini_batches import to_tensor
from offramp.nn.network import EarlyExitNetwork
from offramp.train.compute import Compute
from offramp.train.trainer import Step

_SOUNDS_AT_ONCE = 16


def training_windows(features: NDArray[np.uint8], per_sound: int, rng: np.random.Generator) -> Split:
    """Draw windows of each sound without replacement.

    Args:
        features: Features of sounds (sounds, 1, frames, bands) as bytes.
        per_sound: Largest number of windows of a sound; all are taken where there are fewer.
        rng: Random generator; its state advances.

    Returns:
        The windows (windows, 1, 5, bands), sound by sound; all labels are 0 and have no meaning.
    """
    view = window_view(features)
    count = min(per_sound, view.shape[1])
    starts = np.stack([np.sort(rng.choice(view.shape[1], count, replace=False)) for _ in features])
    chosen = view[np.arange(len(features))[:, None], starts]
    return Split(chosen.reshape(-1, 1, *view.shape[2:]), np.zeros(chosen.shape[0] * count, dtype=np.int64))


def reconstruction_step(network: EarlyExitNetwork, compute: Compute) -> Step:
    """A training step for all exits at once; the loss is the sum of their mean squared errors.

    Args:
        network: The auto-encoder.
        compute: Device and number format of the computation.

    Returns:
        The step; it ignores labels.
    """

    def step(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        with compute.autocast():
            errors = squared_errors(network(images), images)
        loss = torch.stack([error.mean() for error in errors]).sum()
        torch.autograd.backward(loss)
        return loss.detach()

    return step


def squared_errors(rebuilt: tuple[Tensor, ...], inputs: Tensor) -> list[Tensor]:
    """Mean squared error of each window at each exit.

    Args:
        rebuilt: Output of each exit (batch, features).
        inputs: The windows (batch, 1, frames, bands).

    Returns:
        Errors (batch,), one tensor per exit.
    """
    return [(output.float() - inputs.flatten(1).float()).square().mean(1) for output in rebuilt]


@torch.inference_mode()
def sound_errors(
    network: EarlyExitNetwork, features: NDArray[np.uint8], preprocessing: Preprocessing, compute: Compute
) -> NDArray[np.float64]:
    """Reconstruction error of each sound at each exit: the mean over its windows.

    Args:
        network: The auto-encoder; it is set to evaluation mode.
        features: Features of sounds (sounds, 1, frames, bands) as bytes.
        preprocessing: How bytes become inputs.
        compute: Device of the computation.

    Returns:
        Mean squared errors (sounds, exits).
    """
    network.eval()
    parts = []
    for start in range(0, len(features), _SOUNDS_AT_ONCE):
        batch = features[start : start + _SOUNDS_AT_ONCE]
        inputs = compute.place_images(to_tensor(windows(batch), preprocessing))
        errors = squared_errors(network(inputs), inputs)
        parts.append(np.stack([e.double().cpu().numpy().reshape(len(batch), -1).mean(1) for e in errors], axis=1))
    return np.concatenate(parts)
