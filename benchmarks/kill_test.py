"""Claim: a search that is killed again and again loses nothing, repeats nothing and ends where it would have ended.

    python -m benchmarks.kill_test [--kills 50] [--whole-kills 12] [--algorithms random,nsga2,edanas]

Each search runs in a separate process, which gets SIGKILL at random moments and is resumed until it ends. Most kills
hit searches that evaluate candidates by a formula, so that most of the time goes into proposals, commits and replays.
The others hit whole searches on the digits, half of them with two worker processes, at the start or during training,
search or fine-tuning. Each search is compared with an undisturbed run with the same seed. The record must hold every
proposal with exactly one evaluation, in the same order and with the same values. The fronts must be equal, and no
process may be left. Writes benchmarks/results/kill_test.json.
"""

import argparse
import itertools
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.record import save_result
from offramp.algorithms.algorithm import ALGORITHMS
from offramp.errors import RunError
from offramp.objectives.pareto import pareto_front
from offramp.objectives.parse import parse_objectives
from offramp.records import read_run

_STUDY = """
import sys, time
from pathlib import Path
from offramp.settings.config import Config
from offramp.objectives.parse import DEFAULT_OBJECTIVES
from offramp.progress import SilentReporter
from offramp.algorithms.algorithm import ALGORITHMS
from offramp.records import create_run, resume_run
from offramp.run.study import Study
from offramp.testing.toys import ToyEvaluator, small_space
class Slow:
    def evaluate(self, architecture):
        time.sleep(0.005)
        return ToyEvaluator().evaluate(architecture)
folder, algorithm = Path(sys.argv[1]), ALGORITHMS.get(sys.argv[2])(small_space(), DEFAULT_OBJECTIVES, (), 5)
known = (folder / "run.sqlite").exists() and (folder / "run.sqlite").stat().st_size > 0
store = resume_run(folder) if known else create_run(folder, Config())
store.set("phase", "search")
study = Study(algorithm, Slow(), store)
study.replay()
with SilentReporter().task("") as task:
    study.run(240, 12, task)
"""
_WHOLE = """
import sys
from pathlib import Path
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.run.api import search
folder, algorithm, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) or None
settings = with_settings(Config(), {
    "train.epochs": 2, "train.random_subnets": 0, "fine_tune.epochs": 1, "fine_tune.picks": ("cheapest",),
    "search.algorithm": algorithm, "search.evaluations": 36, "search.batch": 12,
    "search.validation_samples": 100, "search.calibration_samples": 128,
})
known = (folder / "run.sqlite").exists() and (folder / "run.sqlite").stat().st_size > 0
search(None if known else settings, run=folder, resume=known, execution__workers=workers)
"""
_LIMIT_S = 900.0


@dataclass(frozen=True)
class Plan:
    """Searches of one kind that are killed ``kills`` times in all."""

    algorithm: str
    whole: bool
    workers: int
    kills: int

    def command(self, folder: Path) -> list[str]:
        code = _WHOLE if self.whole else _STUDY
        return [sys.executable, "-c", code, str(folder), self.algorithm, str(self.workers)]

    @property
    def name(self) -> str:
        return f"{self.algorithm}-{'whole' if self.whole else 'study'}-{self.workers}"


@dataclass(frozen=True)
class Outcome:
    """The comparison of a search that was killed with the undisturbed one."""

    algorithm: str
    whole_search: bool
    workers: int
    kills: int
    kills_by_phase: dict[str, int]
    undisturbed_s: float
    proposals: int
    lost: int
    doubled: int
    differing: int
    same_front: bool
    processes_left: int

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.differing or self.processes_left) and self.same_front


def undisturbed(folder: Path, plan: Plan) -> float:
    """Run to the end; returns the seconds it took."""
    started = time.monotonic()
    subprocess.run(plan.command(folder), check=True, timeout=_LIMIT_S)
    return time.monotonic() - started


def phase_of(folder: Path) -> str:
    """The phase in which the search was killed, from its record."""
    try:
        store = read_run(folder)
    except RunError:
        return "start"
    try:
        return store.get("phase") or "start"
    finally:
        store.close()


def disturbed(folder: Path, plan: Plan, kills: int, longest_s: float, rng: random.Random) -> list[str]:
    """Kill up to ``kills`` times, each after a random part of ``longest_s``, then let it end; returns the phases."""
    phases: list[str] = []
    while True:
        process = subprocess.Popen(plan.command(folder), stderr=subprocess.PIPE, text=True)
        try:
            wait = rng.uniform(0.0, longest_s) if len(phases) < kills else _LIMIT_S
            _, errors = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            phases.append(phase_of(folder))
            continue
        if process.returncode:
            raise SystemExit(f"{plan.name}: a resumed search ended with an error: {errors.strip()[-2000:]}")
        return phases


