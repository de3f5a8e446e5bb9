"""Series of different lengths in one array: NaN marks what is missing, until the means of the channels are known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.data.labelled_data import Preprocessing
from offramp.data.raw_data import RawPart
from offramp.errors import DataError


def same_length(parts: Sequence[RawPart]) -> tuple[NDArray[np.float32], ...]:
    """Give the samples of all parts one shape: shorter series end with NaN where some part has such series.

    Args:
        parts: The parts of a data set of floats.

    Returns:
        Samples of each part, (samples, channels, height, width).

    Raises:
        DataError: The parts differ in shape otherwise.
    """
    arrays = [part.samples.astype(np.float32, copy=False) for part in parts]
    shapes = {part.source: array.shape[1:] for part, array in zip(parts, arrays, strict=True)}
    if len(set(shapes.values())) == 1:
        return tuple(arrays)
    padded = any(np.isnan(array[..., -1]).any() for array in arrays)
    if not padded or len({shape[:2] for shape in shapes.values()}) > 1:
        described = ", ".join(f"{'x'.join(map(str, shape))} in {source!r}" for source, shape in shapes.items())
        raise DataError(
            f"All samples must have one shape (channels x height x width; the last is the time of series), got "
            f"{described}. Give series of different lengths with their lengths, or cut them to one length."
        )
    longest = max(array.shape[3] for array in arrays)
    return tuple(_lengthened(array, longest) for array in arrays)


def _lengthened(samples: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    missing = steps - samples.shape[3]
    return samples if not missing else np.pad(samples, ((0, 0),) * 3 + ((0, missing),), constant_values=np.nan)


def valid_steps(samples: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count the steps of each series before its padding.

    Args:
        samples: Series, (samples, channels, 1, time), with NaN in all channels at the end of short ones.

    Returns:
        The number of steps, (samples,).
    """
    there = ~np.isnan(samples).all(axis=(1, 2))
    steps: NDArray[np.int64] = (np.arange(1, samples.shape[3] + 1) * there).max(axis=1).astype(np.int64)
    return steps


def filled(samples: NDArray[np.float32], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Replace NaN by the mean of its channel, which becomes 0 when it is standardised.

    Args:
        samples: Samples, (samples, channels, height, width).
        preprocessing: The means.

    Returns:
        Samples without NaN.
    """
    means = np.asarray(preprocessing.mean, dtype=np.float32)[:, None, None]
    return np.where(np.isnan(samples), means, samples)
