"""The pages of modules link each other and stay out of the site's table of contents."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parents[1] / "docs" / "_templates" / "autoapi"


def module(name: str, *submodules: Any, children: tuple[Any, ...] = ()) -> Any:
    return SimpleNamespace(
        id=name,
        name=name,
        display=True,
        docstring="What it is for.",
        type="module",
        subpackages=[],
        submodules=list(submodules),
        children=list(children),
    )


def page(obj: Any) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, lstrip_blocks=True)
    template = environment.get_template("python/module.rst")
    return template.render(obj=obj, own_page_types=["module"], autoapi_options=["show-module-summary"])


def test_the_page_of_a_package_links_its_modules_and_its_parent() -> None:
    inner = SimpleNamespace(id="offramp.a.b", display=True)
    text = page(module("offramp.a", inner))
    assert ":py:mod:`offramp.a.b`" in text
    assert "Part of :py:mod:`offramp`." in text
    assert "What it is for." in text


def test_only_the_page_of_the_whole_package_is_in_the_table_of_contents() -> None:
    """A table with all modules would be drawn on every page: hundreds times hundreds of links."""
    for name in ("offramp", "offramp.a", "offramp.a.b"):
        text = page(module(name))
        assert "toctree" not in text
        # Sphinx reads this mark in the first field of a page alone.
        assert bool(re.match(r"\s*:orphan:\n\n", text)) == (name != "offramp")


def test_classes_and_functions_are_listed_and_shown() -> None:
    kinds = {"offramp.a.Thing": "class", "offramp.a.do": "function", "offramp.a.Fault": "exception"}
    children = tuple(
        SimpleNamespace(id=name, type=kind, display=True, render=lambda name=name: f"shown: {name}\n")
        for name, kind in kinds.items()
    )
    text = page(module("offramp.a", children=children))
    for name, kind in kinds.items():
        title = {"class": "Classes", "function": "Functions", "exception": "Exceptions"}[kind]
        assert re.search(rf"^{title}\n-+\n\n.. autoapisummary::\n\n   {name}\n\n", text, flags=re.M)
        assert f"\nshown: {name}\n" in text
