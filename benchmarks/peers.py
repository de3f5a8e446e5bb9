"""Claim: the exact search reaches NACHOS's final hypervolume with at most 1/5 of its trained candidates.

    python -m benchmarks.peers                                     # the digits, minutes
    python -m benchmarks.peers --data ../shared/data/cifar10 --epochs 8 --folder runs/peers-cifar10      # hours

All algorithms search the same supernet with the same data, cost engine and budget of trained candidates, over several
seeds. A trained candidate is one network whose batch norms were calibrated and which was run over the validation
samples; the exact search runs a backbone with all of its exits at once, which counts as one. MACs are counted twice:
with every branch a sample ran through, and as in the peers' publications, which leave out the branches before the one
it left at. What early exits add to the front of the static networks that a search judged is a figure of its own.
Nothing is fine-tuned, so that there is no rank correlation. Each finished search is kept in the folder, so that a run
that was stopped goes on where it was. Writes
benchmarks/results/peers_<data>.json and .html.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.curves import Curve, mean_and_interval, write_figure
from benchmarks.record import save_result
from benchmarks.supernets import Prepared, prepare
from offramp.algorithms.algorithm import ALGORITHMS
from offramp.algorithms.exact.backbone_solver import TableSolver
from offramp.algorithms.exact.exact import Exact
from offramp.algorithms.peers.aebnas import Aebnas
from offramp.algorithms.peers.edanas import Edanas
from offramp.algorithms.peers.nachos import Nachos
from offramp.algorithms.peers.surrogate_search import SurrogateSettings
from offramp.files.safe_files import write_atomically
from offramp.nn.lowering.lower import lower
from offramp.numerics.dominance import distinct_front
from offramp.objectives.evaluation import Evaluation, Objective, SearchAlgorithm
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator
from offramp.workload.graph import Role

NAMES = ("random", "nsga2", "edanas", "nachos", "aebnas", "progressive", "exact")
OBJECTIVES = (Objective("accuracy", "maximize"), Objective("macs", "minimize"))
BATCH = 8
LOWEST_ACCURACY = 0.5
"""Of the reference point; its MACs are those of the largest backbone with its final classifier alone."""


@dataclass(frozen=True)
class Tried:
    """One evaluation: how many candidates were trained when it was known, and its values in both conventions.

    Static networks that came along with early-exit ones are marked: they count for the static front alone.
    """

    trained: int
    accuracy: float
    macs: float
    published_macs: float
    is_static: bool = False
    came_along: bool = False


def build(name: str, prepared: Prepared, seed: int, num_first: int) -> SearchAlgorithm:
    """The registered algorithm; the published sizes of the first sample are for larger budgets."""
    space, family = prepared.context.space, {"edanas": Edanas, "nachos": Nachos, "aebnas": Aebnas}
    if name in family:
        return family[name](space, OBJECTIVES, (), seed, SurrogateSettings(num_first=num_first))
    return ALGORITHMS.get(name)(space, OBJECTIVES, (), seed)


def published_macs(prepared: Prepared, evaluation: Evaluation) -> float:
    """Mean MACs without those of branches before the exit a sample left at."""
    assert evaluation.details is not None
    workload = lower(prepared.context.supernet.extract(evaluation.architecture))
    branches = [sum(x.shape.macs for x in workload.stage_layers(s, Role.BRANCH)) for s in range(workload.num_stages)]
    before = np.cumsum([0, *branches[:-1]])
    return float(np.dot(evaluation.details.profile.rates, np.asarray(workload.macs_to_exit()) - before))


def tried_networks(prepared: Prepared, evaluation: Evaluation, known: int) -> list[Tried]:
    """An evaluation, and the static networks that came along with it, of which none was trained for itself."""
    found = []
    if evaluation.feasible:
        values, macs = evaluation.values, published_macs(prepared, evaluation)
        found.append(Tried(known, values["accuracy"], values["macs"], macs, evaluation.architecture.is_static))
    for static in evaluation.statics:
        if static.feasible:
            values = static.values
            found.append(Tried(known, values["accuracy"], values["macs"], values["macs"], True, True))
    return found


def run(name: str, prepared: Prepared, seed: int, budget: int, num_first: int) -> list[Tried]:
    """One search until its budget of trained candidates is spent."""
    algorithm = build(name, prepared, seed, num_first)
    evaluator = CachedLogitsEvaluator(prepared.direct, prepared.context.space)
    if isinstance(algorithm, Exact):
        algorithm.use_solver(TableSolver(evaluator, prepared.context.space, OBJECTIVES, ()))
    tried: list[Tried] = []
    known = 0
    while True:
        # One by one, so that it is known how many were trained for each; told in batches as in a search.
        batch = []
        spent = False
        for _ in range(BATCH):
            asked = algorithm.ask(1)
            if not asked:
                break
            if isinstance(algorithm, Exact):
                known = evaluator.num_forwards
                spent = known > budget
            elif known == budget:
                spent = True
            if spent:
                break
            evaluation = (evaluator if isinstance(algorithm, Exact) else prepared.direct).evaluate(asked[0])
            known = evaluator.num_forwards if isinstance(algorithm, Exact) else known + 1
            batch.append(evaluation)
            tried += tried_networks(prepared, evaluation, known)
        if not batch or spent:
            return tried
        algorithm.tell(batch)


def volumes(tried: list[Tried], largest: float, budget: int, *, published: bool) -> list[float]:
    """Share of the box between the reference point and (1, 0) that is dominated, after 1 to ``budget`` candidates."""
    grid, best = [], []
    own = [item for item in tried if not item.came_along]
    points = sorted((t.trained, t.published_macs if published else t.macs, t.accuracy) for t in own)
    front: list[tuple[float, float]] = []
    place = 0
    for trained in range(1, budget + 1):
        while place < len(points) and points[place][0] <= trained:
            front.append(points[place][1:])
            place += 1
        front = _undominated(front)
        grid.append(trained)
        best.append(_area(front, largest))
    return best


def beyond_static(tried: list[Tried], largest: float, *, published: bool) -> float:
    """What early-exit networks add to the area that the static ones dominate."""

    def point(item: Tried) -> tuple[float, float]:
        return (item.published_macs if published else item.macs, item.accuracy)

    static = [point(item) for item in tried if item.is_static]
    return _area(_undominated([point(item) for item in tried]), largest) - _area(_undominated(static), largest)


def _undominated(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    goals = np.array([[macs, -accuracy] for macs, accuracy in points]).reshape(-1, 2)
    return [points[index] for index in distinct_front(goals)]


def _area(front: list[tuple[float, float]], largest: float) -> float:
    inside = [(macs / largest, (acc - LOWEST_ACCURACY) / (1 - LOWEST_ACCURACY)) for macs, acc in front]
    inside = [(x, y) for x, y in inside if x < 1.0 and y > 0.0]
    if not inside:
        return 0.0
    ends = [*(x for x, _ in inside[1:]), 1.0]
    return sum((end - x) * y for (x, y), end in zip(inside, ends, strict=True))


def first_reaching(values: list[float], goal: float) -> int | None:
    """Trained candidates until a volume is reached."""
    return next((index + 1 for index, value in enumerate(values) if value >= goal), None)


def collect(arguments: argparse.Namespace, prepared: Prepared) -> dict[str, list[list[Tried]]]:
    """All searches; those that are in the folder are read back."""
    found: dict[str, list[list[Tried]]] = {}
    for seed in range(arguments.seeds):
        for name in arguments.algorithms.split(","):
            file = Path(arguments.folder) / f"beyond-{name}-{seed}-{arguments.candidates}.json"
            if not file.exists():
                began = time.monotonic()
                budget = arguments.exact_candidates if name == "exact" else arguments.candidates
                rows = run(name, prepared, seed, budget, arguments.first)
                write_atomically(file, json.dumps([asdict(row) for row in rows]))
                print(f"{name} seed {seed}: {len(rows)} evaluations, {time.monotonic() - began:.0f} s", flush=True)
            rows = [Tried(**row) for row in json.loads(file.read_text())]
            found.setdefault(name, []).append(rows)
    return found


def summarize(found: dict[str, list[list[Tried]]], largest: float, budget: int) -> dict[str, object]:
    """Final volumes with 95 % intervals, and what it takes to reach NACHOS's."""
    figures: dict[str, object] = {}
    for convention, published in (("all branches", False), ("published", True)):
        curves = {
            name: [volumes(t, largest, budget, published=published) for t in runs] for name, runs in found.items()
        }
        goal = [run[-1] for run in curves["nachos"]] if "nachos" in curves else []
        rows = {}
        for name, runs in curves.items():
            mean, half = mean_and_interval([run[-1] for run in runs])
            added = [beyond_static(tried, largest, published=published) for tried in found[name]]
            beyond, beyond_half = mean_and_interval(added)
            reached = [first_reaching(run, target) for run, target in zip(runs, goal, strict=False)]
            known = [item for item in reached if item is not None]
            rows[name] = {
                "hypervolume": mean,
                "interval_95": half,
                "volume_beyond_static": beyond,
                "interval_95_beyond_static": beyond_half,
                "candidates_to_nachos_final": reached,
                "mean_candidates_to_nachos_final": float(np.mean(known)) if len(known) == len(goal) and goal else None,
                "curve": np.mean(runs, axis=0).round(5).tolist(),
                "curve_interval_95": [mean_and_interval(list(c))[1] for c in np.asarray(runs).T],
            }
        figures[convention] = rows
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--backbone", default="resnet")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--exact-candidates", type=int, default=25)
    parser.add_argument("--first", type=int, default=50, help="random candidates of EDANAS, NACHOS and AEBNAS")
    parser.add_argument("--branches", default="", help="branch types of the space; conv: all have what NACHOS has")
    parser.add_argument("--algorithms", default=",".join(NAMES))
    parser.add_argument("--folder", default="runs/peers-digits")
    arguments = parser.parse_args()
    changes: dict[str, object] = {
        "data.source": arguments.data,
        "space.backbone": arguments.backbone,
        "train.epochs": arguments.epochs,
    }
    if arguments.branches:
        changes["space.branches"] = arguments.branches.split(",")
    prepared = prepare(Path(arguments.folder), changes)
    static = prepared.direct.evaluate(prepared.context.space.max_architecture())
    largest = static.values["macs"]
    found = collect(arguments, prepared)
    figures = summarize(found, largest, arguments.candidates)
    console = Console(width=150)
    for convention, rows in figures.items():
        table = Table(title=f"{prepared.context.dataset.name}, MACs: {convention}; {arguments.seeds} seeds")
        for heading in ("algorithm", "hypervolume", "+/- 95 %", "beyond static", "candidates to NACHOS's final volume"):
            table.add_column(heading)
        assert isinstance(rows, dict)
        for name, row in rows.items():
            shown = (row["hypervolume"], row["interval_95"], row["volume_beyond_static"])
            table.add_row(name, *(f"{value:.4f}" for value in shown), str(row["candidates_to_nachos_final"]))
        console.print(table)
    suffix = f"_{arguments.branches.replace(',', '_')}" if arguments.branches else ""
    name = f"peers_{prepared.context.dataset.name}{suffix}"
    path = save_result(name, {"settings": vars(arguments), "largest_macs": largest, "conventions": figures})
    curves = {
        convention: [Curve(n, r["curve"], r["curve_interval_95"]) for n, r in rows.items()]  # type: ignore[attr-defined]
        for convention, rows in figures.items()
    }
    write_figure(path.with_suffix(".html"), f"Hypervolume against trained candidates: {name[6:]}", curves)
    print(path)


if __name__ == "__main__":
    main()
