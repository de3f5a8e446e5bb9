"""Networks of a table get the figures that the evaluator of a search gives for the same logits and costs."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offramp.cost.report import CostReport, StageCost
from offramp.errors import TableError
from offramp.objectives.evaluation import Constraint, Evaluation, Status
from offramp.run.evaluators.operating_point import choose_operating_point
from offramp.space.architecture import Architecture, ExitChoice
from offramp.tabular.benchmark_table import Table
from offramp.tabular.logit_codes import decode_logits
from tests.tabular.toy_tables import toy_entries, write_toy_table

TIGHT = (Constraint("accuracy", ">=", 0.6), Constraint("latency_cycles", "<=", 9000.0))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_table(tmp_path_factory.mktemp("tables") / "table.npz")


@pytest.fixture(scope="module")
def table(path: Path) -> Table:
    return Table.load(path)


def report_of(rows: list[int], to_tap: np.ndarray, branch: np.ndarray) -> CostReport:  # type: ignore[type-arg]
    """Leaving at an exit costs the backbone up to its tap and every branch on the way."""
    stages = []
    for number, row in enumerate(rows):
        latency, energy, macs = to_tap[row] + branch[rows[: number + 1]].sum(axis=0)
        stages.append(StageCost("exit", 0.0, 0.0, 0.0, 0.0, 0.0, latency, energy, round(macs)))
    return CostReport("one", "by hand", "0", "offramp", tuple(stages), ())


@pytest.mark.parametrize("constraints", [(), TIGHT], ids=["free", "constrained"])
def test_figures_equal_those_of_the_evaluator(path: Path, constraints: tuple[Constraint, ...]) -> None:
    table = Table.load(path, constraints=constraints)
    labels, entries = toy_entries()
    rng = np.random.default_rng(1)
    numbers = {backbone: number for number, backbone in enumerate(table.backbones)}
    for _ in range(60):
        architecture = table.space.sample(rng)
        backbone = architecture.without_exits()
        options = table.space.exit_options(backbone)
        rows = [*(options.index(choice) for choice in architecture.exits), len(options)]
        entry = entries[numbers[backbone]]
        logits = decode_logits(entry.codes["validation"])
        point = choose_operating_point(
            [logits[row] for row in rows],
            labels["validation"],
            report_of(rows, entry.to_tap[0], entry.branch[0]),
            architecture.policy,
            constraints,
            shared_threshold=True,
        )
        found = table.evaluate(architecture)
        assert found.details is not None
        assert found.details.policy == point.policy or not architecture.exits
        assert found.details.profile.rates == pytest.approx(point.profile.rates, abs=1e-12)
        assert found.details.profile.accuracies == pytest.approx(point.profile.accuracies, abs=1e-12)
        assert found.details.profile.full_accuracies == pytest.approx(point.profile.full_accuracies, abs=1e-12)
        expected = point.values()
        assert found.values == pytest.approx({name: expected[name] for name in found.values}, rel=1e-9)
        assert found.violations == pytest.approx(point.violations(constraints), rel=1e-9)
        measured = [stage.energy_to_exit_pj for stage in found.details.cost.stages]
        to_taps, branches = entry.to_tap[0, rows, 1], entry.branch[0, rows, 1]
        assert measured == pytest.approx(to_taps + np.cumsum(branches))


def test_an_exit_or_a_backbone_that_is_not_there_fails_in_words(table: Table) -> None:
    backbone = table.backbones[0]
    other = table.evaluate(replace(backbone, exits=(ExitChoice(0, "pool_mlp"),)))
    assert (other.status, other.error) == (Status.FAILED, "TableError: the table has no such exit")
    other = table.evaluate(replace(backbone, resolution=9))
    assert (other.status, other.error) == (Status.FAILED, "TableError: the table has no such backbone")


def test_static_networks_follow_from_the_same_entries(table: Table) -> None:
    """Cut at a tap, a network answers as the exit there, and costs the backbone up to it and the branch."""
    labels, entries = toy_entries()
    by_architecture = {item.architecture: item for item in table.statics()}
    assert all(item.architecture.is_static for item in by_architecture.values())
    for number, backbone in enumerate(table.backbones):
        held, entry = table.backbone(backbone), entries[number]
        for place, option in enumerate((*held.options, None)):
            static = held.static(place)
            assert static.architecture.head == option
            right = decode_logits(entry.codes["validation"])[place].argmax(axis=1) == labels["validation"]
            assert static.values["accuracy"] == right.mean()
            assert static.values["macs"] == pytest.approx(entry.to_tap[0, place, 2] + entry.branch[0, place, 2])
            assert static.architecture in by_architecture
    # Every early-exit network brings those of its exits along, the whole backbone last.
    architecture = with_two_exits(table)
    found = table.evaluate(architecture)
    assert [item.architecture.head for item in found.statics] == [*architecture.exits, None]


def with_two_exits(table: Table) -> Architecture:
    rng = np.random.default_rng(2)
    while len((architecture := table.space.sample(rng)).exits) < 2:
        pass
    return architecture


def test_thresholds_of_validation_are_measured_on_test(table: Table) -> None:
    labels, entries = toy_entries()
    chosen = table.evaluate(with_two_exits(table))
    backbone = chosen.architecture.without_exits()
    entry = entries[table.backbones.index(backbone)]
    options = table.space.exit_options(backbone)
    assert chosen.details is not None
    rows = [*(options.index(choice) for choice in chosen.architecture.exits), len(options)]
    logits = decode_logits(entry.codes["test"])[rows]
    left = chosen.details.policy.decide(list(logits))
    right = logits.argmax(axis=2)[left, np.arange(50)] == labels["test"]
    measured = table.test(chosen)
    assert measured.details is not None
    assert measured.details.policy == chosen.details.policy
    assert measured.values["accuracy"] == right.mean()
    # On the samples that they were chosen on, the figures are the same.
    again = table.backbone(backbone).measure(chosen)
    assert again == replace(chosen, statics=())
    for static in (chosen.statics[0], chosen.statics[-1]):
        # Several backbones can be cut to the same network; in this table of random numbers, the first one counts.
        held, place = next(
            (number, place)
            for number, backbone in enumerate(table.backbones)
            for place in range(len(table.space.exit_options(backbone)) + 1)
            if table.backbone(backbone).static(place).architecture == static.architecture
        )
        right = decode_logits(entries[held].codes["test"])[place].argmax(axis=1) == labels["test"]
        assert table.test(static).values["accuracy"] == right.mean()


def test_what_was_not_evaluated_cannot_be_measured(table: Table) -> None:
    architecture = with_two_exits(table)
    with pytest.raises(TableError, match="Only a network that was evaluated with this table"):
        table.test(Evaluation(architecture, Status.FAILED, {}, error="none"))


def test_thousands_of_candidates_are_evaluated_a_second(table: Table) -> None:
    rng = np.random.default_rng(0)
    candidates = [table.space.sample(rng) for _ in range(400)]
    began = time.process_time()
    for candidate in candidates:
        table.evaluate(candidate)
    assert 400 / (time.process_time() - began) > 1000
