"""The command `offramp list`."""

from typing import Annotated

import typer


def list_names(
    kind: Annotated[str | None, typer.Argument(help="What to list (default: the kinds that there are).")] = None,
) -> None:
    """List what can be named in settings, or the settings themselves."""
    from offramp.cli.catalogue import KINDS, CatalogueEntry, check_groups, describe

    entries = (
        [CatalogueEntry(name, known.description) for name, known in KINDS.items()] if kind is None else describe(kind)
    )
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry.name:<{width}}  {entry.description}".rstrip())
    check_groups()
