"""Claim: on a table with a known true front, `exact` misses less of it than every other algorithm, over 30 seeds.

    python -m benchmarks.peers_table                                 # the shipped table of the digits
    python -m benchmarks.peers_table --table cifar10.npz --candidates 100 --first 50

All algorithms search the same table with the same budget of trained candidates. A trained candidate is one network that
was run over the validation samples; the exact search runs a backbone with all of its exits at once, which counts as
one. The objectives are accuracy on validation samples and expected MACs, with every executed branch charged. The figure
is the regret: the share of the true front's hypervolume that is missed. Beside it: the hypervolume of what was found
beyond that of all static networks of the table, as a share of the true front's. Nothing in a table was fine-tuned, so
that there is no rank correlation between the supernet and training. Each finished search is kept in the folder, so
that a run that was stopped goes on where it was. Writes benchmarks/results/peers_table_<data>.json and .html.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.curves import Curve, mean_and_interval, write_figure
from benchmarks.peers import NAMES, OBJECTIVES
from benchmarks.record import save_result
from offramp.algorithms.algorithm import ALGORITHMS
from offramp.algorithms.exact.backbone_solver import BackboneSolution, TableSolver
from offramp.algorithms.exact.exact import Exact
from offramp.algorithms.peers.aebnas import Aebnas
from offramp.algorithms.peers.edanas import Edanas
from offramp.algorithms.peers.nachos import Nachos
from offramp.algorithms.peers.surrogate_search import SurrogateSettings
from offramp.files.safe_files import write_atomically
from offramp.objectives.evaluation import Evaluation, SearchAlgorithm
from offramp.objectives.pareto import pareto_front
from offramp.space.architecture import Architecture
from offramp.tabular.benchmark_table import Table


class CountingSolver(TableSolver):
    """Counts the backbones that a search had solved; what another seed had solved is looked up."""

    num_solved = 0
    known: ClassVar[dict[Architecture, BackboneSolution | None]] = {}

    def solve(self, backbone: Architecture) -> BackboneSolution | None:
        self.num_solved += 1
        if backbone not in self.known:
            self.known[backbone] = super().solve(backbone)
        return self.known[backbone]


def build(name: str, table: Table, seed: int, num_first: int) -> tuple[SearchAlgorithm, CountingSolver | None]:
    """The registered algorithm; the published sizes of the first sample are for larger budgets."""
    family = {"edanas": Edanas, "nachos": Nachos, "aebnas": Aebnas}
    if name in family:
        return family[name](table.space, OBJECTIVES, (), seed, SurrogateSettings(num_first=num_first)), None
    algorithm = ALGORITHMS.get(name)(table.space, OBJECTIVES, (), seed)
    if not isinstance(algorithm, Exact):
        return algorithm, None
    solver = CountingSolver(table, table.space, OBJECTIVES, ())
    algorithm.use_solver(solver)
    return algorithm, solver


class Baseline:
    """The front of all static networks of a table."""

    def __init__(self, table: Table) -> None:
        self.reference = table.reference_point(OBJECTIVES)
        self.whole = table.true_front(OBJECTIVES).hypervolume(self.reference)
        self.static = pareto_front(table.statics(), OBJECTIVES)

    def share_beyond(self, found: Sequence[Evaluation]) -> float:
        """What networks add to the hypervolume of the static front, as a share of the true front's."""
        joint = pareto_front([*self.static.evaluations, *found], OBJECTIVES)
        return (joint.hypervolume(self.reference) - self.static.hypervolume(self.reference)) / self.whole


def regrets(
    name: str, table: Table, seed: int, arguments: argparse.Namespace, baseline: Baseline
) -> dict[str, list[float] | float]:
    """The regret after 1, 2, 3 ... trained candidates, and what was found beyond the static front in the end."""
    algorithm, solver = build(name, table, seed, arguments.first)
    reference, whole = baseline.reference, baseline.whole
    curve: list[float] = []
    front: Sequence[Evaluation] = ()
    trained = 0
    while trained <= arguments.candidates:
        batch = []
        for _ in range(arguments.batch):
            asked = algorithm.ask(1)
            trained = solver.num_solved if solver is not None else trained + len(asked)
            if not asked or trained > arguments.candidates:
                break
            batch.append(table.evaluate(asked[0]))
            front = pareto_front([*front, batch[-1]], OBJECTIVES).evaluations
            missed = 1.0 - pareto_front(front, OBJECTIVES).hypervolume(reference) / whole
            curve += [curve[-1] if curve else 1.0] * (trained - len(curve))
            curve[-1] = missed
        if not batch:
            break
        algorithm.tell(batch)
    whole_curve = [*curve, *[curve[-1]] * (arguments.candidates - len(curve))]
    return {"curve": whole_curve, "beyond_static": baseline.share_beyond(front)}


