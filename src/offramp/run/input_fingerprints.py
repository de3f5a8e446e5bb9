"""Fingerprints of everything that a run rests on outside its folder, taken when it begins and when it goes on.

The data's fingerprint is that of the decoded samples, which are in memory anyway: sha256 at about 1 GiB/s, however many
files they came from. Files of weights are hashed whole. Accelerators are hashed as they were understood, so that a
comment in a file, or its place, does not matter.
"""

import hashlib
import inspect
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.cost.engines.cost_engine import COST_ENGINES
from offramp.data.labelled_data import Dataset
from offramp.data.python_data import IN_PYTHON
from offramp.data.raw_data import DATA_SETS, READERS
from offramp.deploy.bundle.licence import read_licence
from offramp.deploy.targets.deployment_target import DEPLOYMENT_TARGETS
from offramp.errors import RunError, UntrustedRunError
from offramp.files.safe_files import open_to_read
from offramp.hardware.loader import accelerator_names
from offramp.jsonio import dumps, loads
from offramp.nn.adoption.adopted_model import AdoptedModel
from offramp.nn.adoption.onnx_models import is_onnx_file
from offramp.nn.backbone import BACKBONES
from offramp.nn.branches.branch_layer import BRANCH_LAYERS
from offramp.nn.branches.exit_branch import EXIT_BRANCHES
from offramp.records import RunStore
from offramp.records.run_inputs import RunInput, RunInputs, listed_changes
from offramp.run.context import Context
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.version import __version__

LOCATIONS = {
    "data.source": "--data",
    "cost.accelerator": "--accelerator",
    "space.backbone": "--backbone",
    "space.weights": "--weights",
    "deploy.licence": "--licence",
}
"""Settings that may name a file or folder, with their options; a resumed run may be given another place of the same
content."""

_INPUTS, _ACCEPTED = "inputs", "accepted changes"
_PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "pillow", "scipy", "scikit-learn", "pymoo")
_BLOCK_BYTES = 1 << 20


def with_absolute_paths(config: Config) -> Config:
    """Make the paths in settings absolute, so that a run goes on from any folder.

    Args:
        config: The settings.

    Returns:
        The settings; names of data sets, accelerators and licences stay as they are.
    """
    changes: dict[str, object] = {}
    for name in LOCATIONS:
        section, _, field = name.partition(".")
        value = getattr(getattr(config, section), field)
        if value is None or value in DATA_SETS or value in accelerator_names():
            continue
        if name == "space.backbone" and not is_onnx_file(value):
            continue
        try:
            path = Path(value).expanduser()
            if path.exists():
                changes[name] = str(path.absolute())
        except (OSError, ValueError, RuntimeError):  # too long a name, a zero byte, no home: no path
            continue
    return with_settings(config, changes)


def paths_of(config: Config) -> dict[str, str]:
    """The settings that name a file or a folder, which may lie anywhere.

    Args:
        config: The settings.

    Returns:
        The absolute paths by the name of the setting.
    """
    found = {}
    for name in LOCATIONS:
        section, _, field = name.partition(".")
        value = getattr(getattr(config, section), field)
        if value is None or value in (*DATA_SETS, IN_PYTHON) or value in accelerator_names():
            continue
        if name == "space.backbone" and not is_onnx_file(value):
            continue
        try:
            if name != "deploy.licence" or os.path.lexists(value):
                found[name] = os.path.abspath(value)  # noqa: PTH100 - a link is shown as it is
        except ValueError:  # a zero byte: no path
            continue
    return found


