"""What a run rests on that lies outside its folder: data, files, models, plug-ins and installed versions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

InputKind = Literal["data", "accelerator", "weights", "licence", "model", "plug-in", "version"]
"""The sorts of things that a run rests on."""


@dataclass(frozen=True)
class RunInput:
    """One thing that a run rests on.

    Attributes:
        kind: What it is.
        aspect: The part of it that the fingerprint is of, such as ``labels``; for plug-ins and versions the name.
        source: Where it came from, for messages: a path or a name; empty where ``aspect`` says it.
        fingerprint: Hash of its content; for a version the version itself.
    """

    kind: InputKind
    aspect: str
    source: str
    fingerprint: str

    @property
    def key(self) -> tuple[str, str]:
        """What is compared with the same thing at another time."""
        return self.kind, self.aspect


@dataclass(frozen=True)
class InputChange:
    """A difference between what a run was begun with and what it would go on with.

    Attributes:
        sentence: What changed, as the part of a sentence.
        harmless: Whether the run may go on with it. Other data, models and files would mix two runs in one result.
    """

    sentence: str
    harmless: bool


@dataclass(frozen=True)
class RunInputs:
    """All things that a run rests on.

    Attributes:
        items: The things, each key once.
    """

    items: tuple[RunInput, ...]

    def __post_init__(self) -> None:
        keys = [item.key for item in self.items]
        if len(set(keys)) < len(keys):
            raise ValueError(f"every input of a run must be listed once, got {keys}.")

    def changes_to(self, other: "RunInputs") -> tuple[InputChange, ...]:
        """Compare with what the run would go on with.

        Args:
            other: What there is now.

        Returns:
            The differences, those that are not harmless first.
        """
        before, after = ({item.key: item for item in inputs.items} for inputs in (self, other))
        found = [_change(before.get(key), after.get(key)) for key in dict.fromkeys((*before, *after))]
        return tuple(sorted((change for change in found if change), key=lambda change: change.harmless))


def listed_changes(changes: Iterable[InputChange]) -> str:
    """Name changes in one clause.

    Args:
        changes: The changes.

    Returns:
        Their sentences, joined by semicolons.
    """
    return "; ".join(change.sentence for change in changes)


def _change(before: RunInput | None, after: RunInput | None) -> InputChange | None:
    if before is not None and after is not None and before.fingerprint == after.fingerprint:
        return None
    known = after or before
    assert known is not None
    if known.kind == "version":
        then = before.fingerprint if before else "not installed"
        now = after.fingerprint if after else "not installed"
        return InputChange(f"{known.aspect} is {now}, was {then}", harmless=True)
    what = {
        "data": f"the {known.aspect} of the data {known.source!r}",
        "accelerator": f"the accelerator {known.source!r}",
        "weights": f"the weights {known.source!r}",
        "licence": f"the licence {known.source!r}",
        "model": f"the model {known.source!r}",
        "plug-in": f"the plug-in {known.aspect}",
    }[known.kind]
    happened = "is new" if before is None else "is not there any more" if after is None else "changed"
    if before and after and known.kind != "data" and known.kind != "plug-in":
        happened = f"has another content (fingerprint {after.fingerprint[:12]}, was {before.fingerprint[:12]})"
    return InputChange(f"{what} {happened}", harmless=False)
