"""Worker processes of this machine: each does one job at a time; one that hangs or dies is replaced."""

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from offramp.distributed.executor import Job, Progress, Reply, Workplace
from offramp.distributed.worker_process import TookTooLong, WorkerGone, WorkerProcess
from offramp.errors import WorkerError

MOST_TRIES = 3
"""Times a job is begun: a worker may die through no fault of the job, for example for lack of memory."""


@dataclass
class _Order:
    """A job that somebody waits for."""

    job: Job
    progress: Progress | None
    future: "Future[Reply]" = field(default_factory=Future)


class ProcessPool:
    """``num_workers`` processes, each with ``threads`` threads. They start at once and stay until ``close``."""

    def __init__(self, workplace: Workplace, num_workers: int, threads: int = 1) -> None:
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._closed = False
        self._seats = [_Seat(workplace, threads) for _ in range(num_workers)]
        self._servants = [threading.Thread(target=self._serve, args=(seat,), daemon=True) for seat in self._seats]
        for servant in self._servants:
            servant.start()

    @property
    def num_workers(self) -> int:
        return len(self._seats)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the processes that are there now."""
        return tuple(seat.pid for seat in self._seats if seat.pid is not None)

    def submit(self, job: Job, progress: Progress | None = None) -> "Future[Reply]":
        """Jobs are begun in the order in which they come."""
        if self._closed:
            raise WorkerError("The workers have been ended; there is nobody to do a further job.")
        order = _Order(job, progress)
        self._orders.put(order)
        return order.future

    def close(self) -> None:
        """Kill all workers; jobs that were not begun are cancelled."""
        self._closed = True
        for seat in self._seats:
            seat.leave()
        for _ in self._servants:
            self._orders.put(None)
        for servant in self._servants:
            servant.join()
        while not self._orders.empty():
            order = self._orders.get()
            if order is not None:
                order.future.cancel()

    def _serve(self, seat: "_Seat") -> None:
        seat.warm_up()
        while (order := self._orders.get()) is not None:
            if self._closed or not order.future.set_running_or_notify_cancel():
                order.future.cancel()
                continue
            try:
                order.future.set_result(seat.do(order.job, order.progress))
            except BaseException as exc:
                # Whoever waits must hear of it, whatever it is.
                order.future.set_exception(exc)
                if not isinstance(exc, WorkerError):
                    raise
        seat.clear()


class _Seat:
    """The place of one worker, and of those that follow when it has to be given up."""

    def __init__(self, workplace: Workplace, threads: int) -> None:
        self._workplace = workplace
        self._threads = threads
        self._lock = threading.Lock()
        self._left = False
        self._worker: WorkerProcess | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        with self._lock:
            return None if self._worker is None else self._worker.pid

    def warm_up(self) -> None:
        """Start the worker before there is a job; a fault is told with the first one."""
        try:
            self._ready_worker()
        except WorkerError:
            self._give_up()

    def do(self, job: Job, progress: Progress | None) -> Reply:
        """Raises WorkerError where no worker can be started."""
        words = ""
        for attempt in range(1, MOST_TRIES + 1):
            try:
                return self._ready_worker().ask(job, progress)
            except TookTooLong:
                self._give_up()
                return Reply("", f"took longer than {job.timeout_s:g} s", job.timeout_s or 0.0)
            except WorkerGone as exc:
                self._give_up()
                words = f"its worker {exc}, in {attempt} of {MOST_TRIES} tries"
        return Reply("", words)

    def leave(self) -> None:
        """End the worker, also while it works; no other takes its place."""
        with self._lock:
            self._left = True
            if self._worker is not None:
                self._worker.kill()

    def clear(self) -> None:
        """Take back what the worker held; for the thread that serves it."""
        self.leave()
        self._give_up()

    def _ready_worker(self) -> WorkerProcess:
        words = ""
        for _ in range(MOST_TRIES):
            with self._lock:
                if self._left:
                    raise WorkerError("The workers have been ended.")
                if self._worker is not None and self._ready:
                    return self._worker
                worker = self._worker = WorkerProcess(self._workplace, self._threads)
            try:
                worker.wait_until_ready()
                self._ready = True
                return worker
            except WorkerGone as exc:
                words = str(exc)
                self._give_up()
        raise WorkerError(f"A worker cannot be started: it {words}.")

    def _give_up(self) -> None:
        with self._lock:
            worker, self._worker, self._ready = self._worker, None, False
        if worker is not None:
            worker.give_up()
