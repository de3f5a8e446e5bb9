"""The executor that the settings of a run ask for: processes of this machine, or a cluster."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offramp.distributed.dask_cluster import DaskExecutor
from offramp.distributed.executor import EVALUATE, FINISH, SOLVE, Executor
from offramp.distributed.process_pool import ProcessPool
from offramp.run.context import Context
from offramp.run.workers.worker_folder import prepare_worker_folder
from offramp.settings.execution_config import ExecutionConfig
from offramp.train.compute import default_threads

# Where a cluster runs several jobs on one machine, each gets one thread: so many processes leave no other share.
_PROCESSES_OF_A_CLUSTER = 1 << 20


def uses_workers(execution: ExecutionConfig, *, training: bool) -> bool:
    """Whether a phase of a run is left to workers.

    Args:
        execution: Which workers the user asked for.
        training: Whether the phase fine-tunes networks; otherwise it judges candidates.

    Returns:
        True where there is a cluster or a number of workers, and for a time limit on evaluations: this process cannot
        stop a computation of its own.
    """
    return execution.cluster is not None or _num_processes(execution, training=training) is not None


@contextmanager
def open_executor(context: Context, run_folder: Path, *, training: bool) -> Iterator[Executor]:
    """Start the workers that the settings ask for, and end them with the block.

    Args:
        context: The parts of the run; see `uses_workers` for when its settings ask for workers.
        run_folder: The folder of the run, in which the files of the workers lie meanwhile.
        training: Whether the workers fine-tune networks; otherwise they judge candidates.

    Yields:
        The executor.
    """
    execution, train = context.config.execution, context.config.train
    count = _num_processes(execution, training=training)
    threads = 1
    if training:
        size = max(context.dataset.input_shape[1:])
        threads = train.threads or default_threads(size, count or _PROCESSES_OF_A_CLUSTER)
    # The next resume removes the folder where a kill leaves it behind.
    folder = run_folder / ".workers.part"
    shutil.rmtree(folder, ignore_errors=True)
    worker_folder = prepare_worker_folder(context, folder, training=training, threads=threads)
    executor: Executor
    if execution.cluster is not None:
        needs = dict.fromkeys((EVALUATE, SOLVE), execution.evaluation_resources)
        needs |= {FINISH: execution.training_resources}
        executor = DaskExecutor(worker_folder, execution.cluster, threads=threads, resources=needs)
    else:
        executor = ProcessPool(worker_folder, count or 1, threads)
    try:
        yield executor
    finally:
        executor.close()
        shutil.rmtree(folder, ignore_errors=True)


def _num_processes(execution: ExecutionConfig, *, training: bool) -> int | None:
    limited = execution.evaluation_timeout_s is not None and not training
    return execution.workers or (1 if limited else None)
