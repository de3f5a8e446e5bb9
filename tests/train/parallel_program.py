"""A process of the tests of `offramp.train.data_parallel`: ``python -m tests.train.parallel_program STORE RANK SIZE``.

It trains a small elastic network for 20 steps, alone or with others, and writes the loss of each step. With a further
argument, the processes besides the first one end early.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from offramp.data.augmentation import ImageAugmentation
from offramp.data.labelled_data import Preprocessing, Split
from offramp.errors import WorkerError
from offramp.nn.elastic.elastic_batch_norm import ElasticBatchNorm2d
from offramp.progress import SilentReporter
from offramp.train.compute import Compute
from offramp.train.data_parallel import DataParallel
from offramp.train.loss import LossSettings, multi_exit_loss
from offramp.train.trainer import Schedule, Step, TrainingData, TrainingLoop

STEPS = 20


class TwoExits(nn.Module):
    """Two exits, with each kind of batch norm that networks of a run have, and channels far from zero."""

    def __init__(self) -> None:
        """Make the layers, with the same weights every time."""
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Sequential(nn.Conv2d(1, 6, 3), ElasticBatchNorm2d(6), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8, affine=False), nn.ReLU())
        self.early, self.final = nn.Linear(6, 4), nn.Linear(8, 4)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Logits of both exits."""
        early = self.first(images)
        return [self.early(early.mean((2, 3))), self.final(self.second(early + 3.0).mean((2, 3)))]


def train(parallel: DataParallel | None, lost_after: int | None = None) -> dict[str, object]:
    """Train for one epoch of `STEPS` steps; the losses of the steps, and the weights and statistics afterwards.

    The process ends without a word after ``lost_after`` steps.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (STEPS * 12, 1, 8, 8), dtype=np.uint8)
    split = Split(images, rng.integers(0, 4, len(images)))
    data = TrainingData(split, Preprocessing((0.5,), (0.3,)), 12, ImageAugmentation(1, horizontal_flip=True))
    settings = LossSettings(
        distillation_weight=0.5, sample_weighting="reaching", class_weights=(0.5, 1.0, 2.0, 1.0), label_smoothing=0.1
    )
    # In 64 bits, so that rounding cannot hide a wrong formula.
    network, losses = TwoExits().double(), []

    def step(images: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        loss = multi_exit_loss(network(images.double()), labels, settings)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    loop = TrainingLoop(
        network,
        data,
        Schedule(0.1, 1),
        Compute(channels_last=False),
        momentum=0.9,
        weight_decay=1e-3,
        seed=5,
        parallel=parallel,
    )
    inner = loop._step

    def noted(step: Step, *arguments: object) -> float:
        if len(losses) == lost_after:
            os._exit(0)
        losses.append(inner(step, *arguments))  # type: ignore[arg-type]
        return losses[-1]

    loop._step = noted  # type: ignore[method-assign]
    with SilentReporter().task("") as task:
        loop.run(step, task)
    state = {name: value.flatten().tolist() for name, value in network.state_dict().items()}
    return {"losses": losses, "state": state}


def main() -> None:
    """Train as one of several processes, and write the result beside the store."""
    from torch.distributed import FileStore  # type: ignore[attr-defined]

    from offramp.run.devices.launch import connect

    file, rank, size, lost = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), len(sys.argv) > 4
    team = connect(FileStore(file, size), rank, size, "cpu", 1, rank)
    if rank:
        # Only the weights of process 0 count.
        torch.manual_seed(99)
    answer = Path(f"{file}.{rank}.json")
    try:
        answer.write_text(json.dumps(train(team.parallel, 3 if lost and rank else None)))
    except WorkerError as exc:
        answer.write_text(json.dumps(str(exc)))


if __name__ == "__main__":
    main()
