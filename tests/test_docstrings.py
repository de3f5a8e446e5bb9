"""Docstrings are complete in the packages listed here; the checker finds what is left out."""

import ast

import pytest

from tests.docstrings import gaps_in, gaps_of
from tests.structure import MODULES, room_of

# Packages and modules of the root whose docstrings are complete.
ROOMS_DONE = {
    "__init__",
    "__main__",
    "algorithms",
    "anomaly",
    "cli",
    "cost",
    "data",
    "deploy",
    "errors",
    "exits",
    "hardware",
    "jsonio",
    "numerics",
    "objectives",
    "progress",
    "records",
    "registry",
    "report",
    "run",
    "settings",
    "space",
    "testing",
    "train",
    "version",
    "workload",
}

COMPLETE = '''
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import BaseModel, Field


@dataclass(frozen=True)
class Core:
    """A core.

    Attributes:
        name: what it is called.
    """

    name: str

    @property
    def size(self) -> int:
        """Number of multipliers."""
        return 1


class Settings(BaseModel):
    """Settings."""

    bits: int = Field(8, description="bit width of weights")


class Worker:
    """Does the work.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def told(self) -> int:
        """How many there are."""
        return self.count


def price(layer: str, *rest: int, core: Annotated[str, Option(help="core to use")] = "a") -> float:
    """Price a layer.

    Args:
        layer (str): the layer: its name.
        *rest: further figures,
            on two lines.

    Returns:
        Cycles.

    Raises:
        ValueError: if it is unknown.
    """
    if not layer:
        raise ValueError("unknown")

    def inner() -> None:
        raise KeyError

    return 1.0


def _private(layer):
    return layer
'''


def whats(source: str) -> list[str]:
    return [gap.what for gap in gaps_in(ast.parse(source), "module")]


@pytest.mark.parametrize("room", sorted(ROOMS_DONE))
def test_docstrings_are_complete(room: str) -> None:
    modules = [module for module in MODULES if room_of(module) == room]
    assert modules, f"there is no {room}"
    assert [str(gap) for module in modules for gap in gaps_of(module)] == []


def test_a_complete_module_has_no_gap() -> None:
    assert whats(COMPLETE) == []


@pytest.mark.parametrize(
    ("old", "new", "gaps"),
    [
        ('    """Number of multipliers."""\n', "", ["no docstring"]),
        (
            "        name: what it is called.\n",
            "        kind: what.\n",
            ["attribute name", "attribute kind is not there"],
        ),
        (', description="bit width of weights"', "", ["attribute bits"]),
        ("        count: how many.\n", "", ["parameter count"]),
        ("        layer (str): the layer: its name.\n", "", ["parameter layer"]),
        ("        *rest: further figures,\n", "", ["parameter rest"]),
        (
            "        *rest: further figures,\n",
            "        least: what.\n",
            ["parameter rest", "parameter least is not there"],
        ),
        ('Option(help="core to use")', "Option()", ["parameter core"]),
        ("    Returns:\n        Cycles.\n", "", ["no Returns:"]),
        ("        ValueError: if it is unknown.\n", "        KeyError: never.\n", ["no Raises: for ValueError"]),
        ("def _private", "def public", ["no docstring"]),
        ('        """How many there are."""\n', "", ["no docstring"]),
    ],
)
def test_each_kind_of_gap_is_found(old: str, new: str, gaps: list[str]) -> None:
    assert COMPLETE.count(old) == 1
    assert whats(COMPLETE.replace(old, new)) == gaps


def test_what_a_protocol_or_a_base_documents_need_not_be_repeated() -> None:
    protocol = 'class Algorithm(Protocol):\n    """A."""\n    def ask(self, count: int) -> int: ...\n'
    assert whats(protocol) == ["no docstring"]
    # `ask(count)` is a method of the package's own protocol of search algorithms.
    assert whats('class Mine:\n    """Mine."""\n    def ask(self, count: int) -> int:\n        return 1\n') == []
    assert whats('class Mine:\n    """Mine."""\n    def ask(self, number: int) -> int:\n        return 1\n') == [
        "no docstring"
    ]
