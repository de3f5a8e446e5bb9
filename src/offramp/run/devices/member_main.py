"""The program of a process that trains together with the one that started it.

``python -m offramp.run.devices.member_main STORE RANK SIZE DEVICE THREADS``
"""

import signal
import sys
from contextlib import suppress

from torch.distributed import FileStore  # type: ignore[attr-defined]

from offramp.errors import WorkerError
from offramp.run.devices.launch import READY, connect, follow_caller
from offramp.run.devices.member import serve


def main() -> None:
    """Connect to the other processes and join every training until process 0 ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    file, rank, size, device, threads = sys.argv[1:]
    over = follow_caller()
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    # Where another process is lost, process 0 says so.
    with suppress(WorkerError):
        team = connect(FileStore(file, int(size)), int(rank), int(size), device, int(threads), int(rank))
        serve(team, over.is_set)


if __name__ == "__main__":
    main()
