"""A pool does jobs, replaces workers that hang or die, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from offramp.distributed.executor import Job, Reply
from offramp.distributed.process_pool import ProcessPool
from offramp.distributed.worker_process import WorkerProcess
from offramp.errors import WorkerError
from tests.distributed.handlers import worker_folder


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[ProcessPool]:
    created = ProcessPool(worker_folder(tmp_path), 1)
    yield created
    created.close()


def ask(pool: ProcessPool, what: str, timeout_s: float | None = None) -> Reply:
    return pool.submit(Job("test", what, timeout_s)).result(timeout=60)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_jobs_are_done_and_what_goes_wrong_is_said(pool: ProcessPool, tmp_path: Path) -> None:
    first = ask(pool, "echo a")
    assert first.payload.startswith("a from ")
    assert first.error is None
    assert first.worker == f"process {first.payload.split()[-1]}"
    failed = ask(pool, "raise red")
    assert failed.error == "KeyError: 'red'"
    assert 0 <= failed.seconds < 60
    assert (ask(pool, "memory").error or "").startswith(("MemoryError", "OverflowError"))
    assert ask(pool, "noise b").payload == first.payload.replace("a", "b", 1)
    seen: list[tuple[float, str]] = []
    pool.submit(Job("test", "report"), lambda fraction, note: seen.append((fraction, note))).result(timeout=60)
    assert seen == [(0.25, "a quarter"), (0.5, "half")]
    big = "x" * 3_000_000
    assert ask(pool, f"echo {big}").payload == first.payload.replace("a", big, 1)


def test_a_job_that_hangs_is_ended_and_the_next_one_is_done(pool: ProcessPool) -> None:
    before = ask(pool, "echo a").payload
    started = time.monotonic()
    reply = ask(pool, "sleep 60", timeout_s=0.5)
    assert reply == Reply("", "took longer than 0.5 s", 0.5)
    assert time.monotonic() - started < 10
    after = ask(pool, "echo a", timeout_s=30).payload
    assert after.startswith("a from ")
    assert after != before
    assert not is_alive(int(before.split()[-1]))


def test_a_job_that_kills_its_worker_fails_after_three_tries(pool: ProcessPool, tmp_path: Path) -> None:
    reply = ask(pool, f"die {int(signal.SIGSEGV)}")
    assert reply.error == "its worker ended by SIGSEGV, in 3 of 3 tries"
    assert (tmp_path / "begun").read_text().splitlines() == ["die 11"] * 3
    killed = ask(pool, f"die {int(signal.SIGKILL)}")
    assert killed.error == "its worker ended by SIGKILL, perhaps for lack of memory, in 3 of 3 tries"
    assert ask(pool, "exit").error == "its worker ended with exit code 7; its last words: I give up, in 3 of 3 tries"
    assert ask(pool, "echo a").error is None


@pytest.mark.parametrize(
    "message",
    [
        {"payload": ["a"]},
        {"payload": "a", "error": 3},
        *({"payload": "a", "error": None, "seconds": seconds} for seconds in (10**400, float("nan"), "1", None)),
    ],
)
def test_a_worker_that_answers_with_something_else_than_a_reply_is_replaced(
    message: dict[str, object], pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(pool, "echo a").payload
    real, answers = WorkerProcess._receive, [message]
    monkeypatch.setattr(WorkerProcess, "_receive", lambda self, end: answers.pop() if answers else real(self, end))
    second = ask(pool, "echo a").payload
    assert answers == []
    assert second.startswith("a from ")
    assert second != first


def test_a_worker_that_is_lost_is_no_fault_of_the_job(pool: ProcessPool) -> None:
    assert ask(pool, "die-once fine").payload.startswith("fine from ")
    idle = pool.pids[0]
    os.kill(idle, signal.SIGKILL)
    assert ask(pool, "echo a").payload.startswith("a from ")
    assert pool.pids[0] != idle


def test_several_work_at_once_and_jobs_begin_in_order(tmp_path: Path) -> None:
    pool = ProcessPool(worker_folder(tmp_path), 2)
    for warm in [pool.submit(Job("test", "sleep 0.3")) for _ in range(2)]:
        warm.result(timeout=60)
    orders = ["sleep 0.2", "sleep 0.21", "sleep 0.22", "sleep 0.23"]
    replies = [future.result(timeout=60) for future in [pool.submit(Job("test", order)) for order in orders]]
    assert len({reply.worker for reply in replies}) == 2
    assert all(0.2 <= reply.seconds < 2 for reply in replies)
    assert sorted((tmp_path / "begun").read_text().splitlines()[-4:-2]) == orders[:2]
    pool.close()


def test_closing_ends_workers_at_once(tmp_path: Path) -> None:
    pool = ProcessPool(worker_folder(tmp_path), 1)
    pid = int(ask(pool, "echo a").payload.split()[-1])
    running, waiting = pool.submit(Job("test", "sleep 60")), pool.submit(Job("test", "echo b"))
    time.sleep(0.2)
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 5
    assert waiting.cancelled()
    assert running.done()
    assert not is_alive(pid)
    assert pool.pids == ()
    with pytest.raises(WorkerError, match="have been ended"):
        pool.submit(Job("test", "echo"))


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    pool = ProcessPool(worker_folder(tmp_path, "refuse"), 1)
    with pytest.raises(WorkerError, match="FileNotFoundError: the weights are not there"):
        ask(pool, "echo")
    pool.close()
    dying = ProcessPool(worker_folder(tmp_path, "die_at_start"), 1)
    with pytest.raises(WorkerError, match="ended by SIGSEGV"):
        ask(dying, "echo")
    dying.close()


def test_workers_do_not_outlive_a_caller_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from offramp.distributed.executor import Job; from offramp.distributed.process_pool import ProcessPool\n"
        "from tests.distributed.handlers import worker_folder\n"
        "pool = ProcessPool(worker_folder(Path(sys.argv[1])), 2)\n"
        "futures = [pool.submit(Job('test', 'sleep 60')) for _ in range(2)]\n"
        "while not Path(sys.argv[1], 'begun').exists() or Path(sys.argv[1], 'begun').read_text().count('sleep') < 2:\n"
        "    time.sleep(0.05)\n"
        "print(*pool.pids, flush=True); time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))}
    caller = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert caller.stdout is not None
    pids = [int(pid) for pid in caller.stdout.readline().split()]
    caller.kill()
    caller.wait()
    end = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)
