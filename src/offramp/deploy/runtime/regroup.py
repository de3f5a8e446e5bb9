"""Regrouping of the samples that did not leave into full batches for the next stage."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StageOutput:
    """What a stage gives for a batch.

    Attributes:
        features: Features for the next stage; None for the last one.
        logits: Logits, (samples, classes).
    """

    features: NDArray[np.float32] | None
    logits: Logits


@dataclass(frozen=True, eq=False)
class Left:
    """Samples that left at an exit.

    Attributes:
        rows: Their numbers, (samples,).
        exit: The exit.
        logits: Its logits, (samples, classes).
    """

    rows: NDArray[np.intp]
    exit: int
    logits: Logits


@dataclass(frozen=True, eq=False)
class _Group:
    """Samples before a stage, with the logits of the exits they went through."""

    rows: NDArray[np.intp]
    features: NDArray[np.float32]
    logits: tuple[Logits, ...]

    def part(self, chosen: slice | NDArray[np.bool_]) -> "_Group":
        return _Group(self.rows[chosen], self.features[chosen], tuple(item[chosen] for item in self.logits))


class Regrouper:
    """Sends samples through stages in full batches; fewer than that wait before each stage. All leave at the last.

    Args:
        num_stages: The number of stages.
        batch_size: How many samples are run together.
        run: Gives a stage's output for a batch: number of the stage, features, and the logits of the exit before (None
            for the first stage).
        leaves: Says, from the logits of the exits that samples went through, which of them leave.
    """

    def __init__(
        self,
        num_stages: int,
        batch_size: int,
        run: Callable[[int, NDArray[np.float32], Logits | None], StageOutput],
        leaves: Callable[[tuple[Logits, ...]], NDArray[np.bool_]],
    ) -> None:
        self._waiting: list[list[_Group]] = [[] for _ in range(num_stages)]
        self._batch_size = batch_size
        self._run = run
        self._leaves = leaves

    def push(self, rows: NDArray[np.intp], inputs: NDArray[np.float32]) -> list[Left]:
        """Add samples and run what is full.

        Args:
            rows: Their numbers.
            inputs: Their inputs.

        Returns:
            The samples that left.
        """
        return self._enter(0, _Group(rows, inputs, ())) if len(rows) else []

    def finish(self) -> list[Left]:
        """Run whoever still waits."""
        left: list[Left] = []
        for stage, groups in enumerate(self._waiting):
            if groups:
                self._waiting[stage] = []
                left += self._step(stage, _joined(groups))
        return left

    def _enter(self, stage: int, group: _Group) -> list[Left]:
        self._waiting[stage].append(group)
        if sum(len(item.rows) for item in self._waiting[stage]) < self._batch_size:
            return []
        together = _joined(self._waiting[stage])
        full = len(together.rows) // self._batch_size * self._batch_size
        rest = together.part(slice(full, None))
        self._waiting[stage] = [rest] if len(rest.rows) else []
        left: list[Left] = []
        for start in range(0, full, self._batch_size):
            left += self._step(stage, together.part(slice(start, start + self._batch_size)))
        return left

    def _step(self, stage: int, group: _Group) -> list[Left]:
        output = self._run(stage, group.features, group.logits[-1] if group.logits else None)
        if output.features is None:
            return [Left(group.rows, stage, output.logits)]
        logits = (*group.logits, output.logits)
        leaving = self._leaves(logits)
        left = [Left(group.rows[leaving], stage, output.logits[leaving])] if leaving.any() else []
        if leaving.all():
            return left
        following = _Group(group.rows, output.features, logits)
        # Copying is spared in the common case that nobody left.
        return left + self._enter(stage + 1, following.part(~leaving) if leaving.any() else following)


def _joined(groups: list[_Group]) -> _Group:
    if len(groups) == 1:
        return groups[0]
    return _Group(
        np.concatenate([item.rows for item in groups]),
        np.concatenate([item.features for item in groups]),
        tuple(np.concatenate(parts) for parts in zip(*(item.logits for item in groups), strict=True)),
    )
