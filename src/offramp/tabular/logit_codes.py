"""Logits as small whole numbers: fine where an answer is likely, coarse where its probability is almost 0."""

import numpy as np
from numpy.typing import NDArray

DEPTH = 16.0
"""Distance below the largest logit at which logits are cut off; a probability there is at most e^-16, about 1e-7."""
CODE_TYPES: dict[int, type[np.unsignedinteger]] = {8: np.uint8, 16: np.uint16}
"""Data type of the codes by their number of bits."""


def encode_logits(logits: NDArray[np.floating], bits: int) -> NDArray[np.unsignedinteger]:
    """Write logits as codes.

    A code is the root of the distance to the largest logit of the sample, in equal steps: 0 is the largest logit, the
    highest code is `DEPTH` below it or more. The answer (the first of the largest logits) is exact, since no other
    class gets the code 0.

    Args:
        logits: Finite logits, (..., classes).
        bits: Bits of a code, 8 or 16.

    Returns:
        Codes, of the shape of the logits.
    """
    highest = 2**bits - 1
    below = logits.max(axis=-1, keepdims=True).astype(np.float64) - logits
    steps = np.rint(np.sqrt(np.minimum(below, DEPTH) / DEPTH) * highest).clip(1, highest)
    codes: NDArray[np.unsignedinteger] = steps.astype(CODE_TYPES[bits])
    np.put_along_axis(codes, logits.argmax(axis=-1)[..., None], 0, axis=-1)
    return codes


def decode_logits(codes: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
    """Read codes.

    Args:
        codes: Codes of `encode_logits`, (..., classes).

    Returns:
        Logits with the largest one at 0, of the shape of the codes.
    """
    highest = np.iinfo(codes.dtype).max
    values = (-DEPTH * (np.arange(highest + 1) / highest) ** 2).astype(np.float32)
    logits: NDArray[np.float32] = values[codes]
    return logits
