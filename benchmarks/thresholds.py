"""Claim: all combinations of thresholds of 4 exits on 10,000 samples are judged at 1e7 per second or more.

    python -m benchmarks.thresholds

"Judged" means from cached logits to the choice: confidences, accuracy and expected cost of every combination, and
either the cheapest one or the whole trade-off curve. Best of several runs on one core; prints a table and writes
benchmarks/results/thresholds.json.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.best_policy import best_policy
from benchmarks.record import save_result
from offramp.exits.score_thresholds import ThresholdGrid, score_samples
from offramp.exits.thresholds import trade_off_curve

NUM_SAMPLES, NUM_CLASSES, REPETITIONS, REQUIRED_PER_SECOND = 10_000, 10, 7, 1e7


@dataclass(frozen=True)
class Speed:
    """One measurement; ``seconds`` of CPU time for all combinations."""

    question: str
    early_exits: int
    thresholds_per_exit: tuple[int, ...]
    combinations: int
    seconds: float
    combinations_per_second: float


def outputs(num_exits: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Logits of ever better exits, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, NUM_CLASSES, NUM_SAMPLES)
    ease, logits = rng.normal(1.0, 0.6, NUM_SAMPLES), []
    for strength in np.linspace(1.6, 3.0, num_exits):
        values = rng.normal(size=(NUM_SAMPLES, NUM_CLASSES))
        values[np.arange(NUM_SAMPLES), labels] += 1.5 * strength * ease
        logits.append(values.astype(np.float32))
    return logits, labels


def measure(num_exits: int, step: float) -> list[Speed]:
    """Both questions for a network with ``num_exits`` exits, the final one included."""
    logits, labels = outputs(num_exits)
    costs = np.arange(1.0, num_exits + 1.0)
    grid = ThresholdGrid(step=step, num_quantiles=8, max_combinations=10**9)
    lengths = tuple(len(grid.thresholds(row)) for row in score_samples(logits, labels, costs, "max_probability").scores)
    questions: dict[str, Callable[[], object]] = {
        "cheapest with at most 0.01 less accuracy": lambda: best_policy(
            logits, labels, costs, "max_probability", 0.01, grid
        ),
        "whole trade-off curve": lambda: trade_off_curve(logits, labels, costs, "max_probability", grid),
    }
    speeds = []
    for question, ask in questions.items():
        times = []
        for _ in range(REPETITIONS):
            started = time.process_time()
            ask()
            times.append(time.process_time() - started)
        combinations, best = math.prod(lengths), min(times)
        speeds.append(Speed(question, num_exits - 1, lengths, combinations, round(best, 5), combinations / best))
    return speeds


def main() -> int:
    # Four exits: three early ones and the final classifier. Five: four early ones.
    speeds = [*measure(4, 0.01), *measure(5, 0.03)]
    table = Table(title=f"{NUM_SAMPLES} samples, {NUM_CLASSES} classes")
    for heading in ("question", "early exits", "combinations", "seconds", "per second"):
        table.add_column(heading, justify="left" if heading == "question" else "right")
    for item in speeds:
        cells = (item.early_exits, item.combinations, f"{item.seconds:.3f}", f"{item.combinations_per_second:.2e}")
        table.add_row(item.question, *map(str, cells))
    Console().print(table)
    path = save_result("thresholds", [asdict(item) for item in speeds])
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 0 if all(item.combinations_per_second >= REQUIRED_PER_SECOND for item in speeds) else 1


if __name__ == "__main__":
    sys.exit(main())
