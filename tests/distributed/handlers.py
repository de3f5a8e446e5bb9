"""Workers for the tests: they do what the job says."""

import os
import signal
import sys
import time
from pathlib import Path

from offramp.distributed.executor import Handler, Job, Progress, WorkerFolder


def worker_folder(folder: Path, handler: str = "obey") -> WorkerFolder:
    """A folder whose jobs a function of this module handles."""
    return WorkerFolder(folder, f"tests.distributed.handlers:{handler}")


def obey(folder: Path) -> Handler:
    """``echo X``, ``sleep S``, ``raise X``, ``die N``, ``die-once``, ``exit``, ``noise``, ``report``, ``memory``."""

    def handle(job: Job, progress: Progress) -> str:
        verb, _, rest = job.payload.partition(" ")
        with (folder / "begun").open("a") as file:
            file.write(f"{job.payload}\n")
        if verb == "sleep":
            time.sleep(float(rest))
        elif verb == "raise":
            raise KeyError(rest)
        elif verb == "die":
            os.kill(os.getpid(), int(rest))
        elif verb == "die-once" and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        elif verb == "exit":
            print("I give up", file=sys.stderr)
            os._exit(7)
        elif verb == "noise":
            print("not JSON")
            os.write(1, b"nor this\n")
        elif verb == "report":
            progress(0.25, "a quarter")
            progress(0.5, "half")
        elif verb == "memory":
            bytearray(1 << 60)
        return f"{rest} from {os.getpid()}"

    return handle


def refuse(folder: Path) -> Handler:
    raise FileNotFoundError("the weights are not there")


def die_at_start(folder: Path) -> Handler:
    with (folder / "begun").open("a") as file:
        file.write("start\n")
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError
