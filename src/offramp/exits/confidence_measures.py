"""Confidence measures: how certain an exit is of its prediction, from 0 to 1."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Measure = Literal["max_probability", "entropy", "margin"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Take the softmax over the last axis, without overflow.

    Args:
        logits: Logits, (..., classes).

    Returns:
        Probabilities, of the shape of the logits.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def tempered(logits: NDArray[np.floating], temperature: float) -> NDArray[np.floating]:
    """Divide logits by a temperature, in float64.

    Args:
        logits: Logits, (..., classes).
        temperature: The temperature, above 0; above 1 makes confidences lower.

    Returns:
        The divided logits; the logits themselves for a temperature of 1.
    """
    return logits if temperature == 1.0 else logits.astype(np.float64) / temperature


def confidence(logits: NDArray[np.floating], measure: Measure) -> NDArray[np.float64]:
    """Measure how sure an exit is.

    ``max_probability``: largest softmax probability. ``entropy``: 1 - H(p) / log(classes).
    ``margin``: difference of the two largest probabilities (1 where there is one class).

    Args:
        logits: Logits, (..., classes).
        measure: The confidence measure.

    Returns:
        Confidences from 0 to 1, (...).
    """
    probabilities = softmax(logits)
    classes = probabilities.shape[-1]
    if measure == "max_probability" or classes == 1:
        result: NDArray[np.float64] = probabilities.max(axis=-1)
    elif measure == "entropy":
        plogp = probabilities * np.log(np.maximum(probabilities, 1e-300))
        result = np.clip(1.0 + plogp.sum(axis=-1) / np.log(classes), 0.0, 1.0)
    else:
        top_two = np.partition(probabilities, classes - 2, axis=-1)[..., -2:]
        result = top_two[..., 1] - top_two[..., 0]
    return result
