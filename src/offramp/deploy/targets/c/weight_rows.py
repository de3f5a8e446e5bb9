"""Weights as they lie in flash: rows filled up to a multiple of 4, packed where a weight has fewer than 8 bits."""

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.targets.c.program import Convolution

_ROW = 4
_NARROW = (2, 4)
# Outputs that share rows of weights: two at a time, or more, so that packed rows are unpacked less often.
_PLACES, _PACKED_PLACES = 2, 8
MOST_PLACES = max(_PLACES, _PACKED_PLACES)
"""Of how many outputs the inputs are collected together at most."""
_MOST_ROWS = 4


def stored_bits(layer: Convolution) -> int:
    """Give the bits of a weight in flash.

    Args:
        layer: The layer.

    Returns:
        2, 4 or 8: the fewest that hold all its weights.
    """
    low, high = int(layer.weight.min(initial=0)), int(layer.weight.max(initial=0))
    return next((bits for bits in _NARROW if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1)), 8)


def row_length(layer: Convolution) -> int:
    """Give the weights of a row in flash.

    Args:
        layer: The layer.

    Returns:
        Their number, a multiple of 4; of a depthwise convolution, that of all its weights.
    """
    size = layer.weight.size if is_channelwise(layer) else layer.weight[0].size
    return -(-size // _ROW) * _ROW


def is_channelwise(layer: Convolution) -> bool:
    """Tell whether a layer has a function of its own, for depthwise convolutions.

    Args:
        layer: The layer.

    Returns:
        Whether it has.
    """
    return layer.is_depthwise and layer.scaling is not None


def places_of(layer: Convolution) -> int:
    """Give of how many outputs the inputs are collected together.

    Args:
        layer: The layer.

    Returns:
        An even number, at most `MOST_PLACES`.
    """
    outputs = layer.output.height * layer.output.width
    return min(_PLACES if stored_bits(layer) == 8 else _PACKED_PLACES, -(-outputs // 2) * 2)


def column_bytes(layer: Convolution, item_bytes: int) -> int:
    """Give the memory that a layer takes beside the arena: inputs that are collected, and rows that are unpacked.

    Args:
        layer: The layer.
        item_bytes: Bytes of an input: 1, or 2 on chips that multiply 16 bits, which first collect one output in bytes.

    Returns:
        Bytes.
    """
    length = row_length(layer)
    unpacked = 0 if stored_bits(layer) == 8 else length
    if is_channelwise(layer):
        return unpacked
    if layer.scaling is None:
        return item_bytes * length + max(unpacked, (item_bytes - 1) * length)
    return places_of(layer) * length * item_bytes + (item_bytes - 1) * length + _MOST_ROWS * unpacked


def flash_weights(layer: Convolution) -> NDArray[np.int8]:
    """Give the bytes of the weights.

    Args:
        layer: The layer.

    Returns:
        One dimension.
    """
    if is_channelwise(layer):
        rows = layer.weight.transpose(3, 1, 2, 0).reshape(1, -1)
    else:
        rows = layer.weight.reshape(len(layer.weight), -1)
    rows = np.pad(rows, ((0, 0), (0, row_length(layer) - rows.shape[1])))
    bits = stored_bits(layer)
    if bits == 8:
        return rows.reshape(-1)
    shifts = np.arange(8 // bits) * bits
    parts = (rows.reshape(-1, 8 // bits).astype(np.int64) & ((1 << bits) - 1)) << shifts
    packed: NDArray[np.int8] = parts.sum(axis=1).astype(np.uint8).view(np.int8)
    return packed
