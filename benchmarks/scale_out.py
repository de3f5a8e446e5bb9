"""Claim: two workers on two cores do 0.85 or more of twice the work of one process, and a cluster finds the same front.

    python -m benchmarks.scale_out [--rounds 7] [--evaluations 40] [--simulate-only]

Runs the same random search on the digits in this process, with two worker processes, and on a Dask cluster with one
scheduler and two workers on this machine, one after the other in each round. Every evaluation is recorded. Then it
measures the overhead of a task with jobs that do nothing, and the bytes on the network by the counters of the loopback
device. A simulation derives from these figures what 10, 100 and 1,000 workers would achieve. Prints the tables of
docs/how-to/scale-out.md and writes benchmarks/results/scale_out.json. Other load on the machine falsifies the
efficiency, so the load average is recorded too.
"""

import argparse
import heapq
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.record import RESULTS, save_result
from offramp.distributed.dask_cluster import DaskExecutor
from offramp.distributed.executor import Executor, Handler, Job, Progress, WorkerFolder
from offramp.distributed.process_pool import ProcessPool
from offramp.jsonio import dumps
from offramp.objectives.evaluation import Evaluation
from offramp.objectives.pareto import pareto_front
from offramp.progress import SilentReporter
from offramp.records import create_run
from offramp.run.context import Context
from offramp.run.evaluators.batch_evaluator import BatchEvaluator, SequentialEvaluator
from offramp.run.evaluators.remote_evaluation import RemoteEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.run.study import Study
from offramp.run.study_factory import build_algorithm
from offramp.run.workers.worker_folder import prepare_worker_folder
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config

NUM_WORKERS, NUM_EMPTY, REQUIRED = 2, 400, 0.85
LINK_BYTES_PER_S = 125e6
"""Bandwidth of the coordinator's link in the simulation: 1 Gbit/s."""


@dataclass(frozen=True)
class Overhead:
    """Overhead of an empty job with an executor; ``wire_bytes`` is None without a network."""

    executor: str
    start_s: float
    seconds_per_task: float
    wire_bytes: float | None


@dataclass(frozen=True)
class Costs:
    """The input of the simulation: costs per task or once per worker."""

    dispatch_s: float
    record_s: float
    wire_bytes: float
    shipped_bytes: int
    worker_start_s: float


@dataclass(frozen=True)
class Simulated:
    """The simulated search of ``num_tasks`` candidates with a number of workers."""

    workers: int
    batch: int
    evaluation_s: float
    num_tasks: int
    start_s: float
    search_s: float
    candidates_per_hour: float
    efficiency: float


