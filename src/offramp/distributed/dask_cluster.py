"""An executor whose workers belong to a Dask cluster."""

import contextlib
from collections.abc import Mapping
from concurrent.futures import Executor as FutureExecutor
from concurrent.futures import Future
from typing import Any

from offramp.distributed.executor import Job, Progress, Reply, WorkerFolder
from offramp.errors import InputError, WorkerError
from offramp.jsonio import dumps, loads

_CONNECT_S = 20.0
_RETRIES = 2
"""Further attempts at a task that ended with an error of the cluster. Dask itself moves the tasks of lost workers."""


class _ReplyFuture(Future[Reply]):
    """The reply that the text of a task becomes."""

    def __init__(self, task: "Future[Any]") -> None:
        super().__init__()
        self._task = task
        task.add_done_callback(self._take)

    def cancel(self) -> bool:
        return self._task.cancel() and super().cancel()

    def _take(self, task: "Future[Any]") -> None:
        if task.cancelled():
            super().cancel()
        if not self.set_running_or_notify_cancel():
            return
        try:
            self.set_result(_reply_of(task.result()))
        except Exception as exc:
            self.set_exception(exc)


def _reply_of(answer: object) -> Reply:
    if not isinstance(answer, str):
        raise WorkerError(
            f"A worker of the cluster must answer with text, got {type(answer).__name__}; is its offramp the same?"
        )
    try:
        return loads(Reply, answer, what="The answer of a worker of the cluster")
    except InputError as exc:
        raise WorkerError(str(exc)) from exc


class DaskExecutor:
    """Runs jobs as tasks of a Dask cluster. Dask gives the tasks of lost workers to others."""

    def __init__(
        self,
        worker_folder: WorkerFolder,
        address: str,
        *,
        threads: int = 1,
        resources: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """Connect to the cluster and send the files of the workers.

        Args:
            worker_folder: What the workers read, and the handler of their jobs; the files are copied to each worker.
            address: Where the scheduler listens, such as ``tcp://host:8786``.
            threads: Threads of torch for each job.
            resources: Per kind of job, the amount of each resource that it needs, for workers that were started with
                ``--resources``.

        Raises:
            InputError: Dask is not installed, or no scheduler or worker answers.
            WorkerError: No worker offers the resources, or the workers cannot be set up.
        """
        client = connect(address)
        from offramp.distributed.dask_tasks import WorkerFolderPlugin

        self._client = client
        self._resources = {kind: dict(needs) for kind, needs in (resources or {}).items()}
        self._executors: dict[str, FutureExecutor] = {}
        try:
            self._check_resources()
            files = {path.name: path.read_bytes() for path in sorted(worker_folder.folder.iterdir()) if path.is_file()}
            self._plugin = WorkerFolderPlugin(worker_folder.handler, files, threads)
            client.register_plugin(self._plugin)
        except WorkerError:
            client.close()
            raise
        except Exception as exc:
            client.close()
            raise WorkerError(f"The workers of cluster {address!r} cannot be set up: {exc}") from exc

    @property
    def num_workers(self) -> int:
        """Number of jobs that run at the same time: the threads of all Dask workers."""
        return max(1, sum(int(threads) for threads in self._client.nthreads().values()))

    @property
    def shipped_bytes(self) -> int:
        """Size of the files that are sent once to each Dask worker."""
        return self._plugin.num_bytes

    def submit(self, job: Job, progress: Progress | None = None) -> "Future[Reply]":
        """Queue a job.

        Args:
            job: The job.
            progress: Not used: progress within a job is not reported across the network.

        Returns:
            The future reply, as for `Executor.submit`.
        """
        from offramp.distributed.dask_tasks import run_job

        if job.kind not in self._executors:
            needs = self._resources.get(job.kind) or None
            self._executors[job.kind] = self._client.get_executor(pure=False, retries=_RETRIES, resources=needs)
        return _ReplyFuture(self._executors[job.kind].submit(run_job, self._plugin.name, dumps(job)))

    def close(self) -> None:
        """Give up running jobs and disconnect; the cluster keeps running."""
        for executor in self._executors.values():
            executor.shutdown(wait=False)
        with contextlib.suppress(Exception):  # The cluster may have ended already.
            self._client.unregister_worker_plugin(self._plugin.name)
        self._client.close()

    def _check_resources(self) -> None:
        """Refuse resources that no worker offers: such a task would wait for ever."""
        offered = [worker.get("resources", {}) for worker in _workers(self._client).values()]
        for kind, needs in self._resources.items():
            if not any(all(have.get(name, 0.0) >= amount for name, amount in needs.items()) for have in offered):
                wanted = ", ".join(f"{name}={amount:g}" for name, amount in needs.items())
                raise WorkerError(
                    f"Some worker of the cluster must offer what jobs of kind {kind!r} need ({wanted}), but none of "
                    f'{len(offered)} does. Start them with --resources "{wanted}".'
                )


def connect(address: str) -> Any:
    """Connect to a cluster and wait for its first worker.

    Args:
        address: Where the scheduler listens, such as ``tcp://host:8786``.

    Returns:
        A Dask client, which the caller closes.

    Raises:
        InputError: Dask is not installed, no scheduler answers, or no worker comes in time.
    """
    try:
        import distributed
    except ImportError as exc:
        raise InputError('A cluster needs Dask. Install it with: pip install "offramp[cluster]"') from exc
    try:
        client = _client(distributed, address)
    except (OSError, ValueError, TimeoutError) as exc:
        raise InputError(
            f"The scheduler of a Dask cluster must answer at {address!r}, but: {exc}. "
            "Start one with `dask scheduler` and give its address, such as tcp://host:8786."
        ) from exc
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
    except TimeoutError as exc:
        client.close()
        raise InputError(
            f"The cluster at {address!r} must have workers, but none came within {_CONNECT_S:.0f} s. "
            f"Start some with `dask worker {address}`."
        ) from exc
    return client


def _client(distributed: Any, address: str) -> Any:
    """A client, closed if it cannot connect.

    A client that the garbage collector closes takes a lock of Dask. If this happens in the thread of an event loop that
    is starting, the starter holds that lock and both wait for ever.
    """
    from offramp.distributed.plain_messages import plain_address

    plain = plain_address(address)
    client: Any = distributed.Client.__new__(distributed.Client)
    try:
        # Answers are plain values: what an object would load is code of whoever answers.
        client.__init__(
            plain,
            timeout=_CONNECT_S,
            set_as_default=False,
            direct_to_workers=False,
            serializers=["msgpack"],
            deserializers=["msgpack"],
        )
    except BaseException:
        client.close()
        raise
    return client


def _workers(client: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    return found
