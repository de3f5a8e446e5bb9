"""Worker processes of this machine. Each does one job at a time; one that hangs or dies is replaced."""

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from offramp.distributed.executor import Job, Progress, Reply, WorkerFolder
from offramp.distributed.worker_process import JobTimeout, WorkerDied, WorkerProcess
from offramp.errors import WorkerError

MAX_ATTEMPTS = 3
"""Attempts at a job: a worker may die through no fault of the job, for example for lack of memory."""


@dataclass
class _PendingJob:
    """A submitted job and its future."""

    job: Job
    progress: Progress | None
    future: "Future[Reply]" = field(default_factory=Future)


class ProcessPool:
    """Several worker processes. They start at once and stay until ``close``."""

    def __init__(self, worker_folder: WorkerFolder, num_workers: int, threads: int = 1) -> None:
        """Start the workers.

        Args:
            worker_folder: What the workers read, and the handler of their jobs.
            num_workers: Number of processes, at least 1.
            threads: Threads of torch in each process.
        """
        self._pending: queue.SimpleQueue[_PendingJob | None] = queue.SimpleQueue()
        self._closed = False
        self._slots = [_WorkerSlot(worker_folder, threads) for _ in range(num_workers)]
        self._threads = [threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in self._slots]
        for thread in self._threads:
            thread.start()

    @property
    def num_workers(self) -> int:
        """Number of worker processes."""
        return len(self._slots)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that are running now."""
        return tuple(slot.pid for slot in self._slots if slot.pid is not None)

    def submit(self, job: Job, progress: Progress | None = None) -> "Future[Reply]":
        """Queue a job. Jobs begin in the order in which they are submitted.

        Args:
            job: The job.
            progress: Receives the progress of the job, from a thread of the pool.

        Returns:
            The future reply, as for `Executor.submit`.

        Raises:
            WorkerError: The pool is closed.
        """
        if self._closed:
            raise WorkerError("The workers have been ended, so that no further job can be done.")
        pending = _PendingJob(job, progress)
        self._pending.put(pending)
        return pending.future

    def close(self) -> None:
        """Kill all workers. Jobs that have not begun are cancelled."""
        self._closed = True
        for slot in self._slots:
            slot.stop()
        for _ in self._threads:
            self._pending.put(None)
        for thread in self._threads:
            thread.join()
        while not self._pending.empty():
            pending = self._pending.get()
            if pending is not None:
                pending.future.cancel()

    def _serve(self, slot: "_WorkerSlot") -> None:
        slot.warm_up()
        while (pending := self._pending.get()) is not None:
            if self._closed or not pending.future.set_running_or_notify_cancel():
                pending.future.cancel()
                continue
            try:
                pending.future.set_result(slot.run(pending.job, pending.progress))
            except BaseException as exc:
                # The caller waits for the future, so that every error must reach it.
                pending.future.set_exception(exc)
                if not isinstance(exc, WorkerError):
                    raise
        slot.release()


class _WorkerSlot:
    """One worker, and its replacements when it has to be ended."""

    def __init__(self, worker_folder: WorkerFolder, threads: int) -> None:
        self._worker_folder = worker_folder
        self._threads = threads
        self._lock = threading.Lock()
        self._stopped = False
        self._worker: WorkerProcess | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        with self._lock:
            return None if self._worker is None else self._worker.pid

    def warm_up(self) -> None:
        """Start the worker before the first job; a fault is reported with that job."""
        try:
            self._ready_worker()
        except WorkerError:
            self._discard_worker()

    def run(self, job: Job, progress: Progress | None) -> Reply:
        """Do a job; raises WorkerError where no worker can be started."""
        reason = ""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return self._ready_worker().ask(job, progress)
            except JobTimeout:
                self._discard_worker()
                return Reply("", f"took longer than {job.timeout_s:g} s", job.timeout_s or 0.0)
            except WorkerDied as exc:
                self._discard_worker()
                reason = f"its worker {exc}, in {attempt} of {MAX_ATTEMPTS} tries"
        return Reply("", reason)

    def stop(self) -> None:
        """End the worker, also in the middle of a job; it is not replaced."""
        with self._lock:
            self._stopped = True
            if self._worker is not None:
                self._worker.kill()

    def release(self) -> None:
        """Free what the worker held; for the thread that serves the slot."""
        self.stop()
        self._discard_worker()

    def _ready_worker(self) -> WorkerProcess:
        reason = ""
        for _ in range(MAX_ATTEMPTS):
            with self._lock:
                if self._stopped:
                    raise WorkerError("The workers have been ended.")
                if self._worker is not None and self._ready:
                    return self._worker
                worker = self._worker = WorkerProcess(self._worker_folder, self._threads)
            try:
                worker.wait_until_ready()
                self._ready = True
                return worker
            except WorkerDied as exc:
                reason = str(exc)
                self._discard_worker()
        raise WorkerError(f"A worker cannot be started: it {reason}.")

    def _discard_worker(self) -> None:
        with self._lock:
            worker, self._worker, self._ready = self._worker, None, False
        if worker is not None:
            worker.discard()
