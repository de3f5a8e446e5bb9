"""Damage files, read them, keep what went wrong and what was new."""

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.fuzz.isolation import Limits, Outcome, read_isolated
from tests.fuzz.mutations import mutate
from tests.fuzz.targets import Target

_MOST_KEPT = 60


@dataclass(frozen=True)
class Finding:
    """A damaged file that was not read or refused as it should."""

    target: str
    file: str
    content: bytes
    outcome: Outcome

    @property
    def file_name(self) -> str:
        """``<target>--<file>--<digest>``, from which a regression test knows what to put where."""
        digest = hashlib.sha256(self.content).hexdigest()[:12]
        return "--".join((self.target.replace(" ", "_"), self.file.replace("/", "__"), digest))


@dataclass
class Tally:
    """What a target's readings ended with."""

    kinds: Counter[str] = field(default_factory=Counter)
    messages: set[str] = field(default_factory=set)
    slowest_s: float = 0.0
    most_memory_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, outcome: Outcome) -> bool:
        """Whether the outcome is one not seen before."""
        self.kinds[outcome.kind] += 1
        self.slowest_s = max(self.slowest_s, outcome.seconds)
        self.most_memory_bytes = max(self.most_memory_bytes, outcome.memory_bytes)
        new = _shape_of(outcome) not in self.messages
        self.messages.add(_shape_of(outcome))
        return new


def fuzz(
    target: Target, count: int, seed: int, scratch: Path, limits: Limits, tell: Callable[[int], None] | None = None
) -> Tally:
    """Read ``count`` damaged variants. A variant with a new kind of answer is damaged further."""
    rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(target.name.encode()).digest()[:4], "big")])
    sound = scratch / "sound"
    sound.mkdir(parents=True)
    target.prepare(sound)
    kept = {name: [(sound / name).read_bytes()] for name in target.damage}
    tally = Tally()
    outcome = _read(target, sound, scratch / "read", "", b"", limits)
    if outcome.kind != "read":
        raise AssertionError(f"The undamaged files of {target.name!r} must be readable: {outcome.message}")
    for number in range(count):
        name = target.damage[int(rng.integers(len(target.damage)))]
        source = kept[name][int(rng.integers(len(kept[name])))]
        content = target.mutation(source, rng) if target.mutation else mutate(source, target.is_text, rng)
        outcome = _read(target, sound, scratch / "read", name, content, limits)
        if tally.add(outcome):
            if outcome.good and len(kept[name]) < _MOST_KEPT and len(content) < 10_000_000:
                kept[name].append(content)
            elif not outcome.good:
                tally.findings.append(Finding(target.name, name, content, outcome))
        if tell is not None:
            tell(number + 1)
    return tally


def replay(target: Target, name: str, content: bytes, scratch: Path, limits: Limits) -> Outcome:
    """Read one damaged file among otherwise sound ones."""
    sound = scratch / "sound"
    sound.mkdir(parents=True)
    target.prepare(sound)
    return _read(target, sound, scratch / "read", name, content, limits)


def _read(target: Target, sound: Path, folder: Path, name: str, content: bytes, limits: Limits) -> Outcome:
    # Readers may write (locks, caches), so each gets a copy.
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(sound, folder)
    if name:
        (folder / name).write_bytes(content)
    return read_isolated(target.read, folder, limits)


def _shape_of(outcome: Outcome) -> str:
    """A message without its names and numbers; of a traceback, the places it went through."""
    if outcome.kind in ("traceback", "memory"):
        places = re.findall(r'File "[^"]*/(\w+\.py)", line (\d+)', outcome.message)
        return f"{outcome.kind} {places[-4:]}"
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'x'", outcome.message)
    return f"{outcome.kind} {re.sub(r'[-+]?[0-9][0-9.e+]*', '0', text)[:160]}"
