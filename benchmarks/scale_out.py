"""Claim: two workers on two cores do 0.85 or more of twice the work of one process, and a cluster finds the same front.

    python -m benchmarks.scale_out [--rounds 7] [--evaluations 40] [--simulate-only]

One search by chance on the digits, by this process, by two worker processes and by a Dask cluster of a scheduler and
two workers on this machine, turn by turn; every evaluation goes through the record. Then what a task costs beside its
work: jobs that do nothing, bytes by the counters of the loopback device. From those figures follows, by simulation,
what 10, 100 and 1,000 workers would do. Prints the tables of docs/how-to/scale-out.md and writes
benchmarks/results/scale_out.json. Other load on the machine spoils the efficiency: the load average stands beside it.
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

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.record import RESULTS, save_result
from offramp.build import build_algorithm, build_context, build_dataset
from offramp.config import Config, with_settings
from offramp.evaluate.context import Context
from offramp.evaluate.remote import RemoteEvaluator
from offramp.jsonio import dumps
from offramp.objectives.evaluation import Evaluation
from offramp.objectives.pareto import pareto_front
from offramp.progress import SilentReporter
from offramp.store import create_run
from offramp.study import BatchEvaluator, OneByOne, Study
from offramp.workers.base import Executor, Handler, Job, Progress
from offramp.workers.cluster import DaskExecutor
from offramp.workers.pool import ProcessPool
from offramp.workplace import Desk, set_up_desk, supernet_evaluator

NUM_WORKERS, NUM_EMPTY, REQUIRED = 2, 400, 0.85
LINK_BYTES_PER_S = 125e6
"""What the simulation takes for the coordinator's link: 1 Gbit/s."""


@dataclass(frozen=True)
class Overhead:
    """What an empty job costs through an executor; ``wire_bytes`` None where nothing goes over a network."""

    executor: str
    start_s: float
    seconds_per_task: float
    wire_bytes: float | None


@dataclass(frozen=True)
class Costs:
    """What the simulation starts from, per task or once per worker."""

    dispatch_s: float
    record_s: float
    wire_bytes: float
    shipped_bytes: int
    worker_start_s: float


@dataclass(frozen=True)
class Simulated:
    """What a number of workers would do with a search of ``num_tasks`` candidates."""

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
    """A scheduler and two workers of one thread as programs; yields the address."""
    file, common = folder / "scheduler.json", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
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
    """A search: from the first proposal to the last record, and what it found; CPU time of all that took part."""

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
    """By chance, ``count`` candidates; ``pids`` are those who help."""
    store = create_run(folder, context.config)
    study = Study(build_algorithm(context), evaluator, store)
    started, cpu = time.monotonic(), cpu_seconds(pids)
    with SilentReporter().task("") as task:
        end = study.run(count, context.config.search.batch, task)
    seconds, cpu = time.monotonic() - started, cpu_seconds(pids) - cpu
    store.close()
    return Searched(seconds, cpu, end.evaluations)


def warm(executor: Executor) -> float:
    """Wait until all workers have done something; returns the seconds."""
    started = time.monotonic()
    for future in [executor.submit(Job("evaluate", "")) for _ in range(8 * executor.num_workers)]:
        future.result()
    return time.monotonic() - started


def loopback_bytes() -> int:
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


def empty_jobs(name: str, open_executor: Callable[[], Executor], size: int) -> Overhead:
    """The cost of jobs that do nothing, with payloads of ``size`` characters there and back."""
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
    """What writing one evaluation takes."""
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


def main() -> None:
    parser = argparse.ArgumentParser()
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
    times: dict[str, list[float]] = {"serial": [], "pool": [], "dask": []}
    cpu: dict[str, list[float]] = {"serial": [], "pool": [], "dask": []}
    results: dict[str, tuple[Evaluation, ...]] = {}
    loads: list[float] = []
    with tempfile.TemporaryDirectory() as scratch, cluster(Path(scratch)) as address:
        root = Path(scratch)
        desk = set_up_desk(context, root / "desk", training=False, threads=1)
        pool, dask = ProcessPool(desk, NUM_WORKERS), DaskExecutor(desk, address)
        while dask.num_workers < NUM_WORKERS:
            time.sleep(0.1)
        evaluators: dict[str, BatchEvaluator] = {
            "serial": OneByOne(supernet_evaluator(context)),
            "pool": RemoteEvaluator(pool),
            "dask": RemoteEvaluator(dask),
        }
        warm(pool)
        warm(dask)
        for round_ in range(options.rounds + 1):
            for name, evaluator in evaluators.items():
                pids = pool.pids if name == "pool" else ()
                found = search(context, evaluator, root / f"{name}-{round_}", options.evaluations, pids)
                results[name] = found.evaluations
                if round_:  # The first one warms up.
                    times[name].append(found.seconds)
                    cpu[name].append(found.cpu_s)
            loads.append(os.getloadavg()[0])
        shipped = dask.shipped_bytes
        pool.close()
        dask.close()
        # As long as what is sent and what comes back, on average.
        sizes = [len(dumps(item)) + len(dumps(item.architecture)) for item in results["serial"]]
        size = int(statistics.mean(sizes) / 2)
        empty = Desk(root / "empty", "benchmarks.scale_out:nothing")
        empty.folder.mkdir()
        overheads = [
            empty_jobs("pool", lambda: ProcessPool(empty, NUM_WORKERS), size),
            empty_jobs("dask", lambda: DaskExecutor(empty, address), size),
        ]
        record_s = record_seconds(results["serial"], context, root / "record")
        one = DaskExecutor(desk, address)
        worker_start_s = warm(one)
        one.close()
    costs = Costs(overheads[1].seconds_per_task, record_s, overheads[1].wire_bytes or 0.0, shipped, worker_start_s)
    efficiency = {
        name: statistics.median(
            serial / (NUM_WORKERS * taken) for serial, taken in zip(times["serial"], times[name], strict=True)
        )
        for name in ("pool", "dask")
    }
    fronts = {name: pareto_front(evaluations, context.objectives) for name, evaluations in results.items()}
    rows = sizing(costs)
    figures = {
        "evaluations": options.evaluations,
        "seconds": times,
        "seconds_per_candidate": statistics.median(times["serial"]) / options.evaluations,
        "efficiency": efficiency,
        # With other load, more processes get a larger share of the cores: then the efficiency says nothing.
        "machine_was_free": max(loads) < NUM_WORKERS + 1,
        # Hardly touched by other load: below 1 by what workers do beside judging, were both cores free.
        "cpu_seconds_serial_over_pool": statistics.median(cpu["serial"]) / statistics.median(cpu["pool"]),
        "load_average": loads,
        "same_evaluations": all(found == results["serial"] for found in results.values()),
        "same_front": all(front == fronts["serial"] for front in fronts.values()),
        "overheads": [asdict(item) for item in overheads],
        "costs": asdict(costs),
        "simulated": [asdict(row) for row in rows],
    }
    show(overheads, rows)
    print(
        {
            key: figures[key]
            for key in (
                "efficiency",
                "cpu_seconds_serial_over_pool",
                "same_front",
                "same_evaluations",
                "load_average",
                "costs",
            )
        }
    )
    print(save_result("scale_out", figures))
    sys.exit(0 if figures["machine_was_free"] and efficiency["pool"] >= REQUIRED and figures["same_front"] else 1)


if __name__ == "__main__":
    main()
