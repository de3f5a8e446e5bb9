"""Tests of how processes that train together begin."""

import pytest
import torch

from offramp.errors import ConfigError
from offramp.run.devices.launch import assists_other_process, check_devices, launched_size
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config

_TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "localhost"}


@pytest.fixture
def by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _TORCHRUN.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _TORCHRUN:
        monkeypatch.delenv(name, raising=False)


def test_a_process_alone_has_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    # A cluster's batch system sets a rank for programs that are not connected.
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched_size() == 1
    assert not assists_other_process()


@pytest.mark.usefixtures("by_torchrun")
def test_torchrun_gives_the_run_to_its_first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched_size() == 3
    assert assists_other_process()
    monkeypatch.setenv("RANK", "0")
    assert not assists_other_process()


@pytest.mark.usefixtures("by_torchrun")
def test_another_number_than_that_of_torchrun_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"number of processes that torchrun started \(3\), got 2"):
        check_devices(with_settings(Config(), {"execution.devices": 2}))


def test_more_processes_than_samples_of_a_mini_batch_are_refused() -> None:
    config = with_settings(Config(), {"execution.devices": 4, "train.batch_size": 3})
    with pytest.raises(ConfigError, match=r"batch_size must be at least the number of devices \(4\), got 3"):
        check_devices(config)


def test_one_gpu_for_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="must name their kind, such as 'cuda', got 'cuda:1'"):
        check_devices(with_settings(Config(), {"execution.devices": 2, "train.device": "cuda:1"}))
    with pytest.raises(ConfigError, match=r"at most the number of GPUs here \(1\), got 2"):
        check_devices(with_settings(Config(), {"execution.devices": 2, "train.device": "cuda"}))


def test_one_device_is_this_process_alone() -> None:
    config = with_settings(Config(), {"execution.devices": 1, "train.batch_size": 1, "train.device": "cuda:1"})
    check_devices(config)
