"""The part that runs on the workers of a Dask cluster; imported only where Dask is installed.

Each Dask worker keeps as many worker processes as it has threads. A job that hangs, crashes or runs out of memory ends
its own process only: the Dask worker keeps its heartbeat and reports the failure.
"""

import hashlib
import shutil
from pathlib import Path

from distributed.diagnostics.plugin import WorkerPlugin

from distributed import Worker, get_worker
from offramp.distributed.executor import Job, Reply, WorkerFolder
from offramp.distributed.process_pool import ProcessPool
from offramp.errors import WorkerError
from offramp.jsonio import dumps, loads
from offramp.version import __version__


class WorkerFolderPlugin(WorkerPlugin):  # type: ignore[misc]
    """Copies a worker folder to each Dask worker, also to those that join later, and runs a pool there.

    Attributes:
        name: The name of the plugin, which follows from the content of the files.
        version: The version of offramp that sends the files.
    """

    def __init__(self, handler: str, files: dict[str, bytes], threads: int) -> None:
        """Prepare the plugin on the machine of the search.

        Args:
            handler: ``package.module:function`` of the handler, as in `WorkerFolder`.
            files: Content of the files of the folder, by name.
            threads: Threads of torch for each job.
        """
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
        """Size of all files together."""
        return sum(len(content) for content in self._files.values())

    def setup(self, worker: Worker) -> None:
        """Write the files and start worker processes; Dask calls this on each of its workers.

        Args:
            worker: The Dask worker.

        Raises:
            WorkerError: The Dask worker has another version of offramp.
        """
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
        self._pool = ProcessPool(WorkerFolder(self._folder, self._handler), worker.state.nthreads, self._threads)

    def teardown(self, worker: Worker) -> None:
        """End the worker processes; Dask calls this when its worker ends or the plugin is removed.

        Args:
            worker: The Dask worker.
        """
        if self._pool is not None:
            self._pool.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, job: Job) -> Reply:
        """Do a job in one of the worker processes.

        Args:
            job: The job.

        Returns:
            The reply, which names the Dask worker and the process.

        Raises:
            WorkerError: The plugin was not set up on this Dask worker.
        """
        if self._pool is None:
            raise WorkerError(f"The Dask worker {self._worker} has no offramp workers.")
        reply = self._pool.submit(job).result()
        return Reply(reply.payload, reply.error, reply.seconds, f"{self._worker} {reply.worker}".strip())


def run_job(plugin_name: str, job: str) -> str:
    """The task of the cluster: one job. Text in and text out, so that neither side has to load objects.

    Args:
        plugin_name: The name of the `WorkerFolderPlugin` that does the job.
        job: The `Job` as JSON.

    Returns:
        The `Reply` as JSON.

    Raises:
        WorkerError: The plugin is not on this Dask worker.
    """
    plugin = get_worker().plugins.get(plugin_name)
    if not isinstance(plugin, WorkerFolderPlugin):
        raise WorkerError("A Dask worker began a job before it had the files of the worker folder; the task is lost.")
    return dumps(plugin.run(loads(Job, job, what="job of a worker")))
