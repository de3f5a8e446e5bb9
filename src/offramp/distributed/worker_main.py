"""The program of a worker process: ``python -m offramp.distributed.worker_main HANDLER FOLDER``.

It does one job per line of its standard input. It is a separate program because a fork of a process with torch's
threads may hang, and a spawned copy would run the user's script again where it lacks ``if __name__ == "__main__"``.
"""

import contextlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from offramp.distributed.executor import Handler, Job
from offramp.jsonio import loads

_LONGEST_REASON = 500


def main() -> None:
    """Load the handler, report that it is ready, and answer jobs until standard input ends."""
    # Ctrl-C is handled by the search, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.fdopen(os.dup(1), "w", buffering=1)
    # The output of libraries must not mix with the answers.
    os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        # A broken pipe means that the caller has ended.
        with contextlib.suppress(BrokenPipeError):
            output.write(json.dumps(message) + "\n")

    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    try:
        handler = _load(sys.argv[1])(Path(sys.argv[2]))
    except Exception as exc:
        send({"broken": _reason(exc)})
        return
    send({"ready": True})
    while True:
        job = loads(Job, lines.get(), what="job of a worker")
        send(_answer(handler, job, send))


def _listen(lines: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    # The caller has ended, perhaps by a kill, so that nobody waits for the present job.
    os._exit(0)


def _load(name: str) -> Callable[[Path], Handler]:
    module, _, function = name.partition(":")
    factory: Callable[[Path], Handler] = getattr(importlib.import_module(module), function)
    return factory


def _answer(handler: Handler, job: Job, send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    started = time.monotonic()
    try:
        payload = handler(job, lambda fraction, note: send({"progress": fraction, "note": note}))
    except Exception as exc:
        return {"error": _reason(exc), "seconds": time.monotonic() - started}
    return {"payload": payload, "seconds": time.monotonic() - started}


def _reason(exc: Exception) -> str:
    return " ".join(f"{type(exc).__name__}: {exc}".split())[:_LONGEST_REASON]


if __name__ == "__main__":
    main()
