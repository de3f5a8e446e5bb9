"""The training loop of supernets and of fine-tuning: schedule, progress, checkpoints, interruption."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offramp.data.labelled_data import Preprocessing, Split
from offramp.data.mini_batches import Augmentation, batches
from offramp.deadline import Deadline
from offramp.errors import InputError, Interrupted
from offramp.progress import Task
from offramp.train.checkpoint import LoopState, load_checkpoint, save_checkpoint
from offramp.train.compute import Compute

Step = Callable[[Tensor, Tensor, np.random.Generator], Tensor]
"""Forward and backward pass of one mini-batch (images, labels) with the epoch's random generator; returns the loss.

Gradients stay on the parameters."""

_WARM_UP = 0.05
_MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the training: linear warm-up, then half a cosine to zero.

    Progress is counted in epochs, or in time where there is a deadline; whichever is further on.
    """

    learning_rate: float
    epochs: int | None
    deadline: Deadline | None = None

    def __post_init__(self) -> None:
        if self.epochs is None and self.deadline is None:
            raise ValueError("a schedule must have a number of epochs, a deadline, or both.")

    def progress(self, epochs_done: float) -> float:
        by_epochs = epochs_done / self.epochs if self.epochs else 0.0
        by_time = self.deadline.fraction() if self.deadline else 0.0
        return min(1.0, max(by_epochs, by_time))

    def rate(self, progress: float) -> float:
        if progress < _WARM_UP:
            return self.learning_rate * (0.1 + 0.9 * progress / _WARM_UP)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


@dataclass(frozen=True)
class TrainingData:
    """What a loop trains on, and how it is presented."""

    split: Split
    preprocessing: Preprocessing
    batch_size: int
    augmentation: Augmentation | None


@dataclass(frozen=True)
class TrainingLog:
    """Mean loss of each epoch, in order."""

    loss: tuple[float, ...]
    progress: float


@dataclass(frozen=True)
class WarmUp:
    """Another step for the first ``share`` of the training; ``finish`` is called once, at the end of its last epoch.

    It may change weights, and momentum starts anew behind it.
    """

    share: float
    step: Step
    finish: Callable[[], object]


class WeightRule(Protocol):
    """What holds for the weights after every step; ``progress`` goes from 0 to 1."""

    def begin(self, progress: float) -> None: ...

    def after_step(self, progress: float) -> None: ...


class TrainingLoop:
    """Trains ``module`` with stochastic gradient descent (Nesterov momentum)."""

    def __init__(
        self,
        module: nn.Module,
        data: TrainingData,
        schedule: Schedule,
        compute: Compute,
        *,
        momentum: float,
        weight_decay: float,
        seed: int,
        checkpoint: Path | None = None,
    ) -> None:
        self.module = compute.place(module)
        self.data = data
        self.schedule = schedule
        self.compute = compute
        self.seed = seed
        self.checkpoint = checkpoint
        # Norms and biases are not decayed: shrinking them regularises nothing and slows training.
        matrices = [p for p in module.parameters() if p.ndim > 1]
        vectors = [p for p in module.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.SGD(
            [group for group in groups if group["params"]],
            lr=schedule.learning_rate,
            momentum=momentum,
            nesterov=momentum > 0,
        )

    def run(
        self,
        step: Step,
        task: Task,
        *,
        resume: bool = False,
        warm_up: WarmUp | None = None,
        rule: WeightRule | None = None,
    ) -> TrainingLog:
        """Train until the schedule is through. Ctrl-C writes a checkpoint and raises Interrupted."""
        state = LoopState(epoch=0, progress=0.0)
        if resume and self.checkpoint is not None and self.checkpoint.exists():
            state = load_checkpoint(self.checkpoint, self.module, self.optimizer)
        offset = state.progress
        if rule is not None:
            rule.begin(state.progress)
        try:
            while state.progress < 1.0:
                warming = warm_up if warm_up is not None and state.progress < warm_up.share else None
                state = self._epoch(step if warming is None else warming.step, task, state, offset, rule)
                if warming is not None and state.progress >= warming.share:
                    warming.finish()
                    self.optimizer.state.clear()
                self.save(state)
        except KeyboardInterrupt as exc:
            # The checkpoint of the last whole epoch stays: going on from it equals never having stopped.
            raise Interrupted("Training was stopped; all whole epochs are kept.") from exc
        return TrainingLog(state.loss, state.progress)

    def _epoch(
        self, step: Step, task: Task, state: LoopState, offset: float, rule: WeightRule | None = None
    ) -> LoopState:
        self.module.train()
        num_batches = max(1, len(self.data.split.labels) // self.data.batch_size)
        losses = []
        progress = state.progress
        rng = np.random.default_rng([self.seed, state.epoch])
        for index, (images, labels) in enumerate(self._batches(state.epoch)):
            # A resumed loop with a deadline has its own clock: what it had done before counts as an offset.
            done = self.schedule.progress(state.epoch + index / num_batches)
            progress = done if self.schedule.deadline is None else offset + (1 - offset) * done
            if progress >= 1.0:
                break
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.rate(progress)
            self.optimizer.zero_grad(set_to_none=True)
            loss = float(step(self.compute.place_images(images), labels.to(self.compute.device), rng))
            if not math.isfinite(loss):
                raise InputError(
                    f"Training must keep a finite loss, got {loss} in epoch {state.epoch + 1}. "
                    "Lower the learning rate, or use precision fp32."
                )
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), _MAX_GRADIENT_NORM)
            self.optimizer.step()
            if rule is not None:
                rule.after_step(progress)
            losses.append(loss)
            task.update(progress, f"epoch {state.epoch + 1}, loss {loss:.3f}")
        mean = (float(np.mean(losses)),) if losses else ()
        epoch = state.epoch + 1
        done = self.schedule.progress(epoch)
        ended = done if self.schedule.deadline is None else offset + (1 - offset) * done
        ended = 1.0 if progress >= 1.0 else ended
        if rule is not None and ended >= 1.0:
            rule.after_step(1.0)
        return LoopState(epoch, ended, state.loss + mean)

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        # Each epoch has a generator of its own, so that a resumed run sees the order it would have seen.
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        data = self.data
        yield from batches(
            data.split,
            data.preprocessing,
            batch_size=min(data.batch_size, len(data.split.labels)),
            generator=generator,
            augmentation=data.augmentation,
            shuffle=True,
            drop_last=True,
        )

    def save(self, state: LoopState) -> None:
        if self.checkpoint is not None:
            save_checkpoint(self.checkpoint, self.module, self.optimizer, state)


@torch.inference_mode()
def collect_logits(
    module: nn.Module, split: Split, preprocessing: Preprocessing, compute: Compute, batch_size: int = 500
) -> tuple[NDArray[np.float32], ...]:
    """Logits of every exit over a whole split, in its order: one (samples, classes) array per exit."""
    module.eval()
    parts: list[Sequence[NDArray[np.float32]]] = []
    for images, _ in batches(split, preprocessing, batch_size=batch_size, shuffle=False):
        with compute.autocast():
            outputs = module(compute.place_images(images))
        parts.append([output.float().cpu().numpy() for output in outputs])
    return tuple(np.concatenate(exit_parts) for exit_parts in zip(*parts, strict=True))
