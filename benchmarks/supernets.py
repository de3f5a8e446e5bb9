"""Supernets trained once for several benchmarks: kept in a folder, gone on with where training was stopped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from offramp.data.labelled_data import Split
from offramp.nn.network import EarlyExitNetwork
from offramp.progress import TerminalReporter
from offramp.run.context import Context
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.run.network_preparation import calibrate_
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.space.architecture import Architecture
from offramp.train.supernet_training import sandwich_step
from offramp.train.trainer import Schedule, Step, TrainingData, TrainingLoop, WarmUp


@dataclass(frozen=True)
class Prepared:
    """A context whose supernet is trained, an evaluator that runs candidates one by one, and where all that is kept."""

    context: Context
    direct: SupernetEvaluator
    folder: Path


def training_loop(
    context: Context, module: nn.Module, split: Split, schedule: Schedule, seed: int, checkpoint: Path
) -> TrainingLoop:
    """With the settings of the context."""
    settings, dataset = context.config.train, context.dataset
    return TrainingLoop(
        module,
        TrainingData(split, dataset.preprocessing, context.batch_size, context.augmentation),
        schedule,
        context.compute,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        seed=seed,
        checkpoint=checkpoint,
    )


def prepare(folder: Path, changes: dict[str, Any], *, calibrate_confidences: bool = False) -> Prepared:
    """Train the supernet of the default settings with ``changes``; what is in the folder is read back."""
    folder.mkdir(parents=True, exist_ok=True)
    settled = {"train.precision": "fp32", "search.calibrate_confidences": calibrate_confidences}
    config = with_settings(Config(), {**settled, **changes})
    reporter = TerminalReporter()
    context = build_context(config, build_dataset(config, reporter))
    settings = config.train
    checkpoint = folder / "supernet.safetensors"
    schedule = Schedule(settings.learning_rate, context.epochs)
    loop = training_loop(context, context.supernet, context.dataset.splits.train, schedule, config.seed, checkpoint)
    step = sandwich_step(
        context.supernet, context.space, context.losses(), context.compute, random_subnets=settings.random_subnets
    )
    with reporter.task("Training the supernet") as task:
        loop.run(step, task, resume=checkpoint.exists())
    return Prepared(context, context.evaluator, folder)


def inherited(prepared: Prepared, architecture: Architecture) -> EarlyExitNetwork:
    """A network as it stands in the supernet, its batch norms calibrated."""
    context = prepared.context
    network = context.supernet.extract(architecture)
    calibrate_(network, context.evaluator.data, context.compute)
    return network


def fine_tune(
    prepared: Prepared,
    name: str,
    module: nn.Module,
    step: Step,
    epochs: int,
    *,
    split: Split | None = None,
    warm_up: WarmUp | None = None,
) -> None:
    """Train on ``split`` (None: the training split), go on, or read back what is finished under this name."""
    context = prepared.context
    schedule = Schedule(context.config.fine_tune.learning_rate, epochs)
    checkpoint, seed = prepared.folder / f"{name}.safetensors", context.config.seed + 1
    loop = training_loop(context, module, split or context.dataset.splits.train, schedule, seed, checkpoint)
    with TerminalReporter().task(name) as task:
        loop.run(step, task, resume=True, warm_up=warm_up)
