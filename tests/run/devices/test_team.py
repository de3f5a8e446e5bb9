"""Tests of the commands by which processes train together."""

import torch.distributed as dist

from offramp.run.devices.team import TrainingCommand, TrainingTeam
from offramp.train.data_parallel import DataParallel
from tests.space.test_architecture import architecture


def _teams() -> tuple[TrainingTeam, TrainingTeam]:
    store = dist.HashStore()  # type: ignore[attr-defined]
    return TrainingTeam(DataParallel(0, 2), store), TrainingTeam(DataParallel(1, 2), store)


def test_commands_arrive_whole_and_in_order() -> None:
    leader, member = _teams()
    commands = [
        TrainingCommand("supernet", timed=True),
        TrainingCommand("network", architecture=architecture(), epochs=3, early_exit_weight=4.0, has_teacher=True),
        TrainingCommand("end"),
    ]
    for command in commands:
        leader.send(command)
    assert [member.receive(lambda: False) for _ in commands] == commands


def test_a_leader_that_ended_without_a_word_ends_the_others() -> None:
    _, member = _teams()
    looks = iter([False, True])
    assert member.receive(lambda: next(looks)) == TrainingCommand("end")
