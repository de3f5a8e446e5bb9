"""Precisions of an architecture's parts."""

import itertools

from offramp.space.architecture import Architecture, Precision


def precisions_used(architecture: Architecture) -> tuple[Precision, ...]:
    """List the precisions of all parts.

    Args:
        architecture: The architecture.

    Returns:
        Different precisions: of the stem, of the blocks, then of the branches.
    """
    blocks = itertools.chain.from_iterable(stage.precisions for stage in architecture.stages)
    branches = map(architecture.exit_precision, range(len(architecture.exits) + 1))
    return tuple(dict.fromkeys((architecture.precision, *blocks, *branches)))
