"""The first phase of a run: the training of the supernet."""

from functools import partial
from pathlib import Path

from offramp.deadline import Deadline
from offramp.nn.supernet.channel_sorting import channel_groups, sort_channels_
from offramp.progress import Task
from offramp.run.context import Context
from offramp.run.devices.team import TrainingCommand
from offramp.train.loss import TrainedExits
from offramp.train.supernet_training import sandwich_step
from offramp.train.trainer import Schedule, Step, TrainingData, TrainingLog, TrainingLoop, WarmUp


def train_supernet(
    context: Context, checkpoint: Path | None, deadline: Deadline | None, task: Task, *, resume: bool
) -> TrainingLog:
    """Train the supernet of a run.

    Args:
        context: The parts of the run; its supernet is trained in place.
        checkpoint: The file to which the weights are written after each epoch; None = no file.
        deadline: When training must end; None = after the number of epochs of the context.
        task: Receives the progress.
        resume: Whether training continues from the checkpoint, if there is one.

    Returns:
        The loss of each epoch.

    Raises:
        Interrupted: The user pressed Ctrl-C; the checkpoint of the last whole epoch is kept.
        WorkerError: Another process of the training was lost.
    """
    settings, dataset, team = context.config.train, context.dataset, context.team
    if team is not None and team.parallel.leads:
        team.send(TrainingCommand("supernet", timed=deadline is not None))
    loop = TrainingLoop(
        context.supernet,
        TrainingData(dataset.splits.train, dataset.preprocessing, context.batch_size, context.augmentation),
        Schedule(settings.learning_rate, None if deadline else context.epochs, deadline),
        context.compute,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        seed=context.config.seed,
        checkpoint=checkpoint,
        parallel=context.parallel,
    )
    exits_after = settings.exit_training == "after_backbone"
    step = _step(context, trained_exits="early" if exits_after else "all")
    return loop.run(step, task, resume=resume, warm_up=_first_phase(context))


def _step(context: Context, *, full_widths: bool = False, trained_exits: TrainedExits = "all") -> Step:
    return sandwich_step(
        context.supernet,
        context.space,
        context.losses(trained_exits=trained_exits),
        context.compute,
        random_subnets=context.config.train.random_subnets,
        full_widths=full_widths,
    )


def _first_phase(context: Context) -> WarmUp | None:
    """Training of the backbone alone, or at full widths, after which channels are sorted by importance.

    None where the settings ask for neither, and for the sorting where no width is searched.
    """
    settings, supernet = context.config.train, context.supernet
    if settings.exit_training == "after_backbone":
        step = _step(context, trained_exits="final")
        return WarmUp(settings.backbone_share, step, finish=lambda: None, restarts_rate=True)
    if not (settings.sort_channels and context.space.has_elastic_widths and channel_groups(supernet)):
        return None
    return WarmUp(settings.full_width_share, _step(context, full_widths=True), partial(sort_channels_, supernet))
