"""What can be named in settings, with a line about each."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from offramp.errors import UnknownNameError
from offramp.registry import Registry, unknown_name_message, warn_of_unknown_groups


@dataclass(frozen=True)
class CatalogueEntry:
    """A name and what stands behind it.

    Attributes:
        name: What to write in the settings.
        description: One line for people.
    """

    name: str
    description: str


@dataclass(frozen=True)
class Kind:
    """A kind of names.

    Attributes:
        description: What its names are, and where they are used.
        entries: Loads all of its names.
        group: The entry-point group of other packages; None where they cannot add names.
    """

    description: str
    entries: Callable[[], Iterator[CatalogueEntry]]
    group: str | None = None


def _registered(home: str) -> Callable[[], Iterator[CatalogueEntry]]:
    """The plug-ins of a registry, given as ``module:NAME``; its module is loaded when they are listed."""

    def entries() -> Iterator[CatalogueEntry]:
        module, _, name = home.partition(":")
        registry: Registry[Any] = getattr(importlib.import_module(module), name)
        for key in registry:
            item = registry.get(key)
            described = getattr(item, "description", None) or (item.__doc__ or "").strip().partition("\n")[0]
            yield CatalogueEntry(key, described)

    return entries


def _accelerators() -> Iterator[CatalogueEntry]:
    from offramp.hardware.loader import accelerator_names, load_accelerator

    for name in accelerator_names():
        yield CatalogueEntry(name, load_accelerator(name).description)


def _settings() -> Iterator[CatalogueEntry]:
    from offramp.cli.setting_options import default_text
    from offramp.settings.by_name import SETTINGS

    for name, setting in SETTINGS.items():
        default = default_text(setting)
        choices = f" [one of: {', '.join(setting.choices)}]" if setting.choices else ""
        yield CatalogueEntry(name, setting.description + choices + (f" [default: {default}]" if default else ""))


KINDS: dict[str, Kind] = {
    "accelerators": Kind("Accelerator descriptions that come with offramp (cost.accelerator).", _accelerators),
    "algorithms": Kind(
        "Search algorithms (search.algorithm).",
        _registered("offramp.algorithms.algorithm:ALGORITHMS"),
        "offramp.algorithms",
    ),
    "backbones": Kind(
        "Families of backbones (space.backbone).", _registered("offramp.nn.backbone:BACKBONES"), "offramp.backbones"
    ),
    "branch-layers": Kind(
        "Layers that a searched exit branch is built from (space.branches: searched).",
        _registered("offramp.nn.branches.branch_layer:BRANCH_LAYERS"),
        "offramp.branch_layers",
    ),
    "branches": Kind(
        "Types of exit branches (space.branches).",
        _registered("offramp.nn.branches.exit_branch:EXIT_BRANCHES"),
        "offramp.exit_branches",
    ),
    "data-formats": Kind(
        "Formats of data that are read (data.source).",
        _registered("offramp.data.raw_data:READERS"),
        "offramp.data_readers",
    ),
    "data-sets": Kind(
        "Data sets that come with offramp (data.source).",
        _registered("offramp.data.raw_data:DATA_SETS"),
        "offramp.data_sets",
    ),
    "engines": Kind(
        "Engines that estimate the cost of a layer (cost.engine).",
        _registered("offramp.cost.engines.cost_engine:COST_ENGINES"),
        "offramp.cost_engines",
    ),
    "exit-rules": Kind(
        "Rules that decide where a sample leaves (offramp predict --rule).",
        _registered("offramp.exits.exit_rule:EXIT_RULES"),
        "offramp.exit_rules",
    ),
    "settings": Kind("All settings, for files, --set and Python.", _settings),
    "targets": Kind(
        "Deployment targets (deploy.targets).",
        _registered("offramp.deploy.targets.deployment_target:DEPLOYMENT_TARGETS"),
        "offramp.deployment_targets",
    ),
    "trackers": Kind(
        "Where figures of a search can be logged, too (execution.tracker).",
        _registered("offramp.run.trackers.tracker:TRACKERS"),
        "offramp.trackers",
    ),
}
"""What `offramp list` shows; a registry takes one entry here."""


def check_groups() -> None:
    """Warn of plug-ins that other packages announce under a misspelt kind; nothing is loaded."""
    warn_of_unknown_groups([kind.group for kind in KINDS.values() if kind.group is not None])


def describe(kind: str) -> tuple[CatalogueEntry, ...]:
    """List all names of one kind.

    Args:
        kind: One of `KINDS`.

    Returns:
        The names, each with its description.

    Raises:
        UnknownNameError: There is no such kind.
    """
    if kind not in KINDS:
        raise UnknownNameError(unknown_name_message("kind", kind, list(KINDS)))
    return tuple(KINDS[kind].entries())
