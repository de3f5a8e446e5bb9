"""Claim: two processes on two cores train at least 1.7 times the images per second of one, with the same losses.

    python -m benchmarks.data_parallel [--rounds 5] [--steps 12]

Trains the supernet of the default backbone on made images of 32x32 pixels, 128 in a mini-batch, in one process with one
thread, and in two of one thread each that share every mini-batch. They take turns, so that other load of the machine
meets both. Prints the images per second and writes benchmarks/results/data_parallel.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.distributed import FileStore  # type: ignore[attr-defined]

from benchmarks.record import save_result
from offramp.progress import SilentReporter
from offramp.run.devices.launch import connect
from offramp.run.factory import build_context, build_dataset
from offramp.run.training_phase import train_supernet
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config

GOAL, BATCH = 1.7, 128


@dataclass(frozen=True)
class Rate:
    """Images per second of one turn, and the losses of its steps' mean."""

    processes: int
    images_per_s: float
    loss: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--process", nargs=3, metavar=("STORE", "RANK", "SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.process:
        store, rank, size = arguments.process
        _train(Path(store), int(rank), int(size), arguments.steps)
        return
    load = os.getloadavg()[0]
    turns = [_turn(size, arguments.steps) for _ in range(arguments.rounds) for size in (1, 2)]
    ratios = [two.images_per_s / one.images_per_s for one, two in zip(turns[::2], turns[1::2], strict=True)]
    ratio = statistics.median(ratios)
    for turn in turns:
        print(f"{turn.processes} processes: {turn.images_per_s:.1f} images/s, loss {turn.loss:.5f}")
    print(f"Two processes against one: {ratio:.2f} times (median; {min(ratios):.2f} to {max(ratios):.2f}), goal {GOAL}")
    save_result(
        "data_parallel",
        {
            "goal": GOAL,
            "ratio": ratio,
            "ratios": ratios,
            "load_before": load,
            "turns": [asdict(turn) for turn in turns],
        },
    )


def _turn(size: int, steps: int) -> Rate:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        command = [sys.executable, "-m", "benchmarks.data_parallel", "--steps", str(steps), "--process", str(store)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        processes = [subprocess.Popen([*command, str(rank), str(size)], env=environment) for rank in range(size)]
        if any(process.wait() for process in processes):
            raise SystemExit("A process failed.")
        return Rate(**json.loads(store.with_suffix(".json").read_text()))


def _train(store: Path, rank: int, size: int, steps: int) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        count = BATCH * steps + 400
        arrays = {
            "x_train": rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
            "y_train": rng.integers(0, 10, count),
            "x_test": rng.integers(0, 256, (100, 32, 32, 3), dtype=np.uint8),
            "y_test": np.arange(100) % 10,
        }
        np.savez(Path(folder) / "made.npz", **arrays)
        changes = {"data.source": f"{folder}/made.npz", "train.epochs": 1, "train.batch_size": BATCH}
        config = with_settings(Config(), changes)
        dataset = build_dataset(config, SilentReporter())
    context = build_context(config, dataset, None)
    if size > 1:
        team = connect(FileStore(str(store), size), rank, size, "cpu", 1, rank)
        context = replace(context, team=team)
    with SilentReporter().task("") as task:
        begin = time.perf_counter()
        log = train_supernet(context, None, None, task, resume=False)
        seconds = time.perf_counter() - begin
    if rank == 0:
        images = len(dataset.splits.train) // BATCH * BATCH
        store.with_suffix(".json").write_text(json.dumps(asdict(Rate(size, images / seconds, log.loss[-1]))))


if __name__ == "__main__":
    main()
