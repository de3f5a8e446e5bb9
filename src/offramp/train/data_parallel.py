"""Training of one network by several processes, each on its share of every mini-batch."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from offramp.errors import WorkerError
from offramp.train.synchronised_norm import SynchronisedNorms

LONGEST_WAIT = timedelta(minutes=10)
"""How long a process waits for the others within a step before it gives up."""

Result = TypeVar("Result")
_active: ContextVar["DataParallel | None"] = ContextVar("active", default=None)


@dataclass(frozen=True)
class DataParallel:
    """One of several processes that train the same network.

    All of them hold the same weights, draw the same random numbers and take the same steps: each computes the gradients
    of its share of the mini-batch, and the mean of these gradients is that of the whole mini-batch. The default process
    group of torch.distributed connects them.

    Attributes:
        rank: Number of this process, 0..size - 1. Process 0 leads: it reads and writes files and the clock.
        size: Number of processes, at least 2.
        device: Device of the tensors that are exchanged, such as ``cpu`` or ``cuda:0``.
        threads: Threads of torch in this process while it trains; None = as many as before.
    """

    rank: int
    size: int
    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.size < 2 or not 0 <= self.rank < self.size:
            raise ValueError(f"`rank` must be 0..size - 1 and `size` 2 or more, got {self.rank} of {self.size}.")

    @property
    def leads(self) -> bool:
        """Whether this is the process that reads and writes files."""
        return self.rank == 0

    def batch_size(self, wanted: int) -> int:
        """The size of a mini-batch that all processes share equally.

        Args:
            wanted: The size for one process.

        Returns:
            The largest multiple of the number of processes up to ``wanted``; at least one sample for each process.
        """
        return max(wanted // self.size, 1) * self.size

    def share(self, samples: Tensor) -> Tensor:
        """The samples of a mini-batch that this process computes.

        Args:
            samples: A tensor whose first axis is the samples, a multiple of ``size``.

        Returns:
            The part of this process, a view.
        """
        each = len(samples) // self.size
        return samples[self.rank * each : (self.rank + 1) * each]

    @contextmanager
    def training(self) -> Iterator[None]:
        """A context for a whole training, in which the processes share the cores of a machine."""
        before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @contextmanager
    def step(self) -> Iterator[None]:
        """A context for the forward and the backward pass: batch norms and weighted losses see the whole mini-batch."""
        token = _active.set(self)
        try:
            with SynchronisedNorms(self.total):
                yield
        finally:
            _active.reset(token)

    def total(self, values: Tensor) -> Tensor:
        """Add a tensor over all processes.

        Args:
            values: The part of this process, of the same shape in each.

        Returns:
            The sum, equal in all processes.

        Raises:
            WorkerError: Another process was lost.
        """
        result = values.detach().clone().contiguous()
        _exchange(lambda: dist.all_reduce(result))
        return result

    def mean(self, value: float) -> float:
        """The mean of a number over all processes.

        Args:
            value: The number of this process.

        Returns:
            The mean, equal in all processes.

        Raises:
            WorkerError: Another process was lost.
        """
        return float(self.total(torch.tensor([value], dtype=torch.float64, device=self.device))) / self.size

    def of_leader(self, value: float) -> float:
        """The number that process 0 holds, such as a time, which no two processes read alike.

        Args:
            value: The number of this process; only that of process 0 counts.

        Returns:
            The number of process 0.

        Raises:
            WorkerError: Another process was lost.
        """
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        _exchange(lambda: dist.broadcast(told, 0))
        return float(told)

    def average_gradients_(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over all processes.

        Args:
            parameters: The parameters; the same ones have a gradient in every process.

        Raises:
            WorkerError: Another process was lost.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for kind in dict.fromkeys(item.dtype for item in gradients):
            chosen = [item for item in gradients if item.dtype == kind]
            means = self.total(torch.cat([item.reshape(-1) for item in chosen])) / self.size
            for item, part in zip(chosen, torch.split(means, [item.numel() for item in chosen]), strict=True):
                item.copy_(part.view(item.shape))

    def spread_module_(self, module: nn.Module) -> None:
        """Give a network the weights and buffers that it has in process 0.

        Args:
            module: The network, of the same structure in every process.

        Raises:
            WorkerError: Another process was lost.
        """
        for tensor in module.state_dict().values():
            self._spread(tensor)

    def spread_momentum_(self, optimizer: torch.optim.Optimizer) -> None:
        """Give an optimiser the momentum that it has in process 0.

        Args:
            optimizer: The optimiser of the same network in every process.

        Raises:
            WorkerError: Another process was lost.
        """
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                buffer = state.get("momentum_buffer")
                if not self.of_leader(float(buffer is not None)):
                    optimizer.state.pop(parameter, None)
                    continue
                if buffer is None:
                    buffer = state["momentum_buffer"] = torch.zeros_like(parameter)
                self._spread(buffer)

    def spread_bytes(self, content: bytes) -> bytes:
        """Send the content of a file from process 0 to all others.

        Args:
            content: What process 0 sends; that of the others does not count.

        Returns:
            The content that process 0 sent.

        Raises:
            WorkerError: Another process was lost.
        """
        size = int(self.of_leader(float(len(content))))
        told = torch.zeros(size, dtype=torch.uint8, device=self.device)
        if self.leads:
            told.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else told)
        if size:
            _exchange(lambda: dist.broadcast(told, 0))
        return bytes(told.cpu().numpy())

    def _spread(self, tensor: Tensor) -> None:
        told = tensor.detach().to(self.device).contiguous().clone()
        _exchange(lambda: dist.broadcast(told, 0))
        tensor.detach().copy_(told)


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a statistic of the mini-batch over the processes that share it.

    Args:
        value: The statistic of the samples of this process; no gradient flows into it.

    Returns:
        The mean over all processes within `DataParallel.step`; elsewhere the value itself.
    """
    parallel = _active.get()
    return value if parallel is None else parallel.total(value) / parallel.size


def _exchange(action: Callable[[], Result]) -> Result:
    """Do something together with the other processes."""
    try:
        return action()
    except (RuntimeError, dist.DistError) as exc:
        reason = str(exc).strip().splitlines()[0][:200] if str(exc).strip() else type(exc).__name__
        raise WorkerError(
            f"One of the processes that train together was lost ({reason}). All whole epochs are kept: resume the run, "
            "also with another number of devices."
        ) from exc
