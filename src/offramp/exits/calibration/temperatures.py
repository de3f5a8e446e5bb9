"""Temperature calibration of confidences, with one temperature per exit.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from offramp.errors import InputError
from offramp.exits.confidence_measures import softmax, tempered

LOWEST, HIGHEST = 0.1, 10.0
"""Temperatures end here: an exit that is always right, or never better than chance, would want 0 or infinity."""


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Fit the temperature at which logits give the labels the highest likelihood.

    Args:
        logits: Logits of one exit, (samples, classes).
        labels: Classes, (samples,).

    Returns:
        The temperature, from `LOWEST` to `HIGHEST`.

    Raises:
        InputError: If the arrays do not fit together, or hold values that are not finite.
    """
    values, classes = _checked(logits, labels)
    own = np.take_along_axis(values, classes[:, None], axis=1)[:, 0]

    def slope(inverse: float) -> float:
        """Slope of the mean negative log likelihood over the inverse temperature, in which it is convex."""
        return float(((softmax(values * inverse) * values).sum(axis=1) - own).mean())

    # A slope that keeps its sign means that the likelihood is highest at an end; all slopes 0 (logits that are all
    # alike) leave the logits as they are.
    coldest, hottest = slope(1.0 / LOWEST), slope(1.0 / HIGHEST)
    if coldest == hottest == 0.0:
        return 1.0
    if coldest <= 0.0:
        return LOWEST
    if hottest >= 0.0:
        return HIGHEST
    return 1.0 / float(brentq(slope, 1.0 / HIGHEST, 1.0 / LOWEST, xtol=1e-9))


def fit_temperatures(logits: Sequence[NDArray[np.floating]], labels: NDArray[np.integer]) -> tuple[float, ...]:
    """Fit one temperature per exit, each alone.

    Args:
        logits: Logits (samples, classes) per exit, the final one last.
        labels: Classes, (samples,).

    Returns:
        The temperatures.

    Raises:
        InputError: As for `fit_temperature`.
    """
    return tuple(fit_temperature(item, labels) for item in logits)


def calibrated(
    logits: Sequence[NDArray[np.floating]], temperatures: Sequence[float]
) -> tuple[NDArray[np.floating], ...]:
    """Divide each exit's logits by its temperature; decisions are those of an ExitPolicy with these temperatures.

    Args:
        logits: Logits (samples, classes) per exit, the final one last.
        temperatures: One temperature per exit.

    Returns:
        The divided logits.

    Raises:
        InputError: If there is not one temperature per exit.
    """
    if len(logits) != len(temperatures):
        raise InputError(f"`temperatures` must have one value per exit ({len(logits)}), got {len(temperatures)}.")
    return tuple(tempered(item, value) for item, value in zip(logits, temperatures, strict=True))


def _checked(
    logits: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    values, classes = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or not values.size or classes.shape != values.shape[:1]:
        raise InputError(
            f"logits must have shape (samples, classes) and labels (samples,) with one or more samples, "
            f"got {values.shape} and {classes.shape}."
        )
    if not np.isfinite(values).all():
        raise InputError("logits must be finite; a network whose logits are not has diverged in training.")
    if classes.min() < 0 or classes.max() >= values.shape[1]:
        raise InputError(f"labels must be from 0 to {values.shape[1] - 1}, got {classes.min()} to {classes.max()}.")
    return values, classes
