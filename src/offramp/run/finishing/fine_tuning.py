"""Fine-tuning of one network: at the bit widths that it is priced at, with the losses of the settings."""

from pathlib import Path

from offramp.deadline import Deadline
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.weight_pruning import WeightPruner
from offramp.progress import Task
from offramp.run.context import Context
from offramp.run.devices.team import TrainingCommand
from offramp.run.network_preparation import assign_analog_, calibrate_, calibration_images, quantize_
from offramp.train.checkpoint import LoopState
from offramp.train.loss import TrainedExits
from offramp.train.supernet_training import plain_step
from offramp.train.trainer import Schedule, Step, TrainingData, TrainingLog, TrainingLoop, WarmUp


def fine_tune(
    context: Context,
    network: EarlyExitNetwork,
    weights: Path | None,
    task: Task,
    deadline: Deadline | None,
    *,
    resume: bool,
    teacher: EarlyExitNetwork | None = None,
) -> TrainingLog:
    """Train a network that inherited its weights from the supernet.

    Args:
        context: The parts of the run.
        network: The network; it is trained in place.
        weights: The file that its weights are written to after each epoch; None = no file.
        task: Receives the progress.
        deadline: When training must end; None = after the number of epochs of the settings.
        resume: Whether training continues from the file, if there is one.
        teacher: A trained network whose final exit teaches every exit; None = exits learn as the settings say.

    Returns:
        The loss of each epoch.

    Raises:
        Interrupted: The user pressed Ctrl-C; the last whole epoch is kept.
        WorkerError: Another process of the training was lost.
    """
    settings, team = context.config.train, context.team
    if team is not None and team.parallel.leads:
        command = TrainingCommand(
            "network",
            timed=deadline is not None,
            architecture=network.architecture,
            epochs=context.fine_tune_epochs,
            early_exit_weight=context.config.fine_tune.early_exit_weight,
            has_teacher=teacher is not None,
        )
        team.begin(command, context.supernet, *(() if teacher is None else (teacher,)))
    # Inherited statistics belong to the supernet's largest network; start from this network's own.
    calibrate_(network, context.evaluator.data, context.compute)
    make_priced_(context, network)
    # A frozen model with its own classifier alone has nothing to learn.
    epochs = context.fine_tune_epochs if any(p.requires_grad for p in network.parameters()) else 0
    if epochs == 0:
        deadline = None
    loop = TrainingLoop(
        network,
        TrainingData(
            context.dataset.splits.train, context.dataset.preprocessing, context.batch_size, context.augmentation
        ),
        Schedule(context.config.fine_tune.learning_rate, None if deadline else max(epochs, 1), deadline),
        context.compute,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        seed=context.config.seed + 1,
        checkpoint=weights,
        parallel=context.parallel,
    )
    if epochs == 0:
        loop.save(LoopState(0, 1.0))
        return TrainingLog((), 1.0)
    density = context.config.fine_tune.weight_density
    pruner = None if density is None else WeightPruner(network, density)

    def step(trained_exits: TrainedExits) -> Step:
        losses = context.losses(fine_tuning=True, trained_exits=trained_exits)
        return plain_step(network, losses, context.compute, teacher)

    if settings.exit_training == "joint" or network.num_exits == 1:
        return loop.run(step("all"), task, resume=resume, rule=pruner)
    backbone_alone = WarmUp(settings.backbone_share, step("final"), finish=lambda: None, restarts_rate=True)
    return loop.run(step("early"), task, resume=resume, warm_up=backbone_alone, rule=pruner)


def make_priced_(context: Context, network: EarlyExitNetwork) -> None:
    """Make a network compute at the bit widths and analog channels that it is priced at, if the settings say so.

    Args:
        context: The parts of the run.
        network: The network, with calibrated batch norms.
    """
    data = context.evaluator.data
    if context.config.quantizes:
        quantize_(network, data, context.compute)
    if network.architecture.has_analog_shares:
        assign_analog_(network, context.accelerator, calibration_images(data, context.compute), context.config.seed)
