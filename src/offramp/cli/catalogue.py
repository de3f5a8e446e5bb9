"""What can be named in settings, with a line about each."""

from dataclasses import dataclass

from offramp.errors import UnknownNameError
from offramp.registry import unknown_name_message

KINDS = ("accelerators", "algorithms", "backbones", "branches", "engines")


@dataclass(frozen=True)
class CatalogueEntry:
    """A name and what stands behind it."""

    name: str
    description: str


def describe(kind: str) -> tuple[CatalogueEntry, ...]:
    """All entries of one kind; an unknown kind raises UnknownNameError."""
    if kind == "accelerators":
        from offramp.hardware.loader import accelerator_names, load_accelerator

        return tuple(CatalogueEntry(name, load_accelerator(name).description) for name in accelerator_names())
    if kind == "algorithms":
        from offramp.algorithms.algorithm import ALGORITHMS

        return tuple(CatalogueEntry(name, ALGORITHMS.get(name).description) for name in ALGORITHMS)
    if kind == "backbones":
        from offramp.nn.backbone import BACKBONES

        return tuple(CatalogueEntry(name, BACKBONES.get(name).description) for name in BACKBONES)
    if kind == "branches":
        from offramp.nn.branches.exit_branch import EXIT_BRANCHES

        return tuple(CatalogueEntry(name, EXIT_BRANCHES.get(name).description) for name in EXIT_BRANCHES)
    if kind == "engines":
        from offramp.cost.engines.cost_engine import COST_ENGINES

        return tuple(CatalogueEntry(name, COST_ENGINES.get(name).description) for name in COST_ENGINES)
    raise UnknownNameError(unknown_name_message("kind", kind, list(KINDS)))
