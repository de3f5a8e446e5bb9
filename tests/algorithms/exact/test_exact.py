"""The outer search of `exact`: its sequence of backbones follows from seed and solutions alone."""

import math
from collections.abc import Sequence

import pytest

from offramp.algorithms.exact.backbone_solver import BackboneSolution
from offramp.algorithms.exact.exact import Exact
from offramp.objectives.evaluation import Evaluation
from offramp.objectives.parse import DEFAULT_OBJECTIVES, parse_objectives
from offramp.space.architecture import Architecture
from offramp.testing.toys import ToyEvaluator, small_space

SPACE = small_space()


class ToySolver:
    """Solves a backbone to itself and two networks with exits, and notes what was asked for; some have no solution."""

    def __init__(self, *, fails: bool = False) -> None:
        self.announced: list[tuple[Architecture, ...]] = []
        self.solved: list[Architecture] = []
        self._fails = fails

    def prepare(self, backbones: Sequence[Architecture]) -> None:
        self.announced.append(tuple(backbones))

    def solve(self, backbone: Architecture) -> BackboneSolution | None:
        self.solved.append(backbone)
        if self._fails and len(backbone.stages[0].kernel_sizes) == 2:
            return None
        policy = SPACE.starting_points()[1].policy
        networks = [backbone, *(SPACE.with_spread_exits(backbone, count, "conv", policy) for count in (1, 2))]
        return BackboneSolution(tuple(map(ToyEvaluator().evaluate, dict.fromkeys(networks))))


def search(solver: ToySolver, batches: Sequence[int]) -> list[Architecture]:
    algorithm = Exact(SPACE, DEFAULT_OBJECTIVES, (), 3)
    algorithm.use_solver(solver)
    asked: list[Architecture] = []
    for count in batches:
        batch = algorithm.ask(count)
        asked += batch
        algorithm.tell([ToyEvaluator().evaluate(item) for item in batch])
    return asked


def test_the_sequence_does_not_depend_on_the_size_of_batches() -> None:
    solvers = ToySolver(), ToySolver()
    small, large = search(solvers[0], (1,) * 60), search(solvers[1], (20,) * 40)
    shared = min(len(solvers[0].solved), len(solvers[1].solved))
    assert shared > 15
    assert solvers[0].solved[:shared] == solvers[1].solved[:shared]
    assert small == large[: len(small)]


def test_backbones_are_chosen_by_eight_whatever_the_workers() -> None:
    solver = ToySolver()
    search(solver, (20,) * 30)
    sizes = [len(backbones) for backbones in solver.announced]
    # The largest, a middle and the smallest one; random ones until six are solved; then eight by predicted gain.
    assert sizes[:4] == [3, 3, 8, 8]
    assert [item for backbones in solver.announced for item in backbones][: len(solver.solved)] == solver.solved


def test_a_backbone_without_a_solution_is_proposed_as_it_is_and_the_search_goes_on() -> None:
    solver = ToySolver(fails=True)
    asked = search(solver, (20,) * 30)
    unsolved = [item for item in solver.solved if len(item.stages[0].kernel_sizes) == 2]
    assert unsolved
    assert set(unsolved) <= set(asked)
    assert len(solver.solved) == 30
    assert not [item for item in asked if item.exits and item.without_exits() in unsolved]


def test_evaluations_that_are_told_do_not_change_the_sequence() -> None:
    """A record that is replayed is told what was evaluated; what it holds must not matter for what is solved next."""
    plain, told = ToySolver(), ToySolver()
    search(plain, (20,) * 12)
    algorithm = Exact(SPACE, DEFAULT_OBJECTIVES, (), 3)
    algorithm.use_solver(told)
    known: list[Evaluation] = []
    while len(told.solved) < len(plain.solved):
        batch = algorithm.ask(20)
        known = [ToyEvaluator().evaluate(item) for item in batch]
        algorithm.tell(known)
    assert told.solved == plain.solved


class WithoutStartingPoints:
    """A search space that offers no first candidates."""

    def __getattr__(self, name: str) -> object:
        if name == "starting_points":
            raise AttributeError(name)
        return getattr(SPACE, name)


def test_a_space_without_starting_points_begins_with_backbones_at_random() -> None:
    algorithm, solver = Exact(WithoutStartingPoints(), DEFAULT_OBJECTIVES, (), 3), ToySolver()
    algorithm.use_solver(solver)
    assert len(algorithm.ask(20)) == 3
    # Six are solved before any is chosen by predicted gain.
    assert [len(backbones) for backbones in solver.announced] == [6]


def test_networks_are_compared_at_the_product_of_the_minimised_metrics() -> None:
    for objectives, metrics in (
        (parse_objectives(["accuracy", "macs", "energy_pj"]), ("macs", "energy_pj")),
        (parse_objectives(["accuracy"]), ("energy_delay_product_j_cycles",)),
    ):
        algorithm = Exact(SPACE, objectives, (), 3)
        algorithm.use_solver(ToySolver())
        backbone = algorithm.ask(20)[0].without_exits()
        found = [item.values for item in algorithm._solved[backbone]]
        costs, accuracies = algorithm._points(backbone)
        assert costs.tolist() == pytest.approx([math.prod(item[metric] for metric in metrics) for item in found])
        assert accuracies.tolist() == [item["accuracy"] for item in found]