def rows(folder: Path) -> list[tuple[int, int, str, str | None]]:
    """(batch, position, architecture, evaluation) of the record, read by SQL alone."""
    connection = sqlite3.connect(folder / "run.sqlite")
    try:
        return connection.execute(
            "SELECT p.batch, p.position, p.architecture, e.payload FROM proposals p LEFT JOIN evaluations e "
            "ON e.batch = p.batch AND e.position = p.position ORDER BY p.batch, p.position"
        ).fetchall()
    finally:
        connection.close()


def front_of(folder: Path) -> object:
    store = read_run(folder)
    try:
        objectives = parse_objectives(store.config.search.objectives)
        return pareto_front(store.evaluations(), objectives)
    finally:
        store.close()


def workers_left(folder: Path) -> int:
    """Number of worker processes of a run that are still there."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            found += b"offramp.distributed.worker_main" in line and str(folder).encode() in line
    return found


@dataclass(frozen=True)
class Comparison:
    """Evaluations lost, doubled and differing, and whether the fronts are equal."""

    lost: int
    doubled: int
    differing: int
    same_front: bool


def compare(whole: Path, torn: Path) -> Comparison:
    """Compare the record of a killed search with that of an undisturbed one."""
    expected, found = rows(whole), rows(torn)
    keys = [row[:2] for row in found]
    done = {row[:2]: row for row in found if row[3] is not None}
    lost = sum(row[:2] not in done for row in expected)
    doubled = len(keys) - len(set(keys)) + len(found) - len({row[2] for row in found})
    differing = sum(row[:2] in done and done[row[:2]] != row for row in expected)
    return Comparison(lost, doubled, differing + abs(len(found) - len(expected)), front_of(whole) == front_of(torn))


def trial(root: Path, plan: Plan, rng: random.Random) -> list[Outcome]:
    """Run the searches of a plan until all its kills are used."""
    whole = root / f"{plan.name}-undisturbed"
    seconds = undisturbed(whole, plan)
    outcomes: list[Outcome] = []
    left = plan.kills
    for number in itertools.count():
        if left <= 0:
            return outcomes
        torn = root / f"{plan.name}-{number}"
        phases = disturbed(torn, plan, left, 1.1 * seconds, rng)
        if not phases:
            continue
        time.sleep(0.5)
        found = compare(whole, torn)
        outcomes.append(
            Outcome(
                plan.algorithm,
                plan.whole,
                plan.workers,
                len(phases),
                {phase: phases.count(phase) for phase in sorted(set(phases))},
                seconds,
                len(rows(torn)),
                found.lost,
                found.doubled,
                found.differing,
                found.same_front,
                workers_left(torn),
            )
        )
        print(outcomes[-1], flush=True)
        left -= len(phases)
    return outcomes


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50, help="of searches that judge by formula")
    parser.add_argument("--whole-kills", type=int, default=12, help="of whole searches on the digits")
    parser.add_argument("--algorithms", default="random,nsga2,edanas")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    names = options.algorithms.split(",")
    for name in names:
        ALGORITHMS.get(name)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rng = random.Random(options.seed)
    plans = [
        Plan(name, False, 0, options.kills // len(names) + (index < options.kills % len(names)))
        for index, name in enumerate(names)
    ]
    half = options.whole_kills // 2
    plans += [Plan(names[0], True, 0, half), Plan(names[-1], True, 2, options.whole_kills - half)]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as root:
        for plan in plans:
            if plan.kills:
                outcomes += trial(Path(root), plan, rng)
    figures = {
        "kills": sum(outcome.kills for outcome in outcomes),
        "lost": sum(outcome.lost for outcome in outcomes),
        "doubled": sum(outcome.doubled for outcome in outcomes),
        "differing": sum(outcome.differing for outcome in outcomes),
        "fronts_equal": all(outcome.same_front for outcome in outcomes),
        "searches": [asdict(outcome) for outcome in outcomes],
    }
    print({name: value for name, value in figures.items() if name != "searches"}, save_result("kill_test", figures))
    sys.exit(
        0
        if all(outcome.holds for outcome in outcomes) and figures["kills"] >= options.kills + options.whole_kills
        else 1
    )


if __name__ == "__main__":
    main()
