"""Plug-ins by name."""

import re
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import pytest

import offramp
from offramp.errors import UnknownNameError
from offramp.registry import (
    CALLABLE,
    Expectation,
    PluginWarning,
    Registry,
    instance_of,
    object_like,
    subclass_of,
    unknown_name_message,
)


@pytest.fixture
def plugin_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of two plug-in files that register themselves; importing a third would fail."""
    package = tmp_path / "plugins_for_test"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from offramp.registry import Registry\nCOLOURS = Registry('colour', 'plugins_for_test')\n"
    )
    for name, value in (("red", 1), ("green", 2)):
        (package / f"{name}.py").write_text(f"from plugins_for_test import COLOURS\nCOLOURS.add({name!r}, {value})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "plugins_for_test"
    for name in [name for name in sys.modules if name.startswith("plugins_for_test")]:
        del sys.modules[name]


def test_files_of_the_package_are_found_at_the_first_look(plugin_package: str) -> None:
    module = __import__(plugin_package)
    assert f"{plugin_package}.red" not in sys.modules
    assert list(module.COLOURS) == ["green", "red"]
    assert f"{plugin_package}.red" in sys.modules
    assert module.COLOURS.get("green") == 2
    assert "red" in module.COLOURS
    assert "blue" not in module.COLOURS


def test_an_unknown_name_is_answered_with_a_near_one() -> None:
    registry: Registry[int] = Registry("search algorithm")
    registry.add("random", 1)
    registry.add("nsga2", 2)
    with pytest.raises(UnknownNameError) as caught:
        registry.get("randm")
    assert str(caught.value) == ("Unknown search algorithm 'randm'. Did you mean 'random'? Available: nsga2, random.")


def test_messages_without_a_near_name_or_without_any() -> None:
    assert unknown_name_message("exit", "xyz", ["conv"]) == "Unknown exit 'xyz'. Available: conv."
    assert unknown_name_message("exit", "xyz", []) == "Unknown exit 'xyz'. Available: none."


def test_the_decorator_registers_and_returns_the_object() -> None:
    registry: Registry[type] = Registry("thing")

    @registry.register("first")
    class First:
        pass

    assert registry.get("first") is First


def test_a_name_cannot_be_taken_twice() -> None:
    registry: Registry[str] = Registry("thing")
    registry.add("name", "one")
    registry.add("name", "one")
    with pytest.raises(ValueError, match="'name' is registered twice"):
        registry.add("name", "two")


def install(
    folder: Path, distribution: str, group: str, entries: Mapping[str, str], modules: Mapping[str, str]
) -> None:
    """What pip leaves of a distribution: its modules and a dist-info folder that lists its entry points."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    info = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
    lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")