def collect(
    arguments: argparse.Namespace, table: Table, baseline: Baseline
) -> dict[str, list[dict[str, list[float] | float]]]:
    """What all searches found; those that are in the folder are read back."""
    found: dict[str, list[dict[str, list[float] | float]]] = {}
    Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    for name in arguments.algorithms.split(","):
        for seed in range(arguments.seeds):
            file = Path(arguments.folder) / f"beyond-{name}-{seed}-{arguments.candidates}-{arguments.first}.json"
            if not file.exists():
                began = time.process_time()
                write_atomically(file, json.dumps(regrets(name, table, seed, arguments, baseline)))
                print(f"{name} seed {seed}: {time.process_time() - began:.1f} s of computing", flush=True)
            found.setdefault(name, []).append(json.loads(file.read_text()))
    return found


def summarize(found: dict[str, list[dict[str, list[float] | float]]]) -> dict[str, dict[str, object]]:
    """Final regrets and those after a quarter of the budget, with 95 % intervals, and the whole curves."""
    rows = {}
    for name, runs in found.items():
        curves = np.asarray([run["curve"] for run in runs])
        beyond, beyond_half = mean_and_interval([float(run["beyond_static"]) for run in runs])  # type: ignore[arg-type]
        final, half = mean_and_interval(curves[:, -1].tolist())
        early, early_half = mean_and_interval(curves[:, curves.shape[1] // 4 - 1].tolist())
        rows[name] = {
            "regret": final,
            "interval_95": half,
            "regret_after_a_quarter": early,
            "interval_95_after_a_quarter": early_half,
            "volume_beyond_static": beyond,
            "interval_95_beyond_static": beyond_half,
            "seeds_without_regret": int((curves[:, -1] < 1e-12).sum()),
            "curve": curves.mean(axis=0).round(6).tolist(),
            "curve_interval_95": [round(mean_and_interval(column.tolist())[1], 6) for column in curves.T],
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="digits")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--first", type=int, default=20, help="random candidates of EDANAS, NACHOS and AEBNAS")
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--algorithms", default=",".join(NAMES))
    parser.add_argument("--folder", default="runs/peers-table-digits")
    arguments = parser.parse_args()
    table = Table.load(arguments.table)
    baseline = Baseline(table)
    rows = summarize(collect(arguments, table, baseline))
    shown = RichTable(title=f"{table.header.data}: regret after {arguments.candidates} trained candidates")
    headings = ("algorithm", "regret", "+/- 95 %", "after a quarter", "+/- 95 %", "beyond static", "+/- 95 %")
    for heading in (*headings, "seeds without regret"):
        shown.add_column(heading)
    for name, row in rows.items():
        columns = ("regret", "interval_95", "regret_after_a_quarter", "interval_95_after_a_quarter")
        columns += ("volume_beyond_static", "interval_95_beyond_static")
        shown.add_row(name, *(f"{row[column]:.5f}" for column in columns), str(row["seeds_without_regret"]))
    Console(width=120).print(shown)
    figures = {
        "settings": vars(arguments),
        "backbones": len(table.backbones),
        "true_front": len(table.true_front(OBJECTIVES)),
        "true_volume_beyond_static": baseline.share_beyond(table.true_front(OBJECTIVES).evaluations),
        "reference_point": table.reference_point(OBJECTIVES),
        "algorithms": rows,
    }
    path = save_result(f"peers_table_{table.header.data}", figures)
    # The figure shows what is found, so that better is higher as in the other figures.
    curves = [
        Curve(name, (1.0 - np.asarray(row["curve"])).tolist(), row["curve_interval_95"])  # type: ignore[arg-type]
        for name, row in rows.items()
    ]
    write_figure(
        path.with_suffix(".html"),
        f"Share of the true front's hypervolume, table of {table.header.data}",
        {"every executed branch charged": curves},
    )
    print(path)


if __name__ == "__main__":
    main()
