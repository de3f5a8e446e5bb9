"""Rooms stay small, imports go one way, and the torch-free parts stay torch-free; `tests.structure` measures it."""

import pytest

from tests import structure
from tests.structure import MODULES, room_of

TORCH_FREE = (
    "version", "errors", "files", "registry", "jsonio", "progress", "deadline", "numerics", "distributed", "exits",
    "settings", "workload", "space", "hardware", "cost", "objectives", "algorithms", "records", "report",
    "run.trackers", "data.sound", "cli",
)  # fmt: skip


@pytest.fixture(scope="module")
def now() -> structure.Structure:
    return structure.measure()


def test_every_room_has_a_place_in_the_order() -> None:
    assert {room_of(module) for module in MODULES} == {*structure.ORDER, structure.FOR_TESTS}


def test_imports_go_one_way() -> None:
    assert structure.arrows_upward() == []
    assert structure.circles() == []
    assert structure.imports_of_the_face() == []


def test_rooms_are_small(now: structure.Structure) -> None:
    assert now.root_modules <= structure.MOST_ROOT_MODULES
    assert now.largest_folder_modules <= structure.MOST_MODULES_IN_A_FOLDER, now.largest_folder
    assert now.longest_file_lines <= structure.MOST_LINES, now.longest_file


def test_what_is_measured_is_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arrow upward, a circle and an import of the face are each found when they are there."""
    added = {"errors": {"run.api"}, "jsonio": {"registry"}, "registry": {"jsonio"}, "version": {"__init__"}}
    known = {module: structure.imports_of(module) for module in MODULES}
    monkeypatch.setattr(structure, "imports_of", lambda module: known[module] | added.get(module, set()))
    assert "errors imports run.api" in structure.arrows_upward()
    assert any({"jsonio", "registry"} <= set(group) for group in structure.circles())
    assert structure.imports_of_the_face() == ["version"]


def test_torch_free_packages_load_without_torch() -> None:
    modules = [m for m in MODULES if any(m == free or m.startswith(f"{free}.") for free in TORCH_FREE)]
    assert len(modules) > 100
    assert structure.heavy_imports(modules) == ""
