"""Pricing in separate processes: ``python -m offramp.cost.engines.zigzag.pricing_process`` answers one job per line.

A process of its own rather than a fork or a spawned copy of the caller, because a copy would run the user's script a
second time when it has no ``if __name__ == "__main__"``.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from offramp import jsonio
from offramp.cost.engines.zigzag.zigzag_call import ZigzagSettings, price_layer
from offramp.cost.report import LayerCost
from offramp.errors import OfframpError
from offramp.hardware.accelerator import Core
from offramp.workload.layer import LayerShape


@dataclass(frozen=True)
class Job:
    """A layer to be priced.

    Attributes:
        shape: The layer.
        core: The core that computes it.
        settings: How far zigzag-dse searches.
    """

    shape: LayerShape
    core: Core
    settings: ZigzagSettings


@dataclass(frozen=True)
class Answer:
    """The price of a layer, or why there is none.

    Attributes:
        cost: The cost; None where zigzag-dse rejects the layer.
        fault: The reason of a rejection; empty otherwise.
    """

    cost: LayerCost | None
    fault: str = ""


def answer_job(job: Job) -> Answer:
    """Price one layer. An error of zigzag-dse becomes the answer's fault.

    Args:
        job: The layer.

    Returns:
        The answer.
    """
    try:
        return Answer(price_layer(job.shape, job.core, job.settings))
    except OfframpError:
        raise
    except Exception as exc:
        # ZigZag signals a layer it cannot map by many exception types, AssertionError and KeyError among them.
        text = str(exc).strip().splitlines()
        return Answer(None, f"{type(exc).__name__}{': ' + text[0] if text else ''}")


def answer_jobs(jobs: Sequence[Job], num_workers: int) -> list[Answer]:
    """Price layers in several processes. A process takes the next layer as soon as it is free.

    Args:
        jobs: The layers.
        num_workers: Most processes; up to 1 prices in this process.

    Returns:
        One answer per job, in order.

    Raises:
        OfframpError: A process ended unexpectedly.
    """
    if num_workers <= 1 or len(jobs) <= 1 or not sys.executable:
        return [answer_job(job) for job in jobs]
    answers: list[Answer] = [Answer(None, "not priced")] * len(jobs)
    pending = iter(enumerate(jobs))
    lock = threading.Lock()
    workers = [_start_worker() for _ in range(min(num_workers, len(jobs)))]

    def serve(worker: subprocess.Popen[str]) -> None:
        while True:
            with lock:
                taken = next(pending, None)
            if taken is None:
                return
            answers[taken[0]] = _ask(worker, taken[1])

    try:
        with ThreadPoolExecutor(len(workers)) as threads:
            try:
                for future in [threads.submit(serve, worker) for worker in workers]:
                    future.result()
            except BaseException:
                for worker in workers:
                    worker.kill()
                raise
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    return answers


def _start_worker() -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "offramp.cost.engines.zigzag.pricing_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def _ask(worker: "subprocess.Popen[str]", job: Job) -> Answer:
    assert worker.stdin is not None
    assert worker.stdout is not None
    line = ""
    try:
        worker.stdin.write(jsonio.dumps(job) + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except OSError:
        pass  # The worker is gone; the empty answer says so.
    if not line:
        raise OfframpError(
            f"A process that prices layers with zigzag ended unexpectedly (exit code {worker.poll()}), perhaps for "
            "lack of memory. Run again with fewer processes."
        )
    return jsonio.loads(Answer, line, what="answer of a pricing process")


def main() -> None:
    """Read jobs from standard input, write answers to standard output, one JSON text per line."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr  # What ZigZag prints must not mix with the answers.
    for line in sys.stdin:
        answer = answer_job(jsonio.loads(Job, line, what="job of a pricing process"))
        output.write(json.dumps(jsonio.to_data(answer)) + "\n")
        output.flush()


if __name__ == "__main__":
    main()
