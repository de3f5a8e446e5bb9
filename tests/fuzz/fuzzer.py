"""Damage files, read them, keep what went wrong and what was new."""

import hashlib
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.fuzz.isolation import Limits, Outcome, ReaderProcess, read_isolated
from tests.fuzz.mutations import mutate
from tests.fuzz.targets import Target

_MOST_KEPT = 60
_PER_PROCESS = 250


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


def fuzz(target: Target, count: int, seed: int, scratch: Path, limits: Limits) -> Tally:
    """Read ``count`` damaged variants. A variant with a new kind of answer is damaged further."""
    rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(target.name.encode()).digest()[:4], "big")])
    sound = scratch / "sound"
    sound.mkdir(parents=True)
    target.prepare(sound)
    kept = {name: [(sound / name).read_bytes()] for name in target.damage}
    tally = Tally()
    reader = ReaderProcess(target.read, limits)
    for number in range(count):
        name = target.damage[int(rng.integers(len(target.damage)))]
        source = kept[name][int(rng.integers(len(kept[name])))]
        content = target.mutation(source, rng) if target.mutation else mutate(source, target.is_text, rng)
        if number % _PER_PROCESS == 0:
            _check_undamaged(target, sound, scratch / "read", reader)
            reader.close()
        _fill(scratch / "read", sound, name, content)
        outcome = reader.outcome(scratch / "read")
        if not outcome.good:
            outcome = _confirmed(target, sound, scratch / "read", name, content, limits, outcome)
        if tally.add(outcome):
            if outcome.good and len(kept[name]) < _MOST_KEPT and len(content) < 10_000_000:
                kept[name].append(content)
            elif not outcome.good:
                tally.findings.append(Finding(target.name, name, content, outcome))
    _check_undamaged(target, sound, scratch / "read", reader)
    reader.close()
    return tally


def replay(target: Target, name: str, content: bytes, scratch: Path, limits: Limits) -> Outcome:
    """Read one damaged file among otherwise sound ones."""
    sound = scratch / "sound"
    sound.mkdir(parents=True)
    target.prepare(sound)
    _fill(scratch / "read", sound, name, content)
    return read_isolated(target.read, scratch / "read", limits)


def _confirmed(
    target: Target, sound: Path, folder: Path, name: str, content: bytes, limits: Limits, first: Outcome
) -> Outcome:
    """What a process says that has read nothing before; a traceback counts also where it came from earlier readings."""
    _fill(folder, sound, name, content)
    again = read_isolated(target.read, folder, limits)
    return first if again.good and first.kind in ("traceback", "bad message") else again


def _check_undamaged(target: Target, sound: Path, folder: Path, reader: ReaderProcess) -> None:
    """Sound files must be readable, also after damaged ones: else the readings before said nothing."""
    _fill(folder, sound, "", b"")
    outcome = reader.outcome(folder)
    if outcome.kind != "read":
        raise AssertionError(f"The undamaged files of {target.name!r} must be readable: {outcome.message}")


def _fill(folder: Path, sound: Path, name: str, content: bytes) -> None:
    # Readers may write (locks, caches), so each gets a copy.
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(sound, folder)
    if name:
        (folder / name).write_bytes(content)


def _shape_of(outcome: Outcome) -> str:
    """A message without its names and numbers; of a traceback, the places it went through."""
    if outcome.kind in ("traceback", "memory"):
        places = re.findall(r'File "[^"]*/(\w+\.py)", line (\d+)', outcome.message)
        return f"{outcome.kind} {places[-4:]}"
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'x'", outcome.message)
    return f"{outcome.kind} {re.sub(r'[-+]?[0-9][0-9.e+]*', '0', text)[:160]}"
