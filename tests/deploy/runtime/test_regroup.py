"""Batches of samples that go on: which runs there are, worked out by hand and compared with samples one by one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from offramp.deploy.runtime.regroup import Left, Logits, Regrouper, StageOutput


class Stages:
    """Stages that add one; a sample leaves at the exit that its input names. Remembers the batches it ran."""

    def __init__(self, num_stages: int) -> None:
        self.num_stages = num_stages
        self.batches: list[tuple[int, int]] = []

    def run(self, index: int, features: NDArray[np.float32], previous: Logits | None) -> StageOutput:
        # A stage is given what the exit before said to the same samples.
        assert (previous is None) == (index == 0)
        assert previous is None or np.array_equal(previous[:, 0] + 1, features)
        self.batches.append((index, len(features)))
        last = index == self.num_stages - 1
        return StageOutput(None if last else features + 1, np.stack([features, -features], axis=1))

    def leaves(self, logits: tuple[Logits, ...]) -> NDArray[np.bool_]:
        # Features started as the exit to leave at and grew by one a stage.
        reached = len(logits) - 1
        for index, item in enumerate(logits):
            assert np.array_equal(item[:, 0] - index, logits[0][:, 0])
        result: NDArray[np.bool_] = logits[0][:, 0] <= reached
        return result


def send(exits: list[int], batch_size: int, num_stages: int = 3, pushes: int = 1) -> tuple[Stages, list[Left]]:
    stages = Stages(num_stages)
    runner = Regrouper(num_stages, batch_size, stages.run, stages.leaves)
    left: list[Left] = []
    for part in np.array_split(np.arange(len(exits)), pushes):
        left += runner.push(part, np.array(exits, dtype=np.float32)[part])
    return stages, [*left, *runner.finish()]


def test_those_that_go_on_wait_for_a_full_batch() -> None:
    # Two of each four go on; the next stage runs once there are four of them.
    stages, _ = send([0, 2, 0, 2, 2, 0, 2, 0], 4, pushes=2)
    assert stages.batches == [(0, 4), (0, 4), (1, 4), (2, 4)]


def test_whoever_waits_at_the_end_is_run_in_smaller_batches() -> None:
    stages, left = send([2, 0, 0, 1, 0, 2, 0], 4, pushes=2)
    assert stages.batches == [(0, 4), (0, 3), (1, 3), (2, 2)]
    assert sorted((row, group.exit) for group in left for row in group.rows.tolist()) == [
        (0, 2),
        (1, 0),
        (2, 0),
        (3, 1),
        (4, 0),
        (5, 2),
        (6, 0),
    ]


def test_nobody_runs_a_stage_behind_the_exit() -> None:
    stages, _ = send([0, 0, 0], 2)
    assert {stage for stage, _ in stages.batches} == {0}


@settings(max_examples=60, deadline=None)
@given(
    exits=st.lists(st.integers(0, 3), max_size=40),
    batch_size=st.integers(1, 9),
    pushes=st.integers(1, 6),
)
def test_everybody_leaves_once_where_they_should(exits: list[int], batch_size: int, pushes: int) -> None:
    stages, left = send(exits, batch_size, num_stages=4, pushes=pushes)
    found = {row: group.exit for group in left for row in group.rows.tolist()}
    assert sum(len(group.rows) for group in left) == len(exits)
    assert found == dict(enumerate(exits))
    for group in left:
        assert group.logits.shape == (len(group.rows), 2)
        assert np.array_equal(group.logits[:, 0], np.array(exits)[group.rows] + group.exit)
    assert all(1 <= size <= batch_size for _, size in stages.batches)
    for stage in range(4):
        # No batch but the last one of a stage is smaller than it may be.
        sizes = [size for index, size in stages.batches if index == stage]
        assert sum(sizes) == sum(item >= stage for item in exits)
        assert all(size == batch_size for size in sizes[:-1])
