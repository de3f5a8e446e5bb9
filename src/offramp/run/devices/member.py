"""What the processes besides process 0 do: build the parts of the run, and join every training."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from offramp.deadline import Deadline
from offramp.errors import OfframpError, WorkerError
from offramp.nn.analog.make_analog import set_noise_
from offramp.run.context import Context
from offramp.run.devices.team import TrainingCommand, TrainingTeam
from offramp.run.finishing.fine_tuning import fine_tune, make_priced_
from offramp.run.training_phase import train_supernet
from offramp.run.workers.worker_folder import WORKER_FILES, prepare_worker_folder, read_worker_folder
from offramp.settings.by_name import with_settings
from offramp.train.data_parallel import DataParallel

_ANY_TIME_S = 1e6


class _NoTask:
    """Progress is shown by process 0 alone."""

    def update(self, fraction: float, note: str = "") -> None:
        """Show nothing."""


def send_run(team: TrainingTeam, context: Context, threads: int) -> None:
    """Send settings, data and weights of a run to the other processes, which may be on other hosts.

    Args:
        team: This process, which is process 0.
        context: The parts of the run.
        threads: Threads of torch in each process.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare_worker_folder(context, folder, training=True, threads=threads)
        team.send(TrainingCommand("run"))
        for name in WORKER_FILES:
            team.parallel.spread_bytes((folder / name).read_bytes())


def serve(team: TrainingTeam, is_over: Callable[[], bool]) -> None:
    """Join every training of process 0 until it ends.

    Args:
        team: This process, which is not process 0.
        is_over: Whether process 0 has ended.

    Raises:
        WorkerError: Another process was lost within a training.
    """
    if team.receive(is_over).kind != "run":
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in WORKER_FILES:
            (folder / name).write_bytes(team.parallel.spread_bytes(b""))
        context = replace(read_worker_folder(folder, team.parallel.device), team=team)
    while (command := team.receive(is_over)).kind != "end":
        try:
            _join(context, command, team.parallel)
        except WorkerError:
            raise
        except OfframpError:
            # A loss that is not finite is so in all processes; process 0 says it.
            continue


def _join(context: Context, command: TrainingCommand, parallel: DataParallel) -> None:
    """Run the training that process 0 runs."""
    now = time.monotonic()
    # Process 0 reads the clock for all, so that the length of this time does not count.
    deadline = Deadline(now, now + _ANY_TIME_S) if command.timed else None
    if command.architecture is None:
        train_supernet(context, None, deadline, _NoTask(), resume=False)
        return
    parallel.spread_module_(context.supernet)
    teacher = None
    if command.has_teacher:
        teacher = context.supernet.extract(context.space.reference_architecture())
        make_priced_(context, teacher)
        set_noise_(teacher, None)
        parallel.spread_module_(teacher)
    config = with_settings(context.config, {"fine_tune.early_exit_weight": command.early_exit_weight})
    tuned = replace(context, config=config, fine_tune_epochs=command.epochs)
    network = context.supernet.extract(command.architecture)
    fine_tune(tuned, network, None, _NoTask(), deadline, resume=False, teacher=teacher)
