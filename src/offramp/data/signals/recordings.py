"""Windows cut from long recordings, with the label of most of their time steps, none of them in two splits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.raw_data import Role
from offramp.data.signals.array_file import MAX_TOTAL_BYTES
from offramp.data.signals.padding import valid_steps
from offramp.errors import ConfigError, DataError

# From so many recordings on, each is in one split as a whole; fewer are divided into blocks.
_ENOUGH_RECORDINGS = 10
_BLOCKS = 40
_WINDOWS_OF_BLOCK = 3


@dataclass(frozen=True)
class WindowSize:
    """How recordings are cut.

    Attributes:
        steps: Time steps of a window, at least 1.
        hop: Time steps from one window to the next, at least 1.
    """

    steps: int
    hop: int


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of the recordings of one part.

    Attributes:
        samples: (windows, channels, 1, time).
        labels: The label of each window.
        groups: What must not be in two splits: the group of the recording, the recording, or a block of it.
        notes: Sentences on what was decided.
    """

    samples: NDArray[np.float32]
    labels: NDArray[Any]
    groups: NDArray[np.str_]
    notes: tuple[str, ...]


def cut_windows(
    samples: NDArray[np.float32],
    labels: NDArray[Any],
    size: WindowSize,
    *,
    role: Role,
    where: str,
    groups: NDArray[np.str_] | None = None,
) -> Windows:
    """Cut recordings into windows.

    Fewer than 10 recordings without groups are divided into blocks; windows lie within one block, so that two windows
    of different blocks share no time step.

    Args:
        samples: Recordings, (recordings, channels, 1, time), NaN at the end of short ones.
        labels: One label per recording, or one per time step, (recordings, time).
        size: Length and hop of the windows.
        role: Purpose of the part.
        where: Name of the part in messages.
        groups: Group of each recording; None: not known.

    Returns:
        The windows.

    Raises:
        ConfigError: No recording is as long as a window.
        DataError: Labels do not fit, or the windows would fill the memory.
    """
    count, channels, _, longest = samples.shape
    if labels.shape not in ((count,), (count, longest)):
        raise DataError(
            f"Labels of {where} must be one per recording ({count}) or one per time step ({count}, {longest}), got "
            f"shape {labels.shape}."
        )
    lengths = valid_steps(samples)
    if lengths.max() < size.steps:
        raise ConfigError(
            f"data.window must be at most the length of a recording of {where} ({lengths.max()} steps), got "
            f"{size.steps}."
        )
    whole = groups is not None or count >= _ENOUGH_RECORDINGS
    block = longest if whole else _block_steps(int(lengths.sum()), size)
    places = [
        (row, start, number)
        for row, length in enumerate(lengths.tolist())
        for number, begin in enumerate(range(0, length, block))
        for start in range(begin, min(begin + block, length) - size.steps + 1, size.hop)
    ]
    needed = len(places) * channels * size.steps * samples.itemsize
    if needed > MAX_TOTAL_BYTES:
        raise DataError(
            f"Windows of {where} must fit into {MAX_TOTAL_BYTES / 2**30:.0f} GiB, but need {needed / 2**30:.0f} GiB. "
            "Raise data.hop."
        )
    rows, starts, blocks = (np.array(column, dtype=np.int64) for column in zip(*places, strict=True))
    steps = starts[:, None] + np.arange(size.steps)
    cut = samples[rows[:, None], :, 0, steps].transpose(0, 2, 1)[:, :, None]
    owner = _owners(role, rows, blocks, groups, whole)
    chosen = _labels(labels, rows, steps, where)
    unit = "their groups" if groups is not None else "recordings" if whole else f"blocks of {block} steps"
    note = (
        f"{len(cut)} windows of {size.steps} steps every {size.hop} are cut from {count} recordings of {where}; splits "
        f"are made of whole {unit}, so that no time step is in two."
    )
    return Windows(np.ascontiguousarray(cut), chosen.labels, owner, (note, *chosen.notes))


def _block_steps(total: int, size: WindowSize) -> int:
    """Length of blocks: about 40 of them, but each of three windows if there is enough."""
    wanted = max(_WINDOWS_OF_BLOCK * size.steps, total // _BLOCKS)
    return wanted if total >= _WINDOWS_OF_BLOCK * wanted else size.steps


def _owners(
    role: Role, rows: NDArray[np.int64], blocks: NDArray[np.int64], groups: NDArray[np.str_] | None, whole: bool
) -> NDArray[np.str_]:
    if groups is not None:
        return groups[rows]
    names = [
        f"{role} recording {row}" if whole else f"{role} recording {row} block {block}"
        for row, block in zip(rows.tolist(), blocks.tolist(), strict=True)
    ]
    return np.array(names)


@dataclass(frozen=True, eq=False)
class _Chosen:
    labels: NDArray[Any]
    notes: tuple[str, ...] = ()


def _labels(labels: NDArray[Any], rows: NDArray[np.int64], steps: NDArray[np.int64], where: str) -> _Chosen:
    """The label of most steps of each window."""
    if labels.ndim == 1:
        return _Chosen(labels[rows])
    values, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape)
    counts = np.zeros((len(rows), len(values)), dtype=np.int64)
    for step in range(steps.shape[1]):
        counts[np.arange(len(rows)), numbers[rows, steps[:, step]]] += 1
    mixed = int((counts.max(axis=1) < steps.shape[1]).sum())
    note = f"{mixed} of {len(rows)} windows of {where} hold several labels: that of most steps counts."
    return _Chosen(values[counts.argmax(axis=1)], (note,) if mixed else ())
