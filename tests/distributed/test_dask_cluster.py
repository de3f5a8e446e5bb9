"""A Dask cluster behind the same interface: jobs, failures, lost workers, and what is said when it cannot be used."""

import gc
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from offramp.distributed.dask_cluster import DaskExecutor
from offramp.distributed.executor import Job, WorkerFolder
from offramp.errors import InputError, WorkerError
from tests.distributed.handlers import worker_folder

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[distributed.LocalCluster]":
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp://",
        dashboard_address=None,
        resources={"GPU": 1},
        local_directory=str(tmp_path_factory.mktemp("dask")),
    ) as started:
        yield started


@pytest.fixture
def files(tmp_path: Path) -> WorkerFolder:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "weights").write_bytes(b"12345")
    return worker_folder(folder)


def test_jobs_and_failures(cluster: "distributed.LocalCluster", files: WorkerFolder) -> None:
    executor = DaskExecutor(files, cluster.scheduler_address)
    assert executor.num_workers == 2
    assert executor.shipped_bytes == 5
    replies = [executor.submit(Job("test", f"echo {i}")) for i in range(6)]
    assert [future.result(60).payload.split()[0] for future in replies] == list("012345")
    assert replies[0].result().worker.startswith(("tcp://", "inproc://"))
    assert executor.submit(Job("test", "raise red")).result(60).error == "KeyError: 'red'"
    assert executor.submit(Job("test", "sleep 60", 0.5)).result(60).error == "took longer than 0.5 s"
    assert "3 of 3 tries" in (executor.submit(Job("test", "die 9")).result(60).error or "")
    pids = {int(future.result().payload.split()[-1]) for future in replies}
    executor.close()
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_resources(cluster: "distributed.LocalCluster", files: WorkerFolder) -> None:
    executor = DaskExecutor(files, cluster.scheduler_address, resources={"finish": {"GPU": 1.0}, "evaluate": {}})
    started = time.monotonic()
    futures = [executor.submit(Job("finish", "sleep 0.4")) for _ in range(2)]
    assert [future.result(60).error for future in futures] == [None, None]
    assert time.monotonic() - started >= 0.8, "two jobs that need the one GPU must not run at once"
    executor.close()
    with pytest.raises(WorkerError, match=r"kind 'finish' need \(GPU=2\).*--resources"):
        DaskExecutor(files, cluster.scheduler_address, resources={"finish": {"GPU": 2.0}})


def test_no_scheduler_there(files: WorkerFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offramp.distributed.dask_cluster._CONNECT_S", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(InputError, match="must answer at 'tcp://127"):
            DaskExecutor(files, address)
    with pytest.raises(InputError, match="must answer at"):
        DaskExecutor(files, "no address")
    left = [each for each in gc.get_objects() if type(each) is distributed.Client]
    assert all(each.status == "closed" for each in left), "the garbage collector would close it, at a bad moment"


def test_a_cluster_without_workers(files: WorkerFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offramp.distributed.dask_cluster._CONNECT_S", 1.0)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, protocol="tcp://", dashboard_address=None) as empty,
        pytest.raises(InputError, match="must have workers"),
    ):
        DaskExecutor(files, empty.scheduler_address)


def test_dask_is_an_extra(files: WorkerFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"offramp\[cluster\]"):
        DaskExecutor(files, "tcp://127.0.0.1:8786")


def test_tasks_of_a_lost_worker_are_done_by_another(files: WorkerFolder, tmp_path: Path) -> None:
    """A scheduler and two workers as programs; the one with the task is killed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))}
    file = tmp_path / "scheduler.json"
    common = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    dask = [sys.executable, "-m", "distributed.cli"]
    programs = [
        subprocess.Popen([*dask[:2], "distributed.cli.dask_scheduler", "--port", "0", *options], **common),  # type: ignore[call-overload]
        *(
            subprocess.Popen(  # type: ignore[call-overload]
                [*dask[:2], "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1", *options], **common
            )
            for _ in range(2)
        ),
    ]
    try:
        end = time.monotonic() + 30
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        import json

        executor = DaskExecutor(files, json.loads(file.read_text())["address"])
        while executor.num_workers < 2 and time.monotonic() < end:
            time.sleep(0.05)
        futures = [executor.submit(Job("test", f"sleep {i + 1}")) for i in range(2)]
        time.sleep(0.7)
        programs[1].kill()
        replies = [future.result(60) for future in futures]
        assert [reply.error for reply in replies] == [None, None]
        assert len({reply.worker.split()[0] for reply in replies}) == 1
        executor.close()
    finally:
        for program in programs:
            program.kill()
            program.wait()
