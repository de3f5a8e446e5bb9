"""The architecture page names modules that exist, in the order of imports; its pictures show the imports."""

import re
import sys
from pathlib import Path

import pytest

from tests.structure import FOR_TESTS, MODULES, ORDER, imports_of

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "concepts" / "architecture.md").read_text()

pytest.importorskip("sphinx")
sys.path.insert(0, str(ROOT / "docs"))

import import_pictures  # noqa: E402

PATH = import_pictures.path_on_page(PAGE)


def test_modules_of_the_page_exist() -> None:
    named = re.findall(r"`offramp\.([\w.]+)`", PAGE)
    assert len(named) > 5
    assert [name for name in named if name not in (*MODULES, "search")] == []


def test_the_path_leads_from_the_command_to_the_bundle_along_imports() -> None:
    assert PATH[0].startswith("cli.")
    assert any(module.startswith("deploy.bundle.") for module in PATH)
    assert len(PATH) <= 10
    assert len(set(PATH)) == len(PATH)
    for place, module in enumerate(PATH[1:], start=1):
        assert any(module in imports_of(above) for above in PATH[:place]), f"nothing above {module} imports it"


def test_packages_stand_in_import_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.M)
    assert rows == [room for room in ORDER if room not in import_pictures.STARTERS]
    assert f"`offramp.{FOR_TESTS}`" in PAGE


def test_files_to_write_lie_in_folders_that_exist() -> None:
    folders = re.findall(r"`(src/[\w/]+)/<name>", PAGE)
    assert len(folders) >= 5
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


def test_implied_arrows_are_left_out() -> None:
    imports = {"a": frozenset[str](), "b": frozenset("a"), "c": frozenset("ab"), "d": frozenset("ac")}
    assert import_pictures.without_implied(imports) == {
        "a": frozenset(),
        "b": frozenset("a"),
        "c": frozenset("b"),
        "d": frozenset("c"),
    }


def test_the_package_picture_has_a_box_for_each_package_and_a_dot_for_each_arrow() -> None:
    imports = import_pictures.package_imports()
    svg = import_pictures.draw_packages(imports, frozenset({"cli"}))
    assert re.findall(r"<text[^>]*>(\w+)</text>", svg) == list(reversed(imports))
    assert svg.count("<circle") == sum(map(len, import_pictures.without_implied(imports).values()))
    assert svg.count('class="path"') == 1


def test_the_path_picture_leads_to_each_module_from_its_importer() -> None:
    svg = import_pictures.draw_path(["a", "b", "c"], {"a": frozenset("bc"), "b": frozenset(), "c": frozenset()})
    assert re.findall(r"<text[^>]*>(.*?)</text>", svg) == ["1  a", "2  b", "3  c"]
    assert svg.count('class="head"') == 2
