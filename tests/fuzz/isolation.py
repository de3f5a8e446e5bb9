"""Readings in processes of their own, with limits on time and memory, and what came of them."""

import contextlib
import gc
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from offramp.errors import OfframpError

Kind = Literal["read", "refused", "traceback", "hang", "memory", "died", "bad message"]
GOOD: tuple[Kind, ...] = ("read", "refused")
_LONGEST_MESSAGE = 4000
# Other work on the machine must not look like a hang.
_PATIENCE = 6


@dataclass(frozen=True)
class Limits:
    """``seconds`` are of computing; a reading that sleeps is given up after some times as much on the clock.

    ``memory_bytes`` is what reading may add to what the process had.
    """

    seconds: float = 10.0
    memory_bytes: int = 2 * 2**30


@dataclass(frozen=True)
class Outcome:
    """What a reading ended with; ``message`` is the error's text or the traceback, ``seconds`` are of computing."""

    kind: Kind
    message: str
    seconds: float
    memory_bytes: int

    @property
    def good(self) -> bool:
        return self.kind in GOOD


class ReaderProcess:
    """A process that reads one folder after the other: a fork for each would take longer than most readings.

    What goes wrong is read again in a fresh process, so that no earlier reading is to blame.
    """

    def __init__(self, read: Callable[[Path], None], limits: Limits) -> None:
        """The process starts with the first reading; its parent must have started no threads."""
        self._read = read
        self._limits = limits
        self._child: _Child | None = None

    def outcome(self, folder: Path) -> Outcome:
        """Read ``folder`` and look at how it ended."""
        if self._child is None:
            self._child = _Child(self._read, self._limits)
        outcome = self._child.outcome(folder)
        if not outcome.good:
            self.close()
        return outcome

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.end()
            self._child = None


def read_isolated(read: Callable[[Path], None], path: Path, limits: Limits) -> Outcome:
    """Read in a process that reads nothing else. The parent must have imported everything and started no threads."""
    reader = ReaderProcess(read, limits)
    try:
        return reader.outcome(path)
    finally:
        reader.close()


class _Child:
    def __init__(self, read: Callable[[Path], None], limits: Limits) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._limits = limits
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._requests)
            os.close(self._answers)
            _serve(read, limits, requests, answers)
        os.close(requests)
        os.close(answers)
        self._ended = False

    def outcome(self, folder: Path) -> Outcome:
        began = time.monotonic()
        os.write(self._requests, os.fsencode(folder) + b"\n")
        answer = _wait_for(self._answers, began + _PATIENCE * self._limits.seconds)
        if answer is None or not answer.endswith(b"\n"):
            status, usage = self.end(kill=answer is None)
            seconds = usage.ru_utime + usage.ru_stime
            if answer is None:
                told = f"took {seconds:.1f} s of computing, {time.monotonic() - began:.1f} s in all"
                return Outcome("hang", told, seconds, 0)
            return Outcome("died", f"the process ended with status {status}", seconds, 0)
        told = json.loads(answer)
        kind: Kind = told["kind"]
        if told["seconds"] > self._limits.seconds:
            return Outcome("hang", f"took {told['seconds']:.1f} s of computing", told["seconds"], told["memory"])
        if kind in GOOD and told["memory"] > self._limits.memory_bytes:
            kind = "memory"
        if kind == "refused" and not _is_sentence(told["message"]):
            kind = "bad message"
        return Outcome(kind, told["message"], told["seconds"], told["memory"])

    def end(self, *, kill: bool = False) -> tuple[int, resource.struct_rusage]:
        """End the process; its status and what it used."""
        if not self._ended:
            self._ended = True
            if kill:
                os.kill(self._pid, signal.SIGKILL)
            os.close(self._requests)
            os.close(self._answers)
            _, self._status, self._usage = os.wait4(self._pid, 0)
        return self._status, self._usage


def _serve(read: Callable[[Path], None], limits: Limits, requests: int, answers: int) -> None:
    """In the child: never returns."""
    gc.freeze()
    _limit_memory(limits)
    with open(requests, "rb") as folders, open(answers, "wb") as stream:
        for line in folders:
            stream.write(_told(read, Path(os.fsdecode(line[:-1]))) + b"\n")
            stream.flush()
    os._exit(0)


def _told(read: Callable[[Path], None], path: Path) -> bytes:
    """Read, and write down how it ended in one line."""
    _forget_peak()
    before, began = _memory_bytes("VmRSS"), _computing_seconds()
    kind, message = "read", ""
    try:
        read(path)
    except OfframpError as exc:
        kind, message = "refused", str(exc)
    except MemoryError:
        kind, message = "memory", traceback.format_exc()
    except BaseException:
        kind, message = "traceback", traceback.format_exc()
    memory, seconds = _memory_bytes("VmHWM") - before, _computing_seconds() - began
    told = json.dumps({"kind": kind, "message": message[:20_000], "memory": memory, "seconds": seconds})
    return told.encode("utf-8", "replace")


def _limit_memory(limits: Limits) -> None:
    """Keep a runaway reading from taking the machine along; well above what counts as too much."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = size + 2 * limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _forget_peak() -> None:
    """Have the kernel measure the largest memory from here on; where it must not, that of earlier readings counts."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory_bytes(name: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def _computing_seconds() -> float:
    usages = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _wait_for(receiver: int, deadline: float) -> bytes | None:
    """A line that the child writes, less where the child ended, or None at the deadline."""
    parts = []
    while not parts or not parts[-1].endswith(b"\n"):
        ready, _, _ = select.select([receiver], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(receiver, 65536)
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def _is_sentence(message: str) -> bool:
    return 10 <= len(message) <= _LONGEST_MESSAGE and "Traceback" not in message and not message.startswith("<")