def check_trusted(store: RunStore, config: Config, given: Iterable[str], *, trust: bool) -> None:
    """Refuse to open files that the author of a run folder from elsewhere has chosen, unless the user agrees.

    Args:
        store: The record of the run.
        config: The settings that the run would go on with.
        given: Names of the settings that the user gave.
        trust: Whether the user agrees.

    Raises:
        UntrustedRunError: The user did not begin the run, and its settings name files; the message shows them.
    """
    if trust or store.is_own:
        return
    paths = {name: path for name, path in paths_of(config).items() if name not in set(given)}
    if paths:
        shown = ", ".join(f"{path!r} ({name})" for name, path in paths.items())
        raise UntrustedRunError(
            f"Run {str(store.folder)!r} was begun by somebody else, or with another cache folder, or its settings were "
            f"changed. It would read {shown}. If that is right, resume it with --trust (trust=True)."
        )


def check_places(config: Config) -> None:
    """Check that the files and folders of a run that goes on are there.

    Args:
        config: Its settings, with absolute paths.

    Raises:
        RunError: One is missing.
    """
    for name, option in LOCATIONS.items():
        section, _, field = name.partition(".")
        value = getattr(getattr(config, section), field)
        if value is not None and Path(value).is_absolute() and not Path(value).exists():
            raise RunError(
                f"The run rests on {value!r} ({name}), which is not there any more. If it moved, give its new place "
                f"with {option}; its content must be the same."
            )


def input_fingerprints(context: Context) -> RunInputs:
    """Fingerprint what a run rests on.

    Args:
        context: The parts of the run.

    Returns:
        The fingerprints.
    """
    config, dataset = context.config, context.dataset
    items = [
        *_data(config.data.source, dataset),
        RunInput("accelerator", "content", config.cost.accelerator, _sha256(dumps(context.accelerator).encode())),
    ]
    if config.space.weights is not None:
        items.append(RunInput("weights", "content", config.space.weights, _file_sha256(Path(config.space.weights))))
    if config.deploy.licence is not None:
        licence = read_licence(config.deploy.licence)
        content = licence.content if licence.content is not None else licence.statement.encode()
        items.append(RunInput("licence", "content", config.deploy.licence, _sha256(content)))
    if isinstance(context.family, AdoptedModel):
        items.append(RunInput("model", "content", config.space.backbone, context.family.fingerprint))
    return RunInputs((*items, *_plugins(config), *_versions(config)))


def check_inputs(store: RunStore, context: Context, *, accept_changes: bool) -> None:
    """Compare what a run would go on with with what it was begun with.

    Args:
        store: The record of the run, open for writing.
        context: The parts that the run would go on with.
        accept_changes: Whether harmless changes, those of installed versions, are accepted. They are recorded.

    Raises:
        RunError: Something changed; the message names it.
    """
    text = store.get(_INPUTS)
    if text is None:
        raise RunError(
            f"Run {str(store.folder)!r} must record what it rests on, but it does not: an older offramp began it. "
            "Go on with that one, or start a new run."
        )
    recorded = loads(RunInputs, text, what=f"The inputs of run {str(store.folder)!r}", error=RunError)
    found = input_fingerprints(context)
    changes = recorded.changes_to(found)
    harmful = [change for change in changes if not change.harmless]
    if harmful:
        raise RunError(
            f"The run in {str(store.folder)!r} was begun with another {_kinds(recorded, found)}: "
            f"{listed_changes(changes)}. Put back what was there, or start a new run: results of both would be mixed."
        )
    if changes and not accept_changes:
        raise RunError(
            f"The run in {str(store.folder)!r} was begun with other versions: {listed_changes(changes)}. Figures may "
            "differ slightly. Install what was there, go on with --accept-changes, or start a new run."
        )
    if changes:
        store.set(_ACCEPTED, dumps((*accepted_changes(store), listed_changes(changes))))
        store.set(_INPUTS, dumps(found))


def input_facts(context: Context) -> dict[str, str]:
    """Fingerprint what a new run rests on, in the form in which the record keeps it.

    Args:
        context: The parts of the run.

    Returns:
        Values by name, for `create_run`.
    """
    return {_INPUTS: dumps(input_fingerprints(context))}


