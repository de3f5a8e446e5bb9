"""The Python interface of a search: `offramp.search(...)` and what it returns."""

import itertools
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Unpack

from offramp.data.python_data import IN_PYTHON
from offramp.deploy.targets.deployment_target import WrittenTarget
from offramp.distributed.dask_cluster import connect
from offramp.errors import ConfigError, InputError, Interrupted, RunError
from offramp.nn.adoption.adopted_model import AdoptedModel
from offramp.objectives.evaluation import Evaluation
from offramp.objectives.fronts import Fronts
from offramp.objectives.pareto import ParetoFront
from offramp.progress import Reporter, SilentReporter
from offramp.records import RunStore, create_run, resume_run
from offramp.records.disk_faults import check_can_be_made, folder_error, is_disk_fault
from offramp.records.run_summary import ChosenNetwork, RunSummary
from offramp.report.pages.run_page import render_page
from offramp.run.checks.budget_check import check_time_budget
from offramp.run.checks.dry_run import check_whole_way
from offramp.run.checks.guarantee_check import check_guarantee
from offramp.run.checks.settings_checks import check_settings
from offramp.run.context import Context
from offramp.run.defaults.data_defaults import default_notes
from offramp.run.devices.launch import assist, assists_other_process, check_devices, training_team
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.finisher import FinishedNetwork
from offramp.run.input_fingerprints import (
    LOCATIONS,
    check_inputs,
    check_places,
    check_trusted,
    input_facts,
    with_absolute_paths,
)
from offramp.run.larger_budget import check_budget, continue_search
from offramp.run.pipeline import Pipeline
from offramp.settings.by_name import dotted, with_settings
from offramp.settings.config import Config
from offramp.settings.data_config import DataConfig
from offramp.settings.execution_config import GIVEN_ANEW, places_of_work
from offramp.settings.keywords import KeywordSettings

