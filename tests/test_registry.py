"""Plug-ins by name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offramp.errors import UnknownNameError
from offramp.registry import Registry, unknown_name_message


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