def test_other_packages_add_objects_and_modules_by_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {
        "objects_of_another": "BLUE = 3\n",
        "module_of_another": "import sys\nsys.modules['registry_under_test'].COLOURS.add('pink', 4)\n",
    }
    entries = {"blue": "objects_of_another:BLUE", "pink": "module_of_another"}
    install(tmp_path, "more-colours", "test.colours", entries, modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[int] = Registry("colour", entry_points="test.colours")
    monkeypatch.setitem(sys.modules, "registry_under_test", type("Holder", (), {"COLOURS": registry}))  # type: ignore[arg-type]
    registry.add("red", 1)
    assert {name: registry.get(name) for name in registry} == {"blue": 3, "pink": 4, "red": 1}


@pytest.mark.parametrize(
    ("value", "module", "reason"),
    [
        ("broken_plug_in:X", "raise RuntimeError('no licence\\nfound')", "RuntimeError: no licence found"),
        ("broken_plug_in:X", "Y = 1", "AttributeError: module 'broken_plug_in' has no attribute 'X'"),
        ("nowhere_at_all:X", "", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("broken_plug_in:X", "import sys; sys.exit(3)", "SystemExit: 3"),
        ("broken_plug_in", "", "the module does not register 'late' when it is imported"),
    ],
)
def test_a_broken_plug_in_of_another_package_is_skipped_with_a_warning(
    value: str, module: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {"broken_plug_in": module, "sound_plug_in": "GOOD = 5\n"}
    install(tmp_path, "half-broken", "test.colours", {"late": value, "sound": "sound_plug_in:GOOD"}, modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_plug_in", raising=False)
    registry: Registry[int] = Registry("colour", entry_points="test.colours")
    sentence = f"The colour 'late' of half-broken 1.2 is skipped: {reason}."
    with pytest.warns(PluginWarning) as caught:
        assert list(registry) == ["sound"]
    assert [str(item.message) for item in caught] == [sentence]
    with pytest.raises(UnknownNameError) as error:
        registry.get("late")
    assert str(error.value) == f"Unknown colour 'late'. Available: sound. {sentence}"


def test_a_mistyped_entry_does_not_hide_what_its_module_registers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"module_of_pink": "import sys\nsys.modules['registry_under_test'].COLOURS.add('pink', 4)\n"}
    install(tmp_path, "mistyped", "test.colours", {"pinc": "module_of_pink", "pink": "module_of_pink"}, module)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[int] = Registry("colour", entry_points="test.colours")
    monkeypatch.setitem(sys.modules, "registry_under_test", type("Holder", (), {"COLOURS": registry}))  # type: ignore[arg-type]
    with pytest.warns(PluginWarning) as caught:
        assert list(registry) == ["pink"]
    reason = "the module does not register 'pinc' when it is imported, but 'pink'"
    assert [str(item.message) for item in caught] == [f"The colour 'pinc' of mistyped 1.2 is skipped: {reason}."]


def test_a_name_of_ours_is_not_given_to_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "copy-cat", "test.colours", {"red": "copy_of_red:RED"}, {"copy_of_red": "RED = 99\n"})
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[int] = Registry("colour", entry_points="test.colours")
    registry.add("red", 1)
    with pytest.warns(PluginWarning, match="'red' of copy-cat 1.2 is skipped: colour 'red' is registered twice; every"):
        assert registry.get("red") == 1


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def area(self) -> float:
        return 1.0


class Named(Protocol):
    label: str

    @property
    def name(self) -> str: ...

    def build(self) -> int: ...


class HasAll:
    label, name, build = "a", "b", 3


LIKE = "an object (not a class) with `label`, `name`, `build`"
DERIVED = "a class that derives from Shape and defines its abstract methods"


@pytest.mark.parametrize(
    ("expects", "item", "fault"),
    [
        (instance_of(Square), Square(), None),
        (instance_of(Square), 5, "must be an object of class Square, got an object of type int"),
        (instance_of(Square), Square, "must be an object of class Square, got the class Square"),
        (subclass_of(Shape), Square, None),
        (subclass_of(Shape), Shape, f"must be {DERIVED}, got the class Shape"),
        (subclass_of(Shape), int, f"must be {DERIVED}, got the class int"),
        (subclass_of(Shape), Square(), f"must be {DERIVED}, got an object of type Square"),
        (object_like(Named), HasAll(), None),
        (object_like(Named), HasAll, f"must be {LIKE}, got the class HasAll"),
        (
            object_like(Named),
            SimpleNamespace(label=1, name=2),
            f"must be {LIKE}, got an object of type SimpleNamespace",
        ),
        (CALLABLE, Square, None),
        (CALLABLE, len, None),
        (CALLABLE, 5, "must be a function, a class or another callable, got an object of type int"),
    ],
)
def test_what_is_expected_and_what_was_given(expects: Expectation, item: object, fault: str | None) -> None:
    assert expects.fault(item) == fault


def test_a_wrong_object_is_refused_in_code() -> None:
    registry: Registry[object] = Registry("shape", expects=subclass_of(Shape))
    assert registry.register("square")(Square) is Square
    for add in (registry.register("five"), lambda item: registry.add("five", item)):
        with pytest.raises(TypeError) as caught:
            add(5)
        assert str(caught.value) == f"shape 'five' must be {DERIVED}, got an object of type int"
    assert list(registry) == ["square"]


@pytest.mark.parametrize("value", ["wrong_objects:five", "wrong_objects"])
def test_a_wrong_object_of_another_package_is_skipped(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an entry point that names the object, and by a module that registers it when it is imported."""
    add = "import sys\nsys.modules['registry_under_test'].COLOURS.add('five', five)\n" if ":" not in value else ""
    install(tmp_path, "wrong", "test.colours", {"five": value}, {"wrong_objects": f"five = 5\n{add}"})
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wrong_objects", raising=False)
    registry: Registry[str] = Registry("colour", entry_points="test.colours", expects=instance_of(str))
    monkeypatch.setitem(sys.modules, "registry_under_test", type("Holder", (), {"COLOURS": registry}))  # type: ignore[arg-type]
    registry.add("red", "#f00")
    with pytest.warns(PluginWarning) as caught:
        assert list(registry) == ["red"]
    reason = "colour 'five' must be an object of class str, got an object of type int"
    assert [str(item.message) for item in caught] == [f"The colour 'five' of wrong 1.2 is skipped: {reason}."]


REGISTRIES = {
    "offramp.cost_engines": "offramp.cost.engines.cost_engine:COST_ENGINES",
    "offramp.backbones": "offramp.nn.backbone:BACKBONES",
    "offramp.exit_branches": "offramp.nn.branches.exit_branch:EXIT_BRANCHES",
    "offramp.branch_layers": "offramp.nn.branches.branch_layer:BRANCH_LAYERS",
    "offramp.data_readers": "offramp.data.raw_data:READERS",
    "offramp.data_sets": "offramp.data.raw_data:DATA_SETS",
    "offramp.algorithms": "offramp.algorithms.algorithm:ALGORITHMS",
    "offramp.trackers": "offramp.run.trackers.tracker:TRACKERS",
    "offramp.deployment_targets": "offramp.deploy.targets.deployment_target:DEPLOYMENT_TARGETS",
    "offramp.exit_rules": "offramp.exits.exit_rule:EXIT_RULES",
}


PLUG_INS_OF_ANOTHER = """
from types import SimpleNamespace
from offramp.cost.engines.cost_engine import CostEngine
from offramp.exits.exit_policy import ExitPolicy

told = 'of another package'
five = 5
engine = CostEngine(told, lambda options: ())
members = ['name', 'space', 'build', 'choices', 'claims', 'read', 'check_ready', 'export', 'answers']
plain = SimpleNamespace(description=told, **dict.fromkeys(members))

class Factory:
    description = told

class Rule(ExitPolicy):
    description = told
"""
"""Plug-ins of the right sort for each registry, and `five` for none."""

OBJECTS = {
    "offramp.cost_engines": "engine",
    "offramp.exit_rules": "Rule",
    "offramp.data_sets": "Factory",
    "offramp.algorithms": "Factory",
    "offramp.trackers": "Factory",
}
"""The plug-in that suits a group; `plain` suits the others."""


def test_every_registry_of_offramp_is_open_to_an_installed_package(tmp_path: Path) -> None:
    """In a fresh process, as after `pip install`: a plug-in of each kind is found, and faulty ones stop nothing."""
    for number, group in enumerate(REGISTRIES):
        right = OBJECTS.get(group, "plain")
        entries = {
            "of_another": f"plug_ins_of_another:{right}",
            "broken": "nowhere_at_all:Plugin",
            "five": "plug_ins_of_another:five",
        }
        install(tmp_path, f"another-{number}", group, entries, {"plug_ins_of_another": PLUG_INS_OF_ANOTHER})
    code = (
        "import importlib, sys, warnings\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        f"for group, place in {REGISTRIES!r}.items():\n"
        "    module, name = place.split(':')\n"
        "    registry = getattr(importlib.import_module(module), name)\n"
        "    assert registry.group == group, (registry.group, group)\n"
        "    with warnings.catch_warnings(record=True) as caught:\n"
        "        warnings.simplefilter('always')\n"
        "        names = list(registry)\n"
        "    told = [str(item.message) for item in caught if 'is skipped' in str(item.message)]\n"
        "    assert len(names) > 1 and not {'broken', 'five'} & set(names), names\n"
        "    assert len(told) == 2, told\n"
        "    assert \"'five' must be \" in told[1] and told[1].endswith(', got an object of type int.'), told\n"
        "    assert registry.get('of_another').description == 'of another package'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_registry_in_the_source_is_in_the_list_above_and_has_an_expectation() -> None:
    source = Path(offramp.__file__).parent
    made = re.findall(
        r"= Registry\((?:[^()]|\([^()]*\))*\)", "".join(path.read_text() for path in sorted(source.rglob("*.py")))
    )
    groups = [found[1] for call in made if (found := re.search(r'entry_points="([^"]+)"', call))]
    assert sorted(groups) == sorted(REGISTRIES)
    assert len(made) == len(REGISTRIES) + 1, "the registry of regressors has no group"
    assert [call for call in made if "expects=" not in call] == []
