"""The Python interface of a search: `offramp.search(...)` and what it returns."""

import itertools
import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from offramp.distributed.dask_cluster import connect
from offramp.errors import Interrupted, RunError
from offramp.nn.adoption.adopted_model import AdoptedModel
from offramp.objectives.evaluation import Evaluation
from offramp.objectives.pareto import ParetoFront
from offramp.objectives.picking import pick
from offramp.progress import Reporter, SilentReporter
from offramp.records import RunStore, create_run, resume_run
from offramp.records.disk_faults import folder_error, is_disk_fault
from offramp.records.run_summary import ChosenNetwork, RunSummary
from offramp.report.pages.run_page import render_page
from offramp.run.context import Context
from offramp.run.factory import build_context, build_dataset, check_settings
from offramp.run.finishing.finish import FinishedNetwork
from offramp.run.pipeline import Pipeline
from offramp.settings.config import Config, with_settings

_MODEL = "model"  # where a run's record holds the fingerprint of a model that was brought along


@dataclass(frozen=True)
class SearchResult:
    """What a search found. ``front`` holds validation figures; ``chosen`` the finished networks with test figures."""

    folder: Path
    config: Config
    front: ParetoFront
    finished: tuple[FinishedNetwork, ...]
    summary: RunSummary | None
    interrupted: bool

    @property
    def chosen(self) -> tuple[ChosenNetwork, ...]:
        return tuple(item.record for item in self.finished)

    def pick(self, rule: str = "knee") -> Evaluation:
        """A point of the front: ``knee``, ``most_accurate``, ``cheapest``, an index, or a bound like ``macs<=2M``."""
        return pick(self.front, rule)

    def report(self) -> str:
        """The report as one self-contained HTML page."""
        if self.summary is None:
            raise RunError(f"The search in {str(self.folder)!r} ended before there was anything to report.")
        return render_page(self.summary)

    def export(self, destination: str | Path, rule: str = "knee") -> Path:
        """Copy the bundle of a finished network to a new folder."""
        for item in self.finished:
            if rule in item.record.rule.split("+"):
                target = Path(destination)
                if target.exists():
                    raise RunError(f"The destination must not exist yet, but {str(target)!r} does.")
                shutil.copytree(self.folder / item.record.bundle, target)
                return target
        available = ", ".join(item.record.rule for item in self.finished) or "none"
        raise RunError(f"There is no finished network picked by {rule!r}. Available: {available}.")


def search(
    config: Config | None = None,
    *,
    model: AdoptedModel | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
    started: float | None = None,
    **settings: Any,
) -> SearchResult:
    """Search, train and export early-exit networks.

    ``model`` is a backbone of your own, from `offramp.adopt`; a run with one is resumed with the same. ``settings``
    are settings by name with ``__`` for the dot, for example ``data__source="digits"`` or
    ``cost__accelerator="edge-tpu-quad"``. ``run`` is the run folder (a new one under ``runs/`` if None); with
    ``resume`` the run goes on with its own settings, but for those of ``execution``.
    Raises InputError for anything wrong that was given.
    """
    began = time.monotonic() if started is None else started
    shown = reporter or SilentReporter()
    if resume:
        if run is None:
            raise RunError("To resume, say which run: give its folder with --run.")
        changes = {name.replace("__", "."): value for name, value in settings.items()}
        if any(not name.startswith("execution.") for name in changes):
            raise RunError("A run is resumed with its own settings; only those of `execution` may be others.")
        store = resume_run(Path(run))
        try:
            context = _context(with_settings(store.config, changes), shown, model)
            _check_same_model(store, context)
        except BaseException:
            store.close()
            raise
    else:
        changes = {name.replace("__", "."): value for name, value in settings.items()}
        if model is not None:
            changes["space.backbone"] = model.name
        chosen = with_settings(config or Config(), changes)
        # What can be wrong with settings and data is found out before a folder is made.
        context = _context(chosen, shown, model)
        store = create_run(Path(run) if run else default_run_folder(chosen), chosen, overwrite=overwrite)
        if isinstance(context.family, AdoptedModel):
            store.set(_MODEL, context.family.fingerprint)
    try:
        end = Pipeline(context, store, shown, resume=resume, started=began).run()
    except OSError as exc:
        if not is_disk_fault(exc):
            raise
        raise folder_error(store.folder, exc) from exc
    except Interrupted as exc:
        raise Interrupted(f"{exc} Go on with: offramp search --run {store.folder} --resume") from exc
    finally:
        store.close()
    return SearchResult(store.folder, store.config, end.front, end.finished, end.summary, end.interrupted)


def _context(config: Config, reporter: Reporter, model: AdoptedModel | None) -> Context:
    accelerator = check_settings(config)
    if config.execution.cluster is not None:
        # Not after an hour of training.
        connect(config.execution.cluster).close()
    return build_context(config, build_dataset(config, reporter), model, accelerator)


def _check_same_model(store: RunStore, context: Context) -> None:
    """A run goes on with the very model it was begun with: its weights, calls and cuts."""
    recorded, family = store.get(_MODEL), context.family
    given = family.fingerprint if isinstance(family, AdoptedModel) else None
    if given != recorded:
        raise RunError(
            f"The run in {str(store.folder)!r} was begun with another model (fingerprint {recorded}, given {given}). "
            "Resume it with the same model, weights and taps, or start a new run."
        )


def default_run_folder(config: Config) -> Path:
    """``runs/<time>-<data>``, with a number behind it where the clock was put back and that is taken."""
    name = Path(config.data.source).name or "data"
    first = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    numbered = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([first], numbered) if not folder.exists())
