"""Training of an auto-encoder with exits, and its errors on whole sounds."""

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
    """At most ``per_sound`` windows of each sound, drawn without replacement; labels mean nothing and are 0."""
    view = window_view(features)
    count = min(per_sound, view.shape[1])
    starts = np.stack([np.sort(rng.choice(view.shape[1], count, replace=False)) for _ in features])
    chosen = view[np.arange(len(features))[:, None], starts]
    return Split(chosen.reshape(-1, 1, *view.shape[2:]), np.zeros(chosen.shape[0] * count, dtype=np.int64))


def reconstruction_step(network: EarlyExitNetwork, compute: Compute) -> Step:
    """A step for all exits at once: the mean squared errors of their rebuilt inputs, added up."""

    def step(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        with compute.autocast():
            errors = squared_errors(network(images), images)
        loss = torch.stack([error.mean() for error in errors]).sum()
        torch.autograd.backward(loss)
        return loss.detach()

    return step


def squared_errors(rebuilt: tuple[Tensor, ...], inputs: Tensor) -> list[Tensor]:
    """Mean squared error of each window (batch,), exit by exit."""
    return [(output.float() - inputs.flatten(1).float()).square().mean(1) for output in rebuilt]


@torch.inference_mode()
def sound_errors(
    network: EarlyExitNetwork, features: NDArray[np.uint8], preprocessing: Preprocessing, compute: Compute
) -> NDArray[np.float64]:
    """Error of each sound at each exit (sounds, exits): the mean over its windows."""
    network.eval()
    parts = []
    for start in range(0, len(features), _SOUNDS_AT_ONCE):
        few = features[start : start + _SOUNDS_AT_ONCE]
        inputs = compute.place_images(to_tensor(windows(few), preprocessing))
        errors = squared_errors(network(inputs), inputs)
        parts.append(np.stack([e.double().cpu().numpy().reshape(len(few), -1).mean(1) for e in errors], axis=1))
    return np.concatenate(parts)
