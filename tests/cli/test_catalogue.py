"""Everything that can be named has a line about it."""

import re
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from typer.testing import CliRunner

import offramp
from offramp import registry
from offramp.algorithms.algorithm import ALGORITHMS
from offramp.cli.catalogue import KINDS, describe
from offramp.cli.main import app
from offramp.errors import UnknownNameError
from offramp.registry import PluginWarning
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
    assert entries["train.batch_size"] == "Samples of a training step (default: 16 to 128, by the number of samples)."


def test_the_table_names_the_entry_point_group_of_every_registry() -> None:
    source = Path(offramp.__file__).parent
    stated = {
        match[1]
        for path in source.rglob("*.py")
        if path.name != "registry.py"
        for match in re.finditer(r'entry_points="(offramp[.][a-z_]+)"', path.read_text())
    }
    assert len(stated) == 10
    assert sorted(kind.group for kind in KINDS.values() if kind.group is not None) == sorted(stated)


def entry_point(group: str) -> EntryPoint:
    return EntryPoint(name="mine", value="my_package.mine", group=group)


@pytest.mark.parametrize(
    ("group", "near"),
    [
        ("offramp.engines", "offramp.cost_engines"),
        ("offramp.cost-engines", "offramp.cost_engines"),
        ("offramp.algorithm", "offramp.algorithms"),
        ("Offramp.trackers", "offramp.trackers"),
        ("offramp", None),
    ],
)
def test_a_misspelt_entry_point_group_is_told_by_offramp_list(
    group: str, near: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = EntryPoints([entry_point(group), entry_point("offramp.trackers"), entry_point("offramps.other")])
    monkeypatch.setattr(registry, "entry_points", lambda **changes: found.select(**changes))
    with pytest.warns(PluginWarning) as caught:
        assert CliRunner().invoke(app, ["list"]).exit_code == 0
    (warning,) = caught
    assert f"there is no entry-point group {group!r}." in str(warning.message)
    assert (f"Did its author mean {near!r}?" in str(warning.message)) is (near is not None)


def test_the_list_of_settings_shows_fixed_values() -> None:
    described = {entry.name: entry.description for entry in describe("settings")}
    assert described["data.kind"].endswith(" [one of: pixels, feature_maps, series, vectors]")
    assert described["data.duplicates"].endswith(" [one of: remove, keep] [default: remove]")
    assert "one of" not in described["seed"]
