"""Small pictures of samples for the report: images as they are, series as lines, other numbers as grey levels."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from offramp.data.sample_kinds import InputKind

_WIDTH, _HEIGHT, _MARGIN = 96, 64, 3
_COLOURS = ("#1f5fa8", "#b3541e", "#2f7d4f", "#7a4fa3", "#8a6d1a", "#5b6b7a")


def sample_png(sample: NDArray[np.uint8] | NDArray[np.float32], kind: InputKind) -> str:
    """Draw a sample.

    Args:
        sample: Bytes or floats, (channels, height, width).
        kind: What they are.

    Returns:
        A PNG as base64. Of other than one or three channels of bytes, the first alone is shown; of a series, up to six
        channels, each from its lowest to its highest value; of other floats, the first channel from black to white.
    """
    if kind == "series":
        picture = _lines(sample[:, 0].astype(np.float32, copy=False))
    elif sample.dtype == np.uint8:
        pixels = sample.transpose(1, 2, 0) if sample.shape[0] == 3 else sample[0]
        picture = Image.fromarray(np.ascontiguousarray(pixels))
    else:
        values = sample[:, 0, 0][None] if kind == "vectors" else sample[0]
        picture = Image.fromarray(np.ascontiguousarray((255 * _unit(values)).astype(np.uint8)))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _unit(values: NDArray[Any]) -> NDArray[np.float64]:
    """Values scaled to 0..1; constant ones to 0.5."""
    lowest, highest = float(values.min()), float(values.max())
    if highest <= lowest:
        return np.full(values.shape, 0.5)
    return (values.astype(np.float64) - lowest) / (highest - lowest)


def _lines(channels: NDArray[np.float32]) -> Image.Image:
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    across = np.linspace(_MARGIN, _WIDTH - 1 - _MARGIN, max(channels.shape[1], 2))
    for colour, channel in zip(_COLOURS, channels, strict=False):
        down = _HEIGHT - 1 - _MARGIN - _unit(channel) * (_HEIGHT - 1 - 2 * _MARGIN)
        draw.line([*zip(across.tolist(), np.broadcast_to(down, across.shape).tolist(), strict=True)], fill=colour)
    return picture
