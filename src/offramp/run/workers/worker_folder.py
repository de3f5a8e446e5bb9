"""The files that workers of a search need: settings, data, and the weights of the supernet."""

from dataclasses import replace
from pathlib import Path

from offramp.data.dataset_file import read_dataset, save_dataset
from offramp.data.labelled_data import Split, Splits
from offramp.distributed.executor import WorkerFolder
from offramp.run.context import Context
from offramp.run.factory import build_context
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.settings.config_file import load_config
from offramp.train.checkpoint import LoopState, load_checkpoint, save_checkpoint

_SETTINGS, _DATA, _WEIGHTS = "settings.yaml", "data.safetensors", "supernet.safetensors"
WORKER_FILES = (_SETTINGS, _DATA, _WEIGHTS)
"""The files in the folder of the workers."""
_HANDLER = "offramp.run.workers.worker_handler:make_handler"


def prepare_worker_folder(context: Context, folder: Path, *, training: bool, threads: int | None) -> WorkerFolder:
    """Write the files of the workers.

    Args:
        context: The parts of the run.
        folder: The folder to write to; it is made if needed.
        training: Whether workers fine-tune and need all data; otherwise only the samples that candidates are judged on
            are written.
        threads: Threads of torch in each worker; None = as the settings say.

    Returns:
        The folder with the handler of the jobs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _resolved(context, threads).save(folder / _SETTINGS)
    splits = context.dataset.splits
    if not training:
        used = context.evaluator.data
        nothing = Split(splits.test.samples[:0], splits.test.labels[:0])
        splits = Splits(used.calibration, used.validation, nothing)
    save_dataset(replace(context.dataset, splits=splits), folder / _DATA)
    save_checkpoint(folder / _WEIGHTS, context.supernet, None, LoopState(0, 1.0))
    return WorkerFolder(folder, _HANDLER)


def read_worker_folder(folder: Path, device: str | None = None) -> Context:
    """Build the parts of a run from the files that `prepare_worker_folder` wrote.

    Args:
        folder: The folder, or a copy of it on another machine.
        device: The device of this process; None = that of the settings.

    Returns:
        The parts of the run, with the weights of the supernet.
    """
    config = load_config(folder / _SETTINGS)
    if device is not None:
        config = with_settings(config, {"train.device": device})
    context = build_context(config, read_dataset(folder / _DATA))
    load_checkpoint(folder / _WEIGHTS, context.supernet)
    return context


def _resolved(context: Context, threads: int | None) -> Config:
    """The settings with all defaults that depend on data or machine replaced by their values."""
    weights = context.config.space.weights
    changes = {
        # Files must be at the same path on every machine of a cluster.
        "cost.accelerator": _absolute(context.config.cost.accelerator),
        "space.weights": None if weights is None else _absolute(str(weights)),
        "train.epochs": context.epochs,
        "train.batch_size": context.batch_size,
        "fine_tune.epochs": context.fine_tune_epochs,
        "train.precision": context.compute.dtype,
        "train.threads": threads,
    }
    return with_settings(context.config, changes)


def _absolute(name: str) -> str:
    """The absolute path of a file; any other name as it is."""
    return str(Path(name).resolve()) if Path(name).is_file() else name
