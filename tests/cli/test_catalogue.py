"""Everything that can be named has a line about it."""

import re
from pathlib import Path

import pytest

import offramp
from offramp.algorithms.algorithm import ALGORITHMS
from offramp.cli.catalogue import KINDS, describe
from offramp.errors import UnknownNameError
from offramp.settings.by_name import SETTINGS


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_is_described(kind: str) -> None:
    entries = describe(kind)
    assert entries
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert len(entry.description.split()) >= 3, entry


def test_the_accelerator_of_the_default_search_is_there() -> None:
    assert "edge-tpu-quad" in [entry.name for entry in describe("accelerators")]


def test_an_unknown_kind_suggests_a_near_one() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'backbones'"):
        describe("backbone")


def test_every_open_registry_is_listed() -> None:
    """Registries that other packages may add to, found in the source, stand in the table of kinds."""
    source = Path(offramp.__file__).parent
    declared = {
        match[1]
        for path in source.rglob("*.py")
        for match in re.finditer(r"^([A-Z_]+): Registry\[.*?entry_points=", path.read_text(), flags=re.M | re.S)
    }
    assert {"ALGORITHMS", "BACKBONES", "READERS"} <= declared
    table = (source / "cli" / "catalogue.py").read_text()
    assert {name for name in declared if f":{name}" not in table} == set()


def test_a_registry_lists_what_it_holds() -> None:
    assert [entry.name for entry in describe("algorithms")] == list(ALGORITHMS)
    assert "digits" in [entry.name for entry in describe("data-sets")]


def test_settings_are_listed_with_their_defaults() -> None:
    entries = {entry.name: entry.description for entry in describe("settings")}
    assert list(entries) == list(SETTINGS)
    assert entries["train.batch_size"] == "Samples of a training step. [default: 128]"
