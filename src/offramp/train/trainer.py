"""The training loop of supernets and of fine-tuning: schedule, progress, checkpoints, interruption."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offramp.data.augmentation import Augmentation
from offramp.data.labelled_data import Preprocessing, Split
from offramp.data.mini_batches import batches
from offramp.deadline import Deadline
from offramp.errors import InputError, Interrupted
from offramp.progress import Task
from offramp.train.checkpoint import LoopState, load_checkpoint, save_checkpoint
from offramp.train.compute import Compute
from offramp.train.data_parallel import DataParallel

Step = Callable[[Tensor, Tensor, np.random.Generator], Tensor]
"""Forward and backward pass of one mini-batch (images, labels) with the epoch's random generator; returns the loss.

Gradients stay on the parameters."""

# Share of the training in which the learning rate rises.
_WARM_UP = 0.05
_MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the training: linear warm-up, then half a cosine to zero.

    Attributes:
        learning_rate: the largest learning rate, at the end of the warm-up.
        epochs: number of epochs; None = the deadline alone ends the training.
        deadline: the time of the training; None = the epochs alone end the training.

    Raises:
        ValueError: if neither is given.
    """

    learning_rate: float
    epochs: int | None
    deadline: Deadline | None = None

    def __post_init__(self) -> None:
        if self.epochs is None and self.deadline is None:
            raise ValueError("a schedule must have a number of epochs, a deadline, or both.")

    def progress(self, epochs_done: float) -> float:
        """Share of the training that is done.

        Args:
            epochs_done: number of epochs done, with fractions.

        Returns:
            The larger one of the shares of the epochs and of the time, 0..1.
        """
        by_epochs = epochs_done / self.epochs if self.epochs else 0.0
        by_time = self.deadline.fraction() if self.deadline else 0.0
        return min(1.0, max(by_epochs, by_time))

    def rate(self, progress: float) -> float:
        """The learning rate at a point of the training.

        Args:
            progress: share of the training that is done, 0..1.

        Returns:
            A tenth of the largest rate at 0, the largest rate at 0.05, and 0 at 1.
        """
        if progress < _WARM_UP:
            return self.learning_rate * (0.1 + 0.9 * progress / _WARM_UP)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


@dataclass(frozen=True)
class TrainingData:
    """The samples that a loop trains on, and how they are presented.

    Attributes:
        split: images and labels.
        preprocessing: how images become tensors.
        batch_size: images per step, of all processes together; those left over at the end of an epoch are not used.
        augmentation: random changes of the images; None = none.
    """

    split: Split
    preprocessing: Preprocessing
    batch_size: int
    augmentation: Augmentation | None


@dataclass(frozen=True)
class TrainingLog:
    """The course of a finished training.

    Attributes:
        loss: mean loss of each epoch, in order.
        progress: share of the training that is done, 0..1.
    """

    loss: tuple[float, ...]
    progress: float


@dataclass(frozen=True)
class WarmUp:
    """A first phase of the training with a step of its own.

    Attributes:
        share: share of the training after which the phase ends, at the end of an epoch, 0..1.
        step: the step of this phase.
        finish: is called once, when the phase ends. It may change weights, because the momentum is reset after it.
        restarts_rate: whether the learning rate takes its whole course in this phase, and again after it.
    """

    share: float
    step: Step
    finish: Callable[[], object]
    restarts_rate: bool = False

    def course(self, progress: float) -> float:
        """The point of the learning rate's course.

        Args:
            progress: share of the training that is done, 0..1.

        Returns:
            Share of the course that is done, 0..1.
        """
        if not self.restarts_rate:
            return progress
        if progress < self.share:
            return progress / self.share
        return (progress - self.share) / (1.0 - self.share)


class WeightRule(Protocol):
    """A condition on the weights that is restored after every step."""

    def begin(self, progress: float) -> None:
        """Prepare the weights before the first step.

        Args:
            progress: share of the training that is done, 0..1; above 0 in a resumed training.
        """
        ...

    def after_step(self, progress: float) -> None:
        """Restore the condition after a step of the optimiser.

        Args:
            progress: share of the training that is done, 0..1.
        """
        ...