_MAY_CHANGE = ("execution", "budget")  # sections of the settings that may be others when a run is resumed


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        folder: The run folder.
        config: The settings of the run.
        fronts: The Pareto fronts of early-exit and of static networks, with validation figures.
        finished: The finished networks that were picked, in the order of the rules.
        statics: The finished static networks that they are compared with.
        summary: The record that the report is made from; None where the search ended before there was one.
        interrupted: Whether the user stopped the search.
        written_targets: The deployment targets that were written beside the bundles.
        failed_targets: One sentence for each deployment target that could not be written for a network.
    """

    folder: Path
    config: Config
    fronts: Fronts
    finished: tuple[FinishedNetwork, ...]
    statics: tuple[FinishedNetwork, ...]
    summary: RunSummary | None
    interrupted: bool
    written_targets: tuple[WrittenTarget, ...]
    failed_targets: tuple[str, ...]

    @property
    def front(self) -> ParetoFront:
        """The Pareto front of early-exit networks."""
        return self.fronts.early_exit

    @property
    def static_front(self) -> ParetoFront:
        """The Pareto front of static networks."""
        return self.fronts.static

    @property
    def recommended(self) -> ChosenNetwork | None:
        """The network to deploy; its `verdict`, or that of the one it takes the place of, is in ``chosen``."""
        return None if self.summary is None else self.summary.recommended

    @property
    def volume_beyond_static(self) -> float:
        """What early exits add to the static front: see `Fronts.volume_beyond`."""
        return self.fronts.volume_beyond()

    @property
    def chosen(self) -> tuple[ChosenNetwork, ...]:
        """The records of the finished networks, with validation and test figures."""
        return tuple(item.record for item in self.finished)

    def pick(self, rule: str = "knee") -> Evaluation:
        """Return a point of the fronts; see `Fronts.pick`.

        Args:
            rule: ``knee``, ``most_accurate``, ``cheapest``, an index, or a bound like ``macs<=2M``.

        Returns:
            The picked evaluation, with validation figures.
        """
        return self.fronts.pick(rule)

    def report(self) -> str:
        """Return the report as one self-contained HTML page.

        Returns:
            The page.

        Raises:
            RunError: The search ended before there was anything to report.
        """
        if self.summary is None:
            raise RunError(f"The search in {str(self.folder)!r} ended before there was anything to report.")
        return render_page(self.summary)

    def export(self, destination: str | Path, rule: str = "knee") -> Path:
        """Copy the bundle of a finished network to a new folder.

        Args:
            destination: The folder to make.
            rule: The pick that the network was finished for, as in ``fine_tune.picks``, or the name of a static network
                that has a bundle, as in ``statics``.

        Returns:
            The new folder.

        Raises:
            RunError: The destination exists, or no network was finished for this pick.
        """
        exported = [*self.finished, *(item for item in self.statics if item.record.bundle)]
        for item in exported:
            if rule in item.record.rule.split("+"):
                target = Path(destination)
                if target.exists():
                    raise RunError(f"The destination must not exist yet, but {str(target)!r} does.")
                shutil.copytree(self.folder / item.record.bundle, target)
                return target
        available = ", ".join(item.record.rule for item in exported) or "none"
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
    accept_changes: bool = False,
    trust: bool = False,
    **settings: Unpack[KeywordSettings],
) -> SearchResult:
    """Search, train and export early-exit networks.

    Args:
        config: All settings as one value (default: the defaults); ``settings`` change it.
        model: A backbone of your own, from `offramp.adopt`. A run with one is resumed with the same model.
        run: The run folder (default: a new one under ``runs/``).
        resume: Whether to continue the run in ``run``, with its own settings. Others may be given for ``execution``; a
            ``budget`` that lets a finished search go on; and new places of the same data and files.
        overwrite: Whether to replace a run that is already in ``run``.
        reporter: What shows the progress (default: nothing does).
        started: The time, on the clock of `time.monotonic`, from which a wall-time budget counts (default: now).
        accept_changes: Whether a run goes on with other versions of torch and the like than it was begun with.
        trust: Whether a resumed run that somebody else began may read the files that its settings name.
        settings: Sections, such as ``data=DataConfig(source="digits")``, the ``seed``, or single settings with two
            underscores for the dot, such as ``data__source="digits"``. See `KeywordSettings` for all of them. ``data``
            may also be the data themselves: arrays ``(x, y)``, a dict of splits, torch data sets or data sets of
            Hugging Face, see `offramp.data.python_data.raw_from_python`. A run with such data is resumed with the same.

    Returns:
        What the search found; also after Ctrl-C, as far as it came.

    Raises:
        UntrustedRunError: Somebody else began the resumed run, and its settings name files.
        RunError: The run folder cannot be used, or a resumed run is given other data, files, models, plug-ins or
            settings than it was begun with.
        InputError: Anything else that was given is wrong; no run folder is made then.
        Interrupted: The user stopped the search before there was a result.
        SystemExit: torchrun started this process to train together with another one, which has the result.
    """
    if assists_other_process():
        # What a script does with the result is done by process 0.
        assist()
        raise SystemExit(0)
    began = time.monotonic() if started is None else started
    shown = reporter or SilentReporter()
    _check_kinds(config, model)
    in_python = _given(model, settings)
    if resume and overwrite:
        raise RunError("`resume` continues a run and `overwrite` replaces it: only one of them can be asked for.")
    if resume:
        context, store = _resumed(config, run, shown, in_python, settings, accept_changes, trust)
    else:
        context, store = _begun(config or Config(), run, shown, in_python, settings, overwrite, began)
    try:
        with training_team(context) as team:
            parts = replace(context, team=team)
            end = Pipeline(parts, store, shown, resume=resume, started=began).run()
    except OSError as exc:
        if not is_disk_fault(exc):
            raise
        raise folder_error(store.folder, exc) from exc
    except InputError as exc:
        # A bundle that cannot be written says so itself; here the run is named, too, and how to go on with it.
        cause = exc.__cause__
        if not isinstance(cause, OSError) or not is_disk_fault(cause):
            raise
        raise folder_error(store.folder, cause) from exc
    except Interrupted as exc:
        raise Interrupted(f"{exc} Go on with: offramp search --run {store.folder} --resume") from exc
    except KeyboardInterrupt as exc:
        raise Interrupted(f"Stopped. Go on with: offramp search --run {store.folder} --resume") from exc
    finally:
        store.close()
    return SearchResult(
        folder=store.folder,
        config=store.config,
        fronts=end.fronts,
        finished=end.finished,
        statics=end.statics,
        summary=end.summary,
        interrupted=end.interrupted,
        written_targets=end.written_targets,
        failed_targets=end.failed_targets,
    )


@dataclass(frozen=True, eq=False)
class _InPython:
    """What a caller gave as values, not by name.

    Attributes:
        model: The backbone; None: that of the settings.
        data: The data; None: those of the settings.
    """

    model: AdoptedModel | None
    data: object = None


def _given(model: AdoptedModel | None, settings: KeywordSettings) -> _InPython:
    """Take data out of the settings, unless ``data`` is a section of settings."""
    data = settings.get("data")
    named = isinstance(data, Mapping) and bool(data) and set(data) <= set(DataConfig.model_fields)
    if data is None or isinstance(data, DataConfig) or named:
        return _InPython(model)
    if isinstance(data, str):
        raise ConfigError(f"A data set is named, and files are read, with data__source={data!r}, not with `data`.")
    if "data__source" in settings:
        raise ConfigError("`data` and `data__source` both say what the data are: give one.")
    del settings["data"]
    return _InPython(model, data)


def _check_kinds(config: object, model: object) -> None:
    """Callers without a type checker get a sentence, too."""
    if config is not None and not isinstance(config, Config):
        raise ConfigError(
            f"`config` must be an offramp.Config, got {type(config).__name__}. Read a settings file with "
            'offramp.load_config(path), or give settings by keyword: search(data__source="digits").'
        )
    if model is not None and not isinstance(model, AdoptedModel):
        raise InputError(
            f"`model` must come from offramp.adopt(model, example_input), got {type(model).__name__}. Adopt it first."
        )


def _begun(
    config: Config,
    run: str | Path | None,
    reporter: Reporter,
    in_python: "_InPython",
    settings: KeywordSettings,
    overwrite: bool,
    began: float,
) -> tuple[Context, RunStore]:
    """The parts and the record of a new run."""
    # An empty --run, such as that of an unset shell variable, is the current folder.
    if run is not None and Path.cwd().is_relative_to(Path(run).resolve()):
        raise RunError(
            f"A new run must have a folder of its own, got {str(run)!r}, which is the current folder or holds it. "
            "Name a folder inside the current one (--run runs/first), or leave --run out."
        )
    chosen = with_settings(config, **settings)
    if in_python.model is not None:
        chosen = with_settings(chosen, space__backbone=in_python.model.name)
    if in_python.data is not None:
        chosen = with_settings(chosen, data__source=IN_PYTHON)
    chosen = with_absolute_paths(chosen)
    # What can be wrong with settings and data is found out before a folder is made, and a folder that cannot be made
    # before the data are loaded.
    folder = Path(run) if run else default_run_folder(chosen)
    check_can_be_made(folder)
    context = _context(chosen, reporter, in_python)
    check_guarantee(chosen, context.dataset)
    check_whole_way(context, reporter)
    check_time_budget(context, began)
    # The chosen backbone is recorded, so that a resumed run has the same one.
    store = create_run(folder, context.config, overwrite=overwrite, facts=input_facts(context))
    return context, store


def _resumed(
    config: Config | None,
    run: str | Path | None,
    reporter: Reporter,
    in_python: "_InPython",
    settings: KeywordSettings,
    accept_changes: bool,
    trust: bool,
) -> tuple[Context, RunStore]:
    """The parts and the record of a run that is there."""
    if run is None:
        raise RunError("To resume, say which run: give its folder with --run.")
    given = dotted(settings)
    if config is not None or not all(name in LOCATIONS or name.partition(".")[0] in _MAY_CHANGE for name in given):
        raise RunError(
            "A run is resumed with its own settings; only those of `execution`, the `budget`, and new places of its "
            f"data and files ({', '.join(LOCATIONS)}) may be others."
        )
    store = resume_run(Path(run))
    try:
        lasting = {name: value for name, value in given.items() if name.partition(".")[0] != "execution"}
        changed = with_absolute_paths(with_settings(store.config, lasting)) if lasting else store.config
        goes_on = check_budget(store, changed) if any(name.startswith("budget") for name in lasting) else False
        complete = with_settings(changed, **settings)
        check_trusted(store, complete, given, trust=trust)
        check_places(complete)
        _say_what_is_left_out(store, complete, reporter)
        context = _context(complete, reporter, in_python)
        check_inputs(store, context, accept_changes=accept_changes)
        if changed != store.config:
            store.change_settings(changed)
        if goes_on:
            continue_search(store)
    except BaseException:
        store.close()
        raise
    return context, store


def _say_what_is_left_out(store: RunStore, config: Config, reporter: Reporter) -> None:
    before = (store.get("given anew") or "").split()
    missing = [name for name in GIVEN_ANEW if name in before and name not in places_of_work(config.execution)]
    if missing:
        reporter.say(
            f"The run was begun with other settings of execution.{', execution.'.join(missing)}. A run folder does not "
            "say where to work; give them again if they are wanted."
        )


def _context(config: Config, reporter: Reporter, in_python: "_InPython") -> Context:
    accelerator = check_settings(config)
    check_devices(config)
    if config.execution.cluster is not None:
        # Not after an hour of training.
        connect(config.execution.cluster).close()
    dataset = build_dataset(config, reporter, in_python.data)
    for note in default_notes(config, dataset):
        reporter.say(note)
    return build_context(config, dataset, in_python.model, accelerator)


def default_run_folder(config: Config) -> Path:
    """Name a run folder that does not exist yet.

    Args:
        config: The settings of the run.

    Returns:
        ``runs/<time>-<data>``, with a number behind it where that is taken.
    """
    name = "data" if config.data.source == IN_PYTHON else Path(config.data.source).name or "data"
    first = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    numbered = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([first], numbered) if not folder.exists())
