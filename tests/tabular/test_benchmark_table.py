"""Any algorithm runs on a table without torch, and what it misses of the true front is exact."""

import subprocess
import sys
from pathlib import Path

import pytest

import offramp
from offramp.algorithms.algorithm import ALGORITHMS
from offramp.errors import InputError, TableError
from offramp.objectives.evaluation import Constraint, Objective
from offramp.objectives.pareto import pareto_front
from offramp.objectives.parse import DEFAULT_OBJECTIVES
from offramp.tabular.benchmark_table import SHIPPED, Table
from offramp.testing.toys import every_architecture
from tests.tabular.toy_tables import toy_entries, write_toy_table

MACS = (Objective("accuracy", "maximize"), Objective("macs", "minimize"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_table(tmp_path_factory.mktemp("tables") / "table.npz")


@pytest.fixture(scope="module")
def table(path: Path) -> Table:
    return Table.load(path)


@pytest.mark.parametrize("objectives", [MACS, DEFAULT_OBJECTIVES], ids=["macs", "default"])
def test_the_true_front_is_that_of_all_networks(table: Table, objectives: tuple[Objective, ...]) -> None:
    everything = [table.evaluate(item) for item in every_architecture(table.space)]
    brute, found = pareto_front(everything, objectives), table.true_front(objectives)

    def points(front: object) -> list[tuple[float, ...]]:
        rows = [tuple(round(e.values[o.metric], 6) for o in objectives) for e in front]  # type: ignore[attr-defined]
        return sorted(rows)

    assert points(found) == points(brute)
    assert len(found) > 5
    assert table.regret(everything, objectives) == 0.0


def test_regret_by_hand(table: Table) -> None:
    """One network: its rectangle up to the reference point, against the volume of the true front."""
    backbone = table.backbones[0]
    one = table.evaluate(backbone)
    accuracy, macs = table.reference_point(MACS)
    assert accuracy == 0.25
    assert macs == max(table.evaluate(item).values["macs"] for item in table.backbones)
    area = (one.values["accuracy"] - 0.25) * (macs - one.values["macs"])
    whole = table.true_front(MACS).hypervolume((accuracy, macs))
    assert table.regret([one], MACS) == pytest.approx(1 - area / whole)
    assert table.regret([], MACS) == 1.0


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_every_algorithm_searches_a_table(table: Table, name: str) -> None:
    found = table.search(name, evaluations=40, objectives=MACS, seed=1)
    assert 0 < len(found.evaluations) <= 40
    assert all(item.feasible for item in found.evaluations)
    again = table.search(name, evaluations=40, objectives=MACS, seed=1)
    assert again.evaluations == found.evaluations
    assert 0.0 <= table.regret(found.evaluations, MACS) < 0.5


def test_exact_finds_the_true_front_of_a_table(table: Table) -> None:
    assert table.regret(table.search("exact", evaluations=1000, objectives=MACS).evaluations, MACS) == 0.0


def test_costs_are_those_of_the_chosen_accelerator(path: Path) -> None:
    _, entries = toy_entries()
    for place, name in enumerate(("one", "two")):
        table = Table.load(path, name)
        found = table.evaluate(table.backbones[0]).values["energy_pj"]
        assert found == pytest.approx(entries[0].to_tap[place, -1, 1] + entries[0].branch[place, -1, 1])
        layer, cycles, energy = table.layers(table.backbones[0])[1]
        assert layer == entries[0].layers[1]
        assert (cycles, energy) == pytest.approx(entries[0].layer_costs[place, 1].tolist())
    with pytest.raises(TableError, match="is for one, two, got 'three'"):
        Table.load(path, "three")


def test_what_a_table_cannot_answer_is_refused(path: Path, table: Table) -> None:
    with pytest.raises(InputError, match=r"knows the metrics accuracy, .* got memory_use"):
        Table.load(path, constraints=(Constraint("memory_use", "<=", 1.0),))
    with pytest.raises(InputError, match="got macro_f1"):
        table.true_front((Objective("macro_f1", "maximize"),))
    with pytest.raises(InputError, match="at least 1, got 0 and 20"):
        table.search(evaluations=0)
    constrained = Table.load(path, constraints=(Constraint("accuracy", ">=", 0.5),))
    with pytest.raises(TableError, match="without constraints only"):
        constrained.true_front()


def test_the_shipped_table_of_the_digits() -> None:
    assert SHIPPED["digits"].stat().st_size <= 5_000_000
    table = offramp.Table.load("digits")
    assert table.header.licence == "CC-BY-4.0"
    assert table.header.data == "digits"
    assert len(table.backbones) >= 30
    assert {item.name for item in table.header.accelerators} >= {"edge-tpu-quad", "mcu", "diana", "eyeriss-quad"}
    assert max(table.header.confidence_errors.values()) < 0.01
    best = max(item.values["accuracy"] for item in table.statics())
    assert 0.95 < best <= 1.0
    assert abs(best - table.test(max(table.statics(), key=lambda e: e.values["accuracy"])).values["accuracy"]) < 0.05


def test_a_search_on_a_table_needs_no_torch() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\nimport offramp\n"
        "table = offramp.Table.load('digits')\n"
        "found = table.search('exact', evaluations=20)\n"
        "assert found.front.evaluations\n"
        "from offramp.cli.main import app\n"
        "app(['search', '--table', 'digits', '--algorithm', 'random', '--budget', '10'], standalone_mode=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "random: 10 candidates in " in done.stdout
    assert "Regret: " in done.stdout
