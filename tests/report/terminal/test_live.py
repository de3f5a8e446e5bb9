"""A search that is going on, in the terminal."""

import io

import numpy as np
from rich.console import Console

from offramp.objectives.evaluation import Evaluation, Status
from offramp.objectives.pareto import pareto_front
from offramp.objectives.parse import parse_objectives
from offramp.report.terminal.live import LiveState, live_view, scatter
from offramp.testing.toys import ToyEvaluator, small_space

OBJECTIVES = parse_objectives(["accuracy", "energy_pj"])


def evaluation(accuracy: float, energy: float) -> Evaluation:
    architecture = small_space().sample(np.random.default_rng(int(energy)))
    return Evaluation(architecture, Status.COMPLETE, {"accuracy": accuracy, "energy_pj": energy})


def shown(state: LiveState) -> str:
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(live_view(state))
    return console.export_text()


def test_a_plot_by_hand() -> None:
    points = [evaluation(0.5, 10.0), evaluation(0.9, 40.0), evaluation(0.5, 30.0)]
    front = pareto_front(points, OBJECTIVES).evaluations
    assert scatter(points, front, OBJECTIVES, width=4, height=3).splitlines() == [
        "accuracy 0.9",
        "│   ●",
        "│",
        "│● ·",
        "└────",
        "0.5 at the bottom; energy_pj from 10 to 40",
    ]


def test_a_plot_of_one_objective_or_of_nothing() -> None:
    points = [evaluation(0.5, 1.0), evaluation(0.7, 2.0)]
    lines = scatter(points, points[1:], OBJECTIVES[:1], width=2, height=2).splitlines()
    assert lines[1:3] == ["│ ●", "│·"]
    assert lines[-1].endswith("candidate from 0 to 1")
    assert scatter([], [], OBJECTIVES) == ""
    failed = Evaluation(points[0].architecture, Status.FAILED, {}, error="x")
    assert scatter([failed], [], OBJECTIVES) == ""
    assert "●" in scatter(points[:1], points[:1], OBJECTIVES)


def test_what_is_said() -> None:
    rng = np.random.default_rng(0)
    points = tuple(ToyEvaluator().evaluate(small_space().sample(rng)) for _ in range(30))
    failed = Evaluation(points[0].architecture, Status.FAILED, {}, error="took longer than 5 s")
    text = shown(LiveState("runs/x", "search", True, 40, (*points, failed), OBJECTIVES))
    assert "runs/x: searching. 31 candidates evaluated, 9 open, 1 failed." in text
    assert "Last failure: took longer than 5 s" in text
    assert "Front of networks with early exits" in text
    assert "●" in text


def test_where_it_stands() -> None:
    assert "starting. 0 candidates" in shown(LiveState("r", None, True, 0, (), OBJECTIVES))
    dead = LiveState("r", "search", False, 8, (), OBJECTIVES)
    assert "not running any more; it was searching" in shown(dead)
    assert dead.over
    assert "r: ended." in shown(LiveState("r", "ended", False, 0, (), OBJECTIVES))
