"""Processes that train together: the commands by which process 0 has the others join a training."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import Store

from offramp.errors import WorkerError
from offramp.jsonio import dumps, loads
from offramp.space.architecture import Architecture
from offramp.train.data_parallel import DataParallel

_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class TrainingCommand:
    """What the other processes are to train together with process 0.

    Attributes:
        kind: ``run`` (take the parts of the run), ``supernet``, ``network`` (fine-tuning of one network), or ``end``.
        timed: Whether a clock ends the training, which process 0 reads for all.
        architecture: The network to fine-tune; None for the supernet.
        epochs: Epochs of fine-tuning.
        early_exit_weight: Weight of the early exits in the loss of fine-tuning.
        has_teacher: Whether the finished reference teaches.
    """

    kind: Literal["run", "supernet", "network", "end"]
    timed: bool = False
    architecture: Architecture | None = None
    epochs: int = 0
    early_exit_weight: float = 1.0
    has_teacher: bool = False


class TrainingTeam:
    """This process among those that train together.

    Process 0 gives commands; the others wait for them, and each runs the same training as process 0 does.

    Attributes:
        parallel: Exchanges gradients and weights.
    """

    def __init__(self, parallel: DataParallel, store: Store) -> None:
        """Join the processes, which are connected already.

        Args:
            parallel: This process and their number.
            store: The store by which they found each other. Commands go through it, because a process may wait for one
                longer than for an exchange.
        """
        self.parallel = parallel
        self._store = store
        self._count = 0

    def begin(self, command: TrainingCommand, *modules: nn.Module) -> None:
        """Have the other processes begin a training.

        Args:
            command: What to train.
            modules: Networks that the training starts from, whose weights the other processes take.

        Raises:
            WorkerError: Another process was lost.
        """
        self.send(command)
        for module in modules:
            self.parallel.spread_module_(module)

    def send(self, command: TrainingCommand) -> None:
        """Send a command to the other processes.

        Args:
            command: The command.

        Raises:
            WorkerError: The store of the processes is gone.
        """
        try:
            self._store.set(self._key(), dumps(command))
        except (RuntimeError, dist.DistError) as exc:
            raise WorkerError("The processes that train together have lost each other. Resume the run.") from exc
        self._count += 1

    def receive(self, is_over: Callable[[], bool]) -> TrainingCommand:
        """Wait for the next command of process 0, for as long as it takes.

        Args:
            is_over: Whether process 0 has ended; asked about once a second.

        Returns:
            The command; ``end`` where process 0 has ended without a word.
        """
        while not is_over():
            try:
                self._store.wait([self._key()], timedelta(seconds=_SECONDS_BETWEEN_LOOKS))
            except dist.DistNetworkError:
                break
            except (RuntimeError, dist.DistError):
                # Nothing yet. A store that fails at once must not keep a core busy.
                time.sleep(0.05)
                continue
            text = self._store.get(self._key()).decode()
            self._count += 1
            return loads(TrainingCommand, text, what="command of a training")
        return TrainingCommand("end")

    def _key(self) -> str:
        return f"offramp/command/{self._count}"
