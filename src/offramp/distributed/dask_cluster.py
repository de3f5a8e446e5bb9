"""Workers of a Dask cluster behind the same interface as those of this machine."""

import contextlib
from collections.abc import Mapping
from concurrent.futures import Executor as FutureExecutor
from concurrent.futures import Future
from typing import Any

from offramp.distributed.executor import Job, Progress, Reply, Workplace
from offramp.errors import InputError, WorkerError

_CONNECT_S = 20.0
_RETRIES = 2
"""Times that a task is begun again which ended with an error of the cluster; lost workers are Dask's own affair."""


class DaskExecutor:
    """Jobs as tasks of the cluster whose scheduler listens at ``address``.

    ``resources`` are what a job of each kind needs, for workers that were started with ``--resources``; Dask gives
    tasks of lost workers to others.
    """

    def __init__(
        self,
        workplace: Workplace,
        address: str,
        *,
        threads: int = 1,
        resources: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        client = connect(address)
        from offramp.distributed.dask_tasks import ShippedWorkplace

        self._client = client
        self._resources = {kind: dict(needs) for kind, needs in (resources or {}).items()}
        self._executors: dict[str, FutureExecutor] = {}
        try:
            self._check_resources()
            files = {path.name: path.read_bytes() for path in sorted(workplace.folder.iterdir()) if path.is_file()}
            self._plugin = ShippedWorkplace(workplace.handler, files, threads)
            client.register_plugin(self._plugin)
        except WorkerError:
            client.close()
            raise
        except Exception as exc:
            client.close()
            raise WorkerError(f"The workers of cluster {address!r} cannot be set up: {exc}") from exc

    @property
    def num_workers(self) -> int:
        return max(1, sum(int(threads) for threads in self._client.nthreads().values()))

    @property
    def shipped_bytes(self) -> int:
        """What travels once to each Dask worker."""
        return self._plugin.num_bytes

    def submit(self, job: Job, progress: Progress | None = None) -> "Future[Reply]":
        """Progress within a job is not told across the network."""
        from offramp.distributed.dask_tasks import run_job

        if job.kind not in self._executors:
            needs = self._resources.get(job.kind) or None
            self._executors[job.kind] = self._client.get_executor(pure=False, retries=_RETRIES, resources=needs)
        return self._executors[job.kind].submit(run_job, self._plugin.name, job)

    def close(self) -> None:
        """Give up what is being done; the cluster stays."""
        for executor in self._executors.values():
            executor.shutdown(wait=False)
        with contextlib.suppress(Exception):  # The cluster may be gone, and then there is nothing to take back.
            self._client.unregister_worker_plugin(self._plugin.name)
        self._client.close()

    def _check_resources(self) -> None:
        """A task that no worker can take would wait for ever."""
        offered = [worker.get("resources", {}) for worker in _workers(self._client).values()]
        for kind, needs in self._resources.items():
            if not any(all(have.get(name, 0.0) >= amount for name, amount in needs.items()) for have in offered):
                wanted = ", ".join(f"{name}={amount:g}" for name, amount in needs.items())
                raise WorkerError(
                    f"Some worker of the cluster must offer what jobs of kind {kind!r} need ({wanted}), but none of "
                    f'{len(offered)} does. Start them with --resources "{wanted}".'
                )


def connect(address: str) -> Any:
    """A client of the cluster, which has a worker at least; raises InputError or WorkerError with what to do."""
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

    One that the garbage collector has to close takes a lock of Dask's; when that happens in the thread of an event loop
    that is being started, whoever starts it holds the lock, and neither goes on.
    """
    client: Any = distributed.Client.__new__(distributed.Client)
    try:
        client.__init__(address, timeout=_CONNECT_S, set_as_default=False)
    except BaseException:
        client.close()
        raise
    return client


def _workers(client: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    return found