class TrainingLoop:
    """Trains a module with stochastic gradient descent and Nesterov momentum."""

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
        parallel: DataParallel | None = None,
    ) -> None:
        """Place the module and make its optimiser.

        Args:
            module: the module to train; it is moved to the device of ``compute``.
            data: the samples to train on.
            schedule: learning rate and length of the training.
            compute: device and memory layout.
            momentum: momentum of the optimiser, 0..1; 0 = none.
            weight_decay: L2 penalty on weights, >= 0; biases and norms have none.
            seed: seed of the order of the samples, of augmentation and of the steps' random generators.
            checkpoint: file that is written after each epoch; None = no file.
            parallel: this process among those that train the module together, each of which runs this loop; None =
                this process alone.
        """
        self.module = compute.place(module)
        self.data = data
        self.schedule = schedule
        self.compute = compute
        self.seed = seed
        self.checkpoint = checkpoint
        self.parallel = parallel
        self.batch_size = min(data.batch_size, len(data.split.labels))
        if parallel is not None:
            self.batch_size = parallel.batch_size(self.batch_size)
        # Weight decay on norms and biases does not regularise the network, and it slows training.
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
        """Train until the schedule ends.

        Args:
            step: forward and backward pass of one mini-batch.
            task: receives the progress.
            resume: continue from the checkpoint if there is one.
            warm_up: a first phase with a step of its own; None = none.
            rule: a condition on the weights that holds after every step; None = none.

        Returns:
            The loss of each epoch, those before a resumption included.

        Raises:
            Interrupted: on Ctrl-C. The checkpoint of the last whole epoch is kept.
            InputError: if the loss is not finite.
            RunError: if the checkpoint to resume from cannot be read or is of another network.
            WorkerError: if another process of the training was lost.
        """
        with nullcontext() if self.parallel is None else self.parallel.training():
            return self._run(step, task, resume=resume, warm_up=warm_up, rule=rule)

    def _run(
        self, step: Step, task: Task, *, resume: bool, warm_up: WarmUp | None, rule: WeightRule | None
    ) -> TrainingLog:
        state = LoopState(epoch=0, progress=0.0)
        if resume and self.checkpoint is not None and self.checkpoint.exists():
            state = load_checkpoint(self.checkpoint, self.module, self.optimizer)
        if self.parallel is not None:
            state = self._joined(self.parallel, state)
        offset = state.progress
        if rule is not None:
            rule.begin(state.progress)
        try:
            while state.progress < 1.0:
                phase = warm_up if warm_up is not None and state.progress < warm_up.share else None
                course = None if warm_up is None else warm_up.course
                state = self._epoch(step if phase is None else phase.step, task, state, offset, rule, course)
                if phase is not None and state.progress >= phase.share:
                    phase.finish()
                    self.optimizer.state.clear()
                self.save(state)
        except KeyboardInterrupt as exc:
            # A training resumed from the last whole epoch equals one that was never stopped.
            raise Interrupted("Training was stopped; all whole epochs are kept.") from exc
        return TrainingLog(state.loss, state.progress)

    def _epoch(
        self,
        step: Step,
        task: Task,
        state: LoopState,
        offset: float,
        rule: WeightRule | None = None,
        course: Callable[[float], float] | None = None,
    ) -> LoopState:
        self.module.train()
        num_batches = max(1, len(self.data.split.labels) // self.batch_size)
        losses = []
        progress = state.progress
        rng = np.random.default_rng([self.seed, state.epoch])
        for index, (images, labels) in enumerate(self._batches(state.epoch)):
            # A resumed loop with a deadline measures time anew; the progress made before is added.
            done = self.schedule.progress(state.epoch + index / num_batches)
            progress = done if self.schedule.deadline is None else offset + (1 - offset) * self._agreed(done)
            if progress >= 1.0:
                break
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.rate(progress if course is None else course(progress))
            self.optimizer.zero_grad(set_to_none=True)
            loss = self._step(step, images, labels, rng)
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
        ended = done if self.schedule.deadline is None else offset + (1 - offset) * self._agreed(done)
        ended = 1.0 if progress >= 1.0 else ended
        if rule is not None and ended >= 1.0:
            rule.after_step(1.0)
        return LoopState(epoch, ended, state.loss + mean)

    def _joined(self, parallel: DataParallel, state: LoopState) -> LoopState:
        """The state of process 0, with its weights and momentum."""
        parallel.spread_module_(self.module)
        parallel.spread_momentum_(self.optimizer)
        epoch, progress = parallel.of_leader(state.epoch), parallel.of_leader(state.progress)
        return LoopState(int(epoch), progress, state.loss)

    def _agreed(self, progress: float) -> float:
        """A progress that depends on the clock, as process 0 reads it."""
        return progress if self.parallel is None else self.parallel.of_leader(progress)

    def _step(self, step: Step, images: Tensor, labels: Tensor, rng: np.random.Generator) -> float:
        """Compute the gradients of a mini-batch; the loss is that of all of it."""
        parallel = self.parallel
        if parallel is None:
            return float(step(self.compute.place_images(images), labels.to(self.compute.device), rng))
        images, labels = parallel.share(images), parallel.share(labels)
        with parallel.step():
            loss = step(self.compute.place_images(images), labels.to(self.compute.device), rng)
        parallel.average_gradients_(self.module.parameters())
        return parallel.mean(float(loss))

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        # Each epoch has its own generator, so that a resumed training sees the samples in the same order.
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        data = self.data
        yield from batches(
            data.split,
            data.preprocessing,
            batch_size=self.batch_size,
            generator=generator,
            augmentation=data.augmentation,
            shuffle=True,
            drop_last=True,
        )

    def save(self, state: LoopState) -> None:
        """Write the checkpoint, if the loop has a file for it.

        Args:
            state: progress of the loop.
        """
        if self.checkpoint is not None:
            save_checkpoint(self.checkpoint, self.module, self.optimizer, state)


@torch.inference_mode()
def collect_logits(
    module: nn.Module, split: Split, preprocessing: Preprocessing, compute: Compute, batch_size: int = 500
) -> tuple[NDArray[np.float32], ...]:
    """Compute the logits of every exit for all samples of a split.

    Args:
        module: a network that returns the logits of every exit; it is put in evaluation mode.
        split: the samples.
        preprocessing: how images become tensors.
        compute: device and number format; the module must be on this device.
        batch_size: images per forward pass.

    Returns:
        Logits (samples, classes) of each exit, the samples in the order of the split.
    """
    module.eval()
    parts: list[Sequence[NDArray[np.float32]]] = []
    for images, _ in batches(split, preprocessing, batch_size=batch_size, shuffle=False):
        with compute.autocast():
            outputs = module(compute.place_images(images))
        parts.append([output.float().cpu().numpy() for output in outputs])
    return tuple(np.concatenate(exit_parts) for exit_parts in zip(*parts, strict=True))
