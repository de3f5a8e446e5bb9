import pytest

from offramp.jsonio import dumps, loads
from offramp.records.run_inputs import InputKind, RunInput, RunInputs, listed_changes


def inputs(**changes: str | None) -> RunInputs:
    """One input of each kind, some with another fingerprint or left out."""
    prints: dict[InputKind, str] = {"data": "d", "accelerator": "a", "weights": "w", "model": "m", "version": "1.0"}
    chosen = {kind: changes.get(kind, value) for kind, value in prints.items()}
    names = {"version": "torch"}
    return RunInputs(
        tuple(
            RunInput(kind, names.get(kind, "content"), f"my {kind}", value)
            for kind, value in chosen.items()
            if value is not None
        )
    )


def test_nothing_changed() -> None:
    assert inputs().changes_to(inputs()) == ()


def test_a_place_that_moved_is_no_change() -> None:
    moved = RunInputs(tuple(RunInput(i.kind, i.aspect, f"elsewhere/{i.source}", i.fingerprint) for i in inputs().items))
    assert inputs().changes_to(moved) == ()


@pytest.mark.parametrize("kind", ["data", "accelerator", "weights", "model"])
def test_another_content_is_named_and_never_harmless(kind: str) -> None:
    for other in ("x", None):
        (change,) = inputs().changes_to(inputs(**{kind: other}))
        assert f"my {kind}" in change.sentence
        assert not change.harmless
    (change,) = inputs(**{kind: None}).changes_to(inputs())
    assert change.sentence.endswith("is new")


def test_versions_are_harmless_and_come_last() -> None:
    found = inputs().changes_to(inputs(version="2.0", data="x"))
    assert [change.harmless for change in found] == [False, True]
    assert listed_changes(found) == "the content of the data 'my data' changed; torch is 2.0, was 1.0"
    (gone,) = inputs().changes_to(inputs(version=None))
    assert gone.sentence == "torch is not installed, was 1.0"


def test_json_both_ways_and_each_input_once() -> None:
    assert loads(RunInputs, dumps(inputs())) == inputs()
    with pytest.raises(ValueError, match="listed once"):
        RunInputs((*inputs().items, inputs().items[0]))