def accepted_changes(store: RunStore) -> tuple[str, ...]:
    """Read the changes with which a run went on.

    Args:
        store: The record of the run.

    Returns:
        One clause for each time that changes were accepted.
    """
    text = store.get(_ACCEPTED)
    if text is None:
        return ()
    return loads(tuple[str, ...], text, what=f"The changes of run {str(store.folder)!r}", error=RunError)


def _kinds(before: RunInputs, after: RunInputs) -> str:
    """The kinds of things that changed and are not versions."""
    old, new = ({item.key: item.fingerprint for item in inputs.items} for inputs in (before, after))
    changed = [key[0] for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)]
    return " and another ".join(dict.fromkeys(kind for kind in changed if kind != "version"))


def _data(source: str, dataset: Dataset) -> Iterator[RunInput]:
    """One fingerprint for each thing that can be changed in data, so that a message can name it."""
    yield RunInput("data", "content", source, dataset.fingerprint)
    yield RunInput("data", "labels", source, dataset.label_fingerprint)
    yield RunInput("data", "class names", source, _sha256(repr(dataset.class_names).encode()))


def _versions(config: Config) -> Iterator[RunInput]:
    yield RunInput("version", "offramp", "", __version__)
    yield RunInput("version", "Python", "", ".".join(map(str, sys.version_info[:2])))
    packages = (*_PACKAGES, *(("timm",) if config.space.backbone.startswith("timm:") else ()))
    packages += ("zigzag-dse",) if config.cost.engine == "zigzag" else ()
    for package in packages:
        try:
            yield RunInput("version", package, "", version(package))
        except PackageNotFoundError:
            continue


def _plugins(config: Config) -> Iterator[RunInput]:
    """The plug-ins in use that are not offramp's own, by their source."""
    used: dict[str, Any] = {
        f"{config.search.algorithm!r} (search algorithm)": ALGORITHMS.get(config.search.algorithm),
        f"{config.cost.engine!r} (cost engine)": COST_ENGINES.get(config.cost.engine),
    }
    if config.space.backbone in BACKBONES:
        used[f"{config.space.backbone!r} (backbone)"] = BACKBONES.get(config.space.backbone)
    used |= {f"{name!r} (exit branch)": EXIT_BRANCHES.get(name) for name in config.space.branches}
    used |= {f"{name!r} (deployment target)": DEPLOYMENT_TARGETS.get(name) for name in config.deploy.targets}
    if any(getattr(EXIT_BRANCHES.get(name), "layered", False) for name in config.space.branches):
        used |= {f"{name!r} (branch layer)": BRANCH_LAYERS.get(name) for name in BRANCH_LAYERS}
    used |= _reader(config.data.source)
    for name, item in sorted(used.items()):
        home = item if inspect.isclass(item) or inspect.isroutine(item) else type(item)
        if home.__module__.partition(".")[0] != "offramp":
            yield RunInput("plug-in", name, home.__module__, _source_sha256(home))


def _reader(source: str) -> dict[str, Any]:
    if source in DATA_SETS:
        return {f"{source!r} (data set)": DATA_SETS.get(source)}
    if source == IN_PYTHON:
        return {}
    path = Path(source).expanduser()
    return {f"{name!r} (data format)": READERS.get(name) for name in READERS if READERS.get(name).claims(path)}


def _source_sha256(home: Any) -> str:
    """Hash of the source of a class or function: its whole package, its module, or itself in a script."""
    try:
        file = Path(inspect.getfile(home))
        root = home.__module__.partition(".")[0]
        if root == "__main__":
            # A script may change from call to call; what it registers must not.
            return _sha256(inspect.getsource(home).encode())
        package = getattr(sys.modules.get(root), "__file__", None)
        if package is not None and Path(package).name == "__init__.py" and Path(package).parent in file.parents:
            files = sorted(Path(package).parent.rglob("*.py"))
        else:
            files = [file]
        return _sha256(b"".join(_file_sha256(path).encode() for path in files))
    except (OSError, TypeError):
        return "unknown"


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_to_read(path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
