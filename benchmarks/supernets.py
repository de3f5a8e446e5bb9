"""Supernets trained once for several benchmarks: kept in a folder, gone on with where training was stopped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offramp.build import build_context, build_dataset
from offramp.config import Config, with_settings
from offramp.evaluate.context import Context
from offramp.evaluate.supernet_evaluator import SupernetEvaluator
from offramp.progress import TerminalReporter
from offramp.train.loss import LossSettings
from offramp.train.supernet_training import sandwich_step
from offramp.train.trainer import Schedule, TrainingData, TrainingLoop
from offramp.workplace import supernet_evaluator


@dataclass(frozen=True)
class Prepared:
    """A context whose supernet is trained, and an evaluator that runs candidates one by one."""

    context: Context
    direct: SupernetEvaluator


def prepare(folder: Path, changes: dict[str, Any], *, calibrate_confidences: bool = False) -> Prepared:
    """Train the supernet of the default settings with ``changes``; what is in the folder is read back."""
    folder.mkdir(parents=True, exist_ok=True)
    settled = {"train.precision": "fp32", "search.calibrate_confidences": calibrate_confidences}
    config = with_settings(Config(), {**settled, **changes})
    reporter = TerminalReporter()
    context = build_context(config, build_dataset(config, reporter))
    settings, dataset = config.train, context.dataset
    checkpoint = folder / "supernet.safetensors"
    loop = TrainingLoop(
        context.supernet,
        TrainingData(dataset.splits.train, dataset.preprocessing, settings.batch_size, context.augmentation),
        Schedule(settings.learning_rate, context.epochs, None),
        context.compute,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        seed=config.seed,
        checkpoint=checkpoint,
    )
    losses = LossSettings(settings.label_smoothing, settings.distillation_weight, settings.distillation_temperature)
    step = sandwich_step(
        context.supernet, context.space, losses, context.compute, random_subnets=settings.random_subnets
    )
    with reporter.task("Training the supernet") as task:
        loop.run(step, task, resume=checkpoint.exists())
    return Prepared(context, supernet_evaluator(context))
