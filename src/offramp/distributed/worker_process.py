"""The caller's side of one worker process: start it, send it jobs, end it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from offramp.distributed.executor import Job, Progress, Reply, WorkerFolder
from offramp.errors import WorkerError
from offramp.jsonio import dumps

_START_LIMIT_S = 600.0
_CHUNK_BYTES = 1 << 16
# Far more than seconds or bytes that a worker takes; larger whole numbers are no floating-point numbers.
_MAX_NUMBER = 1e100


class WorkerDied(Exception):  # noqa: N818 - an event that the pool handles
    """The process ended before it answered; the text says how."""


class JobTimeout(Exception):  # noqa: N818 - an event that the pool handles
    """There was no answer within the time limit."""


class WorkerProcess:
    """One process that does jobs, one after the other."""

    def __init__(self, worker_folder: WorkerFolder, threads: int) -> None:
        """Start the process; `wait_until_ready` says when it can take jobs.

        Args:
            worker_folder: What the worker reads, and the handler of its jobs.
            threads: Threads of torch in the process.
        """
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        self._buffer = b""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": str(threads),
            "PYTHONUNBUFFERED": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "offramp.distributed.worker_main", worker_folder.handler, str(worker_folder.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until the worker can take jobs.

        Raises:
            WorkerDied: The process ended, or was not ready within the time limit.
            WorkerError: The handler could not be made from the worker's files.
        """
        try:
            message = self._receive(time.monotonic() + _START_LIMIT_S)
        except JobTimeout:
            raise WorkerDied(f"it was not ready after {_START_LIMIT_S:.0f} s") from None
        if "ready" not in message:
            raise WorkerError(f"A worker cannot be started: {message.get('broken', 'it gave no reason')}")

    def ask(self, job: Job, progress: Progress | None) -> Reply:
        """Do one job and wait for it. After an error, this worker must be discarded.

        Args:
            job: The job.
            progress: Receives the progress of the job; None = nobody.

        Returns:
            The reply, with an error where the handler raised one.

        Raises:
            WorkerDied: The process ended before it answered.
            JobTimeout: The job took longer than its time limit.
        """
        end = None if job.timeout_s is None else time.monotonic() + job.timeout_s
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerDied(self._exit_reason()) from None
        while True:
            message = self._receive(end)
            if "progress" in message:
                if progress is not None:
                    progress(_number(message["progress"]), str(message.get("note", "")))
                continue
            payload, error = message.get("payload", ""), message.get("error")
            if not isinstance(payload, str) or not isinstance(error, str | None):
                raise WorkerDied("answered with something else than a reply")
            return Reply(payload, error, _number(message.get("seconds")), f"process {self.pid}")

    def kill(self) -> None:
        """End the process at once; a caller that waits for its answer gets WorkerDied."""
        self._process.kill()

    def discard(self) -> None:
        """End the process and free its resources."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        self._log.close()

    def _receive(self, end: float | None) -> dict[str, Any]:
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = None if end is None else end - time.monotonic()
            if left is not None and (left <= 0 or not select.select([handle], [], [], left)[0]):
                raise JobTimeout
            chunk = os.read(handle, _CHUNK_BYTES)
            if not chunk:
                raise WorkerDied(self._exit_reason())
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise WorkerDied("answered with something else than a message")
        return message

    def _exit_reason(self) -> str:
        code = self._process.wait()
        if code < 0:
            hint = ", perhaps for lack of memory" if -code == signal.SIGKILL else ""
            how = f"ended by {signal.Signals(-code).name}{hint}"
        else:
            how = f"ended with exit code {code}"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"{how}; its last words: {lines[-1][:200]}" if lines else how


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not abs(value) < _MAX_NUMBER:
        raise WorkerDied("answered with something else than a number")
    return float(value)
