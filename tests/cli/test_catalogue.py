"""Everything that can be named has a line about it."""

import pytest

from offramp.cli.catalogue import KINDS, describe
from offramp.errors import UnknownNameError


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
