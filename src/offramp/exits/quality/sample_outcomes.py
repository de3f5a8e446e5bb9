"""What a network did to each test sample: whether it was right, and where the sample left."""

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST_EXITS = 256


@dataclass(frozen=True)
class SampleOutcomes:
    """Per sample: whether the answer was right, and the index of the exit. Two networks are compared sample by sample.

    Attributes:
        num_samples: Number of samples, at least 1.
        num_exits: Number of exits, the final one included, from 1 to 256.
        correct: One bit per sample, the first in the highest bit of the first byte, as base64 text; 1 is right.
        exits: One byte per sample, the index of the exit from 0, as base64 text.
    """

    num_samples: int
    num_exits: int
    correct: str
    exits: str

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"`num_samples` must be at least 1, got {self.num_samples}.")
        if not 1 <= self.num_exits <= _MOST_EXITS:
            raise ValueError(f"`num_exits` must be from 1 to {_MOST_EXITS}, got {self.num_exits}.")
        bits = _bytes_of("correct", self.correct, (self.num_samples + 7) // 8)
        unused = -self.num_samples % 8
        if bits[-1] & ((1 << unused) - 1):
            raise ValueError("`correct` must have zeros behind the last sample.")
        largest = max(_bytes_of("exits", self.exits, self.num_samples))
        if largest >= self.num_exits:
            raise ValueError(f"`exits` must be below `num_exits` ({self.num_exits}), got {largest}.")

    @property
    def is_correct(self) -> NDArray[np.bool_]:
        """Whether each sample got the right answer, (samples,)."""
        bits = np.frombuffer(base64.b64decode(self.correct), dtype=np.uint8)
        return np.unpackbits(bits, count=self.num_samples).astype(bool)

    @property
    def exit_indices(self) -> NDArray[np.uint8]:
        """The index of the exit at which each sample left, (samples,)."""
        return np.frombuffer(base64.b64decode(self.exits), dtype=np.uint8)

    @property
    def accuracy(self) -> float:
        """The share of the samples that is right."""
        return float(self.is_correct.mean())

    @property
    def rates(self) -> tuple[float, ...]:
        """The share of the samples that left at each exit."""
        counts = np.bincount(self.exit_indices, minlength=self.num_exits)
        return tuple(float(count) / self.num_samples for count in counts)


def sample_outcomes(correct: ArrayLike, exits: ArrayLike, num_exits: int) -> SampleOutcomes:
    """Pack what a network did to each sample.

    Args:
        correct: Whether each sample got the right answer, (samples,).
        exits: The index of the exit at which each sample left, from 0, (samples,).
        num_exits: Number of exits, the final one included.

    Returns:
        The outcomes.

    Raises:
        ValueError: If the arrays do not fit together, or an index is not that of an exit.
    """
    right, left = np.asarray(correct, dtype=bool), np.asarray(exits)
    if right.ndim != 1 or right.shape != left.shape:
        raise ValueError(f"both arrays must have one value per sample, got shapes {right.shape} and {left.shape}.")
    if len(left) and not 0 <= int(left.min()) <= int(left.max()) < num_exits:
        raise ValueError(
            f"exits must have indices from 0 to {num_exits - 1}, got {int(left.min())} to {int(left.max())}."
        )
    return SampleOutcomes(
        len(right),
        num_exits,
        base64.b64encode(np.packbits(right).tobytes()).decode("ascii"),
        base64.b64encode(left.astype(np.uint8).tobytes()).decode("ascii"),
    )


def _bytes_of(name: str, text: str, length: int) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as exc:
        raise ValueError(f"`{name}` must be base64 text: {exc}.") from exc
    if len(content) != length:
        raise ValueError(f"`{name}` must have {length} bytes for the samples, got {len(content)}.")
    return content
