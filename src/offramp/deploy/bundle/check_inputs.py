"""Inputs for the verification of a bundle: given samples and, if there are too few, perturbed copies."""

import numpy as np
from numpy.typing import NDArray

NUM_CHECKS = 1000

_NOISE = 0.1


def checks_from(inputs: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """``inputs`` (N, channels, height, width), all of them, then copies until there are ``count``.

    A copy is mirrored or not, shifted by up to an eighth of its size, and has noise added, a tenth as large as its
    channel's spread: other confidences than the original, and the same every time for one seed.

    Args:
        inputs: Normalised inputs, (samples, channels, height, width).
        count: How many there are to be.
        seed: Seed of the disturbances.

    Returns:
        The inputs to compare on, the given ones first.
    """
    missing = count - len(inputs)
    if missing <= 0:
        return inputs
    rng = np.random.default_rng(seed)
    copies = inputs[np.arange(missing) % len(inputs)]
    spread = inputs.std(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)[None, :, None, None]
    for row in range(missing):
        image = copies[row, :, :, ::-1] if rng.random() < 0.5 else copies[row]
        shifts = [int(rng.integers(-size // 8, size // 8 + 1)) for size in image.shape[1:]]
        copies[row] = np.roll(image, shifts, axis=(1, 2))
    # Where all pixels are alike, there is still something to tell the copies apart.
    noise = rng.standard_normal(copies.shape, dtype=np.float32) * (_NOISE * np.where(spread > 0, spread, 1.0))
    return np.concatenate([inputs, copies + noise.astype(np.float32)])
