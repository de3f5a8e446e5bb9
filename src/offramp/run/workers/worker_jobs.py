"""Where workers of a search work: what they need as files, and what they do with the jobs they get."""

import base64
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from offramp.data.dataset_file import read_dataset, save_dataset
from offramp.data.labelled_data import Split, Splits
from offramp.deadline import Deadline
from offramp.distributed.executor import EVALUATE, Handler, Job, Progress
from offramp.jsonio import dumps, loads
from offramp.run.context import Context
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.run.factory import build_context
from offramp.run.finishing.finish import WEIGHTS, Finisher, Selection, evaluation_data
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.settings.config_file import load_config
from offramp.space.architecture import Architecture
from offramp.train.checkpoint import LoopState, load_checkpoint, save_checkpoint

_SETTINGS, _DATA, _WEIGHTS = "settings.yaml", "data.safetensors", "supernet.safetensors"
SENT_BACK = (WEIGHTS, "network.json")
"""Files of a finished network; the record last, for it says that all is there."""


@dataclass(frozen=True)
class FinishJob:
    """What a worker must know of a target, and the ``seconds`` it has.

    ``name`` is that of its folder in the run. ``folder`` is where its files go; None: they are sent back, for there is
    no folder that both sides see. ``teacher`` is the folder of the finished reference, where it is to teach.
    """

    name: str
    selection: Selection | None
    seconds: float | None
    folder: str | None
    resume: bool
    teacher: str | None = None


@dataclass(frozen=True)
class SentFile:
    """A file in a reply."""

    name: str
    base64: str


@dataclass(frozen=True)
class Desk:
    """A workplace in a folder."""

    folder: Path
    handler: str = "offramp.run.workers.worker_jobs:open_desk"


def set_up_desk(context: Context, folder: Path, *, training: bool, threads: int | None) -> Desk:
    """Write what workers need: settings with all defaults resolved, weights, and data.

    For evaluations alone (``training`` False) the data are the samples that candidates are judged on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _resolved(context, threads).save(folder / _SETTINGS)
    splits = context.dataset.splits
    if not training:
        used = evaluation_data(context)
        nothing = Split(splits.test.images[:0], splits.test.labels[:0])
        splits = Splits(used.calibration, used.validation, nothing)
    save_dataset(replace(context.dataset, splits=splits), folder / _DATA)
    save_checkpoint(folder / _WEIGHTS, context.supernet, None, LoopState(0, 1.0))
    return Desk(folder)


def supernet_evaluator(context: Context) -> SupernetEvaluator:
    """What judges candidates, here and in every worker."""
    return SupernetEvaluator(
        context.supernet,
        evaluation_data(context),
        context.compute,
        context.search_cost,
        context.accelerator,
        context.constraints,
        calibrate_confidences=context.config.search.calibrate_confidences,
        quantize=context.config.searches_precision,
        weight_density=context.config.fine_tune.weight_density,
    )


def open_desk(folder: Path) -> Handler:
    """The handler of a worker that begins to work in ``folder``."""
    dataset = read_dataset(folder / _DATA)
    context = build_context(load_config(folder / _SETTINGS), dataset)
    load_checkpoint(folder / _WEIGHTS, context.supernet)
    evaluator = supernet_evaluator(context)
    finisher = Finisher(context)

    def handle(job: Job, progress: Progress) -> str:
        if job.kind == EVALUATE:
            return dumps(evaluator.evaluate(loads(Architecture, job.payload, what="candidate")))
        return _finish(finisher, loads(FinishJob, job.payload, what="job"), progress)

    return handle


def _resolved(context: Context, threads: int | None) -> Config:
    weights = context.config.space.weights
    changes = {
        # Files that are named must be at the same place on every machine of a cluster.
        "cost.accelerator": _found(context.config.cost.accelerator),
        "space.weights": None if weights is None else _found(str(weights)),
        "train.epochs": context.epochs,
        "fine_tune.epochs": context.fine_tune_epochs,
        "train.precision": context.compute.dtype,
        "train.threads": threads,
    }
    return with_settings(context.config, changes)


def _found(name: str) -> str:
    """The whole path of a file; anything else as it is."""
    return str(Path(name).resolve()) if Path(name).is_file() else name


class _Told:
    """A task whose progress is told to whoever waits for the job."""

    def __init__(self, tell: Callable[[float, str], None]) -> None:
        self._tell = tell
        self._last = 0.0

    def update(self, fraction: float, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last >= 0.5:
            self._last = now
            self._tell(fraction, note)


def _finish(finisher: Finisher, job: FinishJob, progress: Progress) -> str:
    now = time.monotonic()
    deadline = None if job.seconds is None else Deadline(now, now + job.seconds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / job.name if job.folder is None else Path(job.folder)
        task = _Told(progress)
        if job.selection is None:
            finisher.finish_reference(folder, task, deadline=deadline, resume=job.resume)
        else:
            teacher = None if job.teacher is None else Path(job.teacher)
            finisher.finish(job.selection, folder, task, deadline=deadline, resume=job.resume, teacher=teacher)
        if job.folder is not None:
            return "[]"
        files = [SentFile(name, base64.b64encode((folder / name).read_bytes()).decode()) for name in SENT_BACK]
        return dumps(files)
