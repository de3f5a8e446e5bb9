"""What runs on the workers of a Dask cluster; imported only where Dask is installed.

Each Dask worker keeps as many offramp workers as it has threads. They hang, crash and run out of memory in their own
processes: the Dask worker stays up, keeps its heartbeat, and says what happened.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from distributed.diagnostics.plugin import WorkerPlugin

from distributed import Worker, get_worker
from offramp.distributed.executor import Job, Reply
from offramp.distributed.process_pool import ProcessPool
from offramp.errors import WorkerError
from offramp.version import __version__


@dataclass(frozen=True)
class LocalPlace:
    """A workplace whose files were unpacked in ``folder``."""

    folder: Path
    handler: str


class ShippedWorkplace(WorkerPlugin):  # type: ignore[misc]
    """A workplace on its way: its files travel once to each Dask worker, also to those that join later."""

    def __init__(self, handler: str, files: dict[str, bytes], threads: int) -> None:
        digest = hashlib.sha256(repr((handler, threads)).encode())
        for name, content in sorted(files.items()):
            digest.update(name.encode() + b"\0" + content)
        self.name = f"offramp-{digest.hexdigest()[:20]}"
        self.version = __version__
        self._handler = handler
        self._files = files
        self._threads = threads
        self._pool: ProcessPool | None = None
        self._folder: Path | None = None
        self._worker = ""

    @property
    def num_bytes(self) -> int:
        return sum(len(content) for content in self._files.values())

    def setup(self, worker: Worker) -> None:
        """Unpack the files and start workers; called by Dask on each of its workers."""
        if self.version != __version__:
            raise WorkerError(
                f"All machines must have the same offramp: {self.version} is searching, "
                f"{__version__} is on {worker.address}."
            )
        self._folder = Path(worker.local_directory) / self.name
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            (self._folder / name).write_bytes(content)
        self._worker = str(worker.address)
        self._pool = ProcessPool(LocalPlace(self._folder, self._handler), worker.state.nthreads, self._threads)

    def teardown(self, worker: Worker) -> None:
        """End the workers; called by Dask when its worker ends or the workplace is taken away."""
        if self._pool is not None:
            self._pool.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def do(self, job: Job) -> Reply:
        """In one of the workers that are kept here."""
        if self._pool is None:
            raise WorkerError(f"The Dask worker {self._worker} has no offramp workers.")
        reply = self._pool.submit(job).result()
        return Reply(reply.payload, reply.error, reply.seconds, f"{self._worker} {reply.worker}".strip())


def run_job(workplace: str, job: Job) -> Reply:
    """The task of the cluster: one job at the named workplace."""
    plugin = get_worker().plugins.get(workplace)
    if not isinstance(plugin, ShippedWorkplace):
        raise WorkerError("A Dask worker took up a job before its workplace was there; the task is lost.")
    return plugin.do(job)