def nothing(folder: Path) -> Handler:
    """A handler whose jobs do nothing."""

    def handle(job: Job, progress: Progress) -> str:
        return job.payload

    return handle


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Start a scheduler and two workers of one thread as programs; yields the address."""
    file = folder / "scheduler.json"
    # They start in another folder and must find this module all the same.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    common = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    module = [sys.executable, "-m"]
    scheduler = [*module, "distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1", *options]
    worker = [*module, "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1", *options]
    programs = [subprocess.Popen(scheduler, cwd=folder, **common)]  # type: ignore[call-overload]
    try:
        while not file.exists():
            time.sleep(0.05)
        programs += [subprocess.Popen(worker, cwd=folder, **common) for _ in range(NUM_WORKERS)]  # type: ignore[call-overload]
        yield str(json.loads(file.read_text())["address"])
    finally:
        for program in programs:
            program.kill()
            program.wait()


@dataclass(frozen=True)
class Searched:
    """The time of a search from first proposal to last record, the CPU time of all processes, and the results."""

    seconds: float
    cpu_s: float
    evaluations: tuple[Evaluation, ...]


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time of this process and of others."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def search(context: Context, evaluator: BatchEvaluator, folder: Path, count: int, pids: Sequence[int] = ()) -> Searched:
    """Run a random search of ``count`` candidates; ``pids`` are the worker processes."""
    store = create_run(folder, context.config)
    study = Study(build_algorithm(context), evaluator, store)
    started, cpu = time.monotonic(), cpu_seconds(pids)
    with SilentReporter().task("") as task:
        end = study.run(count, context.config.search.batch, task)
    seconds, cpu = time.monotonic() - started, cpu_seconds(pids) - cpu
    store.close()
    return Searched(seconds, cpu, end.evaluations)


def warm(executor: Executor) -> float:
    """Wait until all workers have done a job; returns the seconds."""
    started = time.monotonic()
    for future in [executor.submit(Job("evaluate", "")) for _ in range(8 * executor.num_workers)]:
        future.result()
    return time.monotonic() - started


def loopback_bytes() -> int:
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


def empty_jobs(name: str, open_executor: Callable[[], Executor], size: int) -> Overhead:
    """Measure jobs that do nothing, with payloads of ``size`` characters in both directions."""
    started = time.monotonic()
    executor = open_executor()
    warm(executor)
    start_s = time.monotonic() - started
    payload, before, begun = "x" * size, loopback_bytes(), time.monotonic()
    for future in [executor.submit(Job("evaluate", payload)) for _ in range(NUM_EMPTY)]:
        future.result()
    seconds, wire = (time.monotonic() - begun) / NUM_EMPTY, (loopback_bytes() - before) / NUM_EMPTY
    executor.close()
    return Overhead(name, start_s, seconds, wire if name == "dask" else None)


def record_seconds(evaluations: Sequence[Evaluation], context: Context, folder: Path) -> float:
    """Seconds to record one evaluation."""
    store = create_run(folder, context.config)
    store.propose(0, [evaluation.architecture for evaluation in evaluations])
    started = time.monotonic()
    for position, evaluation in enumerate(evaluations):
        store.append(0, position, evaluation)
    seconds = (time.monotonic() - started) / len(evaluations)
    store.close()
    return seconds


def simulate(costs: Costs, workers: int, batch: int, evaluation_s: float, num_tasks: int, seed: int = 0) -> Simulated:
    """A coordinator that hands out and records one task after the other, and workers that each do one at a time.

    A batch begins when the one before it is complete. Evaluation times vary by a quarter. The files for the workers
    leave the coordinator one after the other; so do the messages, at the speed of its link.
    """
    rng = np.random.default_rng(seed)
    start = costs.worker_start_s + workers * costs.shipped_bytes / LINK_BYTES_PER_S
    hand_out = costs.dispatch_s + costs.wire_bytes / LINK_BYTES_PER_S
    now, done = 0.0, 0
    while done < num_tasks:
        size = min(batch, num_tasks - done)
        free = [now] * min(workers, size)
        ends: list[float] = []
        coordinator = now
        for duration in rng.normal(evaluation_s, evaluation_s / 4, size).clip(evaluation_s / 10):
            coordinator += hand_out
            begin = max(heapq.heappop(free), coordinator)
            heapq.heappush(free, begin + duration)
            ends.append(begin + duration)
        for end in sorted(ends):
            now = max(now, end) + costs.record_s
        done += size
    return Simulated(
        workers,
        batch,
        evaluation_s,
        num_tasks,
        start,
        now,
        3600 * num_tasks / now,
        num_tasks * evaluation_s / now / workers,
    )


def sizing(costs: Costs) -> list[Simulated]:
    """Small and large batches for each number of workers, for short and long evaluations."""
    return [
        simulate(costs, workers, batch, seconds, max(2000, 10 * workers))
        for seconds in (0.3, 3.0, 30.0)
        for workers in (10, 100, 1000)
        for batch in (20, 4 * workers)
    ]


def show(overheads: Sequence[Overhead], rows: Sequence[Simulated]) -> None:
    table = Table(title="Empty jobs")
    for heading in ("executor", "start (s)", "ms per task", "bytes on the wire per task"):
        table.add_column(heading, justify="right")
    for item in overheads:
        wire = "-" if item.wire_bytes is None else f"{item.wire_bytes:,.0f}"
        table.add_row(item.executor, f"{item.start_s:.1f}", f"{1e3 * item.seconds_per_task:.2f}", wire)
    Console().print(table)
    plan = Table(title="Simulated")
    for heading in ("s per candidate", "workers", "batch", "start (s)", "candidates per hour", "efficiency"):
        plan.add_column(heading, justify="right")
    for row in rows:
        figures = (f"{row.start_s:.0f}", f"{row.candidates_per_hour:,.0f}", f"{row.efficiency:.2f}")
        plan.add_row(f"{row.evaluation_s:g}", str(row.workers), str(row.batch), *figures)
    Console().print(plan)


@dataclass(frozen=True)
class Turns:
    """The searches of each executor, turn by turn, and the load of the machine after each turn."""

    searched: dict[str, list[Searched]]
    loads: list[float]

    def median(self, name: str, value: Callable[[Searched], float]) -> float:
        return statistics.median(value(item) for item in self.searched[name])

    def efficiency(self, name: str) -> float:
        """Speed relative to this process, divided by the number of workers: the median of all turns."""
        pairs = zip(self.searched["serial"], self.searched[name], strict=True)
        return statistics.median(serial.seconds / (NUM_WORKERS * other.seconds) for serial, other in pairs)


@dataclass(frozen=True)
class Measured:
    """All measurements with workers."""

    turns: Turns
    overheads: tuple[Overhead, ...]
    costs: Costs


def take_turns(
    context: Context, pool: ProcessPool, dask: DaskExecutor, root: Path, options: argparse.Namespace
) -> Turns:
    """Run the same search with each executor in turn."""
    evaluators: dict[str, BatchEvaluator] = {
        "serial": SequentialEvaluator(context.evaluator),
        "pool": RemoteEvaluator(pool),
        "dask": RemoteEvaluator(dask),
    }
    turns = Turns({name: [] for name in evaluators}, [])
    warm(pool)
    warm(dask)
    for round_ in range(options.rounds + 1):
        for name, evaluator in evaluators.items():
            pids = pool.pids if name == "pool" else ()
            found = search(context, evaluator, root / f"{name}-{round_}", options.evaluations, pids)
            if round_:  # The first one warms up.
                turns.searched[name].append(found)
        turns.loads.append(os.getloadavg()[0])
    return turns


def measure(context: Context, root: Path, address: str, options: argparse.Namespace) -> Measured:
    """Measure the searches, then the overhead of a job."""
    files = prepare_worker_folder(context, root / "workers", training=False, threads=1)
    pool, dask = ProcessPool(files, NUM_WORKERS), DaskExecutor(files, address)
    while dask.num_workers < NUM_WORKERS:
        time.sleep(0.1)
    turns = take_turns(context, pool, dask, root, options)
    shipped = dask.shipped_bytes
    pool.close()
    dask.close()
    evaluations = turns.searched["serial"][-1].evaluations
    # As long as what is sent and what comes back, on average.
    sizes = [len(dumps(item)) + len(dumps(item.architecture)) for item in evaluations]
    size = int(statistics.mean(sizes) / 2)
    empty = WorkerFolder(root / "empty", "benchmarks.scale_out:nothing")
    empty.folder.mkdir()
    through_pool = empty_jobs("pool", lambda: ProcessPool(empty, NUM_WORKERS), size)
    through_dask = empty_jobs("dask", lambda: DaskExecutor(empty, address), size)
    record_s = record_seconds(evaluations, context, root / "record")
    one = DaskExecutor(files, address)
    worker_start_s = warm(one)
    one.close()
    costs = Costs(through_dask.seconds_per_task, record_s, through_dask.wire_bytes or 0.0, shipped, worker_start_s)
    return Measured(turns, (through_pool, through_dask), costs)


def figures_of(measured: Measured, rows: Sequence[Simulated], context: Context, num_evaluations: int) -> dict[str, Any]:
    """The figures to save, by name."""
    turns = measured.turns
    results = {name: found[-1].evaluations for name, found in turns.searched.items()}
    fronts = {name: pareto_front(evaluations, context.objectives) for name, evaluations in results.items()}
    return {
        "evaluations": num_evaluations,
        "seconds": {name: [item.seconds for item in found] for name, found in turns.searched.items()},
        "seconds_per_candidate": turns.median("serial", lambda item: item.seconds) / num_evaluations,
        "efficiency": {name: turns.efficiency(name) for name in ("pool", "dask")},
        # With other load, more processes get a larger share of the cores: then the efficiency says nothing.
        "machine_was_free": max(turns.loads) < NUM_WORKERS + 1,
        # Hardly touched by other load: below 1 by what workers do beside judging, were both cores free.
        "cpu_seconds_serial_over_pool": turns.median("serial", lambda item: item.cpu_s)
        / turns.median("pool", lambda item: item.cpu_s),
        "load_average": turns.loads,
        "same_evaluations": all(found == results["serial"] for found in results.values()),
        "same_front": all(front == fronts["serial"] for front in fronts.values()),
        "overheads": [asdict(item) for item in measured.overheads],
        "costs": asdict(measured.costs),
        "simulated": [asdict(row) for row in rows],
    }


SHOWN = ("efficiency", "cpu_seconds_serial_over_pool", "same_front", "same_evaluations", "load_average", "costs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--simulate-only", action="store_true", help="from the figures that were saved")
    options = parser.parse_args()
    if options.simulate_only:
        saved = json.loads((RESULTS / "scale_out.json").read_text())["figures"]
        show([Overhead(**item) for item in saved["overheads"]], sizing(Costs(**saved["costs"])))
        return
    settings = {"search.algorithm": "random", "search.batch": options.evaluations, "train.threads": 1}
    config = with_settings(Config(), settings)
    context = build_context(config, build_dataset(config, SilentReporter()))
    with tempfile.TemporaryDirectory() as scratch, cluster(Path(scratch)) as address:
        measured = measure(context, Path(scratch), address, options)
    rows = sizing(measured.costs)
    figures = figures_of(measured, rows, context, options.evaluations)
    show(measured.overheads, rows)
    print({key: figures[key] for key in SHOWN})
    print(save_result("scale_out", figures))
    kept = figures["machine_was_free"] and figures["efficiency"]["pool"] >= REQUIRED and figures["same_front"]
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
