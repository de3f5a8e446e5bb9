"""One reading in a process of its own, with limits on time and memory, and what came of it."""

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


def read_isolated(read: Callable[[Path], None], path: Path, limits: Limits) -> Outcome:
    """Fork, read, and look at how it ended. The parent must have imported everything and started no threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    receiver, sender = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        _read_and_tell(read, path, limits, sender)
    os.close(sender)
    answer = _wait_for(receiver, began + _PATIENCE * limits.seconds)
    os.close(receiver)
    if answer is None:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    if answer is None or seconds > limits.seconds:
        return Outcome(
            "hang", f"took {seconds:.1f} s of computing, {time.monotonic() - began:.1f} s in all", seconds, 0
        )
    if not answer:
        return Outcome("died", f"the process ended with status {status}", seconds, 0)
    told = json.loads(answer)
    kind: Kind = told["kind"]
    if kind in GOOD and told["memory"] > limits.memory_bytes:
        kind = "memory"
    if kind == "refused" and not _is_sentence(told["message"]):
        kind = "bad message"
    return Outcome(kind, told["message"], seconds, told["memory"])


def _read_and_tell(read: Callable[[Path], None], path: Path, limits: Limits, sender: int) -> None:
    """In the child: never returns."""
    before = _peak_bytes()
    _limit_memory(limits)
    kind, message = "read", ""
    try:
        read(path)
    except OfframpError as exc:
        kind, message = "refused", str(exc)
    except MemoryError:
        kind, message = "memory", traceback.format_exc()
    except BaseException:
        kind, message = "traceback", traceback.format_exc()
    told = json.dumps({"kind": kind, "message": message[:20_000], "memory": _peak_bytes() - before})
    with open(sender, "w", encoding="utf-8", errors="replace") as stream:
        stream.write(told)
    os._exit(0)


def _limit_memory(limits: Limits) -> None:
    """Keep a runaway reading from taking the machine along; well above what counts as too much."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = size + 2 * limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _wait_for(receiver: int, deadline: float) -> bytes | None:
    """All that the child writes, or None if it has not ended by the deadline."""
    parts = []
    while True:
        ready, _, _ = select.select([receiver], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(receiver, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _is_sentence(message: str) -> bool:
    return 10 <= len(message) <= _LONGEST_MESSAGE and "Traceback" not in message and not message.startswith("<")
