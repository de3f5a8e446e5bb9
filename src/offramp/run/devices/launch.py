"""How the processes that train together begin: started by process 0 on this machine, or all by torchrun."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import FileStore, PrefixStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from offramp.errors import ConfigError, WorkerError
from offramp.run.context import Context
from offramp.run.devices.member import send_run, serve
from offramp.run.devices.team import TrainingCommand, TrainingTeam
from offramp.settings.config import Config
from offramp.train.compute import default_threads
from offramp.train.data_parallel import LONGEST_WAIT, DataParallel

_DEVICE = "device"
_LONGEST_PREPARATION = timedelta(days=1)
READY = b"ready\n"
"""What a started process writes when it can connect."""


def launched_size() -> int:
    """How many processes torchrun started; 1 where this process was not started by torchrun."""
    started = all(os.environ.get(name) for name in ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "MASTER_ADDR"))
    return int(os.environ["WORLD_SIZE"]) if started else 1


def assists_other_process() -> bool:
    """Whether torchrun started this process to train together with a process 0, which has the run."""
    return launched_size() > 1 and int(os.environ["RANK"]) > 0


def check_devices(config: Config) -> None:
    """Check that the processes that a run asks for can train together here.

    Args:
        config: The settings of the run.

    Raises:
        ConfigError: There are not so many GPUs, or torchrun started another number of processes.
    """
    asked, launched = config.execution.devices, launched_size()
    if asked is not None and launched > 1 and asked != launched:
        raise ConfigError(
            f"execution.devices must be the number of processes that torchrun started ({launched}), got {asked}. "
            "Leave it out."
        )
    size = launched if launched > 1 else asked or 1
    if size == 1:
        return
    if not dist.is_available():
        raise ConfigError("This build of torch cannot train in several processes. Leave out execution.devices.")
    if config.train.batch_size is not None and config.train.batch_size < size:
        raise ConfigError(
            f"train.batch_size must be at least the number of devices ({size}), got {config.train.batch_size}."
        )
    device = torch.device(config.train.device)
    if device.type == "cpu":
        return
    if ":" in config.train.device:
        raise ConfigError(
            f"With several devices, train.device must name their kind, such as {device.type!r}, got {str(device)!r}."
        )
    if launched == 1 and device.type == "cuda" and torch.cuda.device_count() < size:
        raise ConfigError(
            f"execution.devices must be at most the number of GPUs here ({torch.cuda.device_count()}), got {size}."
        )


@contextmanager
def training_team(context: Context) -> Iterator[TrainingTeam | None]:
    """Connect the processes that train a run together, and end them with the block.

    Args:
        context: The parts of the run; `check_devices` has accepted its settings.

    Yields:
        Process 0 among them, which this one is; None where this process trains alone.

    Raises:
        WorkerError: A process cannot be started, or was lost.
    """
    size, launched = context.config.execution.devices or 1, launched_size()
    if max(size, launched) == 1:
        yield None
        return
    with ExitStack() as stack:
        if launched > 1:
            team = stack.enter_context(_launched(context.config.train.device))
        else:
            threads = context.config.train.threads or default_threads(max(context.dataset.input_shape[1:]), size)
            team = stack.enter_context(_started(context.config.train.device, size, threads))
        try:
            send_run(team, context, team.parallel.threads or 1)
            yield team
        finally:
            with suppress(WorkerError):
                team.send(TrainingCommand("end"))


def assist() -> None:
    """Train together with the process 0 of torchrun until it ends."""
    with suppress(WorkerError), _launched(None) as team:
        # torchrun ends this process where another one fails.
        serve(team, is_over=lambda: False)


def connect(store: Store, rank: int, size: int, device: str, threads: int, local_rank: int) -> TrainingTeam:
    """Join the default process group of torch.distributed.

    Args:
        store: The store by which the processes find each other.
        rank: Number of this process.
        size: Number of processes.
        device: ``cpu``, or a kind of devices of which each process has its own, such as ``cuda``.
        threads: Threads of torch in this process while it trains.
        local_rank: Number of this process on its machine.

    Returns:
        This process among the others.

    Raises:
        WorkerError: The processes cannot reach each other.
    """
    on_gpu = torch.device(device).type == "cuda"
    own = f"cuda:{local_rank}" if on_gpu else device
    if on_gpu:
        torch.cuda.set_device(own)
    try:
        dist.init_process_group(
            "nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT
        )
    except (RuntimeError, ValueError, dist.DistError) as exc:
        raise WorkerError(f"The {size} processes of the training cannot reach each other: {exc}") from exc
    return TrainingTeam(DataParallel(rank, size, own, threads), store)


@contextmanager
def _launched(device: str | None) -> Iterator[TrainingTeam]:
    """This process among those of torchrun; process 0 tells the others the device of the settings."""
    base, rank, size = next(rendezvous("env://"))
    store = PrefixStore("offramp", base)
    if device is not None:
        store.set(_DEVICE, device)
    else:
        # Process 0 reads its data first, for as long as that takes.
        store.wait([_DEVICE], _LONGEST_PREPARATION)
        device = store.get(_DEVICE).decode()
    threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
    try:
        yield connect(store, rank, size, device, threads, int(os.environ.get("LOCAL_RANK", 0)))
    finally:
        _leave()


@contextmanager
def _started(device: str, size: int, threads: int) -> Iterator[TrainingTeam]:
    """This process as process 0, with others that it starts on this machine."""
    # Nobody outside this machine may take part.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "store"
        members = [
            stack.enter_context(_member(file, rank, size, device, threads, Path(folder) / f"{rank}.log"))
            for rank in range(1, size)
        ]
        for member in members:
            member.wait_until_ready()
        try:
            yield connect(FileStore(str(file), size), 0, size, device, threads, 0)
        finally:
            _leave()


def _leave() -> None:
    with suppress(RuntimeError, ValueError, AssertionError):
        dist.destroy_process_group()


class _Member:
    """A started process."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log

    def wait_until_ready(self) -> None:
        """Wait until it can connect; raises WorkerError where it ends instead."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != READY:
            self._process.wait()
            words = self._log.read_text(errors="replace").strip().splitlines()
            last = f"; its last words: {words[-1][:200]}" if words else ""
            raise WorkerError(f"A process of the training cannot be started{last}.")


@contextmanager
def _member(file: Path, rank: int, size: int, device: str, threads: int, log: Path) -> Iterator[_Member]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-m", "offramp.run.devices.member_main", str(file), str(rank), str(size), device]
    with log.open("wb") as errors:
        # Ctrl-C is handled by process 0, which ends the others.
        process = subprocess.Popen(
            [*command, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
    try:
        yield _Member(process, log)
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process: at once where process 0 was interrupted, for it may wait for an exchange."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        with suppress(OSError):
            stream.close()


def follow_caller() -> threading.Event:
    """End this process when its standard input ends: process 0 has ended then, perhaps by a kill.

    Returns:
        An event that is set then.
    """
    over = threading.Event()

    def listen() -> None:
        sys.stdin.buffer.read()
        over.set()
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    return over
