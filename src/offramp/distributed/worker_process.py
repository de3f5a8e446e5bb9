"""The caller's side of one worker: start it, ask it, give it up."""

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

from offramp.distributed.executor import Job, Progress, Reply, Workplace
from offramp.errors import WorkerError
from offramp.jsonio import dumps

_START_LIMIT_S = 600.0
_CHUNK_BYTES = 1 << 16


class WorkerGone(Exception):  # noqa: N818 - an event that the pool deals with
    """The process ended while it was asked; the text says how."""


class TookTooLong(Exception):  # noqa: N818 - an event that the pool deals with
    """No answer within the time that was given."""


class WorkerProcess:
    """One process that does jobs, one after the other, with ``threads`` threads of torch."""

    def __init__(self, workplace: Workplace, threads: int) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process is there
        self._buffer = b""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": str(threads),
            "PYTHONUNBUFFERED": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "offramp.distributed.worker_main", workplace.handler, str(workplace.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Raises WorkerGone where it ends before, WorkerError where it says that it cannot work."""
        try:
            message = self._receive(time.monotonic() + _START_LIMIT_S)
        except TookTooLong:
            raise WorkerGone(f"it was not ready after {_START_LIMIT_S:.0f} s") from None
        if "ready" not in message:
            raise WorkerError(f"A worker cannot be started: {message.get('broken', 'it said nothing of use')}")

    def ask(self, job: Job, progress: Progress | None) -> Reply:
        """Raises WorkerGone or TookTooLong; then this worker must be given up."""
        end = None if job.timeout_s is None else time.monotonic() + job.timeout_s
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerGone(self._how_it_ended()) from None
        while True:
            message = self._receive(end)
            if "progress" in message:
                if progress is not None:
                    progress(float(message["progress"]), str(message["note"]))
                continue
            return Reply(message.get("payload", ""), message.get("error"), message["seconds"], f"process {self.pid}")

    def kill(self) -> None:
        """End it at once; who waits for its answer gets WorkerGone."""
        self._process.kill()

    def give_up(self) -> None:
        """End it and take back what it holds."""
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
                raise TookTooLong
            chunk = os.read(handle, _CHUNK_BYTES)
            if not chunk:
                raise WorkerGone(self._how_it_ended())
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        if code < 0:
            hint = ", perhaps for lack of memory" if -code == signal.SIGKILL else ""
            how = f"ended by {signal.Signals(-code).name}{hint}"
        else:
            how = f"ended with exit code {code}"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"{how}; its last words: {lines[-1][:200]}" if lines else how
