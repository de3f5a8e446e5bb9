"""Search spaces small enough for a table: all their backbones are in it."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

from offramp.errors import ConfigError
from offramp.space.architecture import Architecture, StageChoice
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.precision_choices import FIXED
from offramp.space.search_space import BackboneSpace, StageSpace

_FIELDS = ("depths", "widths", "kernel_sizes", "expansions", "heads")


def num_backbones(space: BackboneSpace) -> int:
    """Count the backbones of a family.

    Args:
        space: The choices of the family.

    Returns:
        Number of backbones, at least 1.
    """
    count = len(space.resolutions)
    for stage in space.stages:
        per_block = len(stage.kernel_sizes) * len(stage.expansions) * max(1, len(stage.heads))
        count *= len(stage.widths) * sum(per_block**depth for depth in stage.depths)
    return count


def every_backbone(space: EarlyExitSpace) -> Iterator[Architecture]:
    """Enumerate the backbones of a space in a fixed order.

    Args:
        space: The space, without searched precisions and analog shares.

    Yields:
        Each backbone once, without early exits.
    """
    every_stage = [list(_every_stage(stage)) for stage in space.backbone.stages]
    for resolution, stages in itertools.product(space.backbone.resolutions, itertools.product(*every_stage)):
        yield Architecture(
            backbone=space.backbone.name,
            resolution=resolution,
            stages=stages,
            final_branch=space.final_branch,
            precision=space.precision,
            branch_precision=space.branch_precision,
        )


def _every_stage(stage: StageSpace) -> Iterator[StageChoice]:
    for depth, width in itertools.product(stage.depths, stage.widths):
        for kernels in itertools.product(stage.kernel_sizes, repeat=depth):
            for expansions in itertools.product(stage.expansions, repeat=depth):
                for heads in itertools.product(stage.heads, repeat=depth) if stage.heads else [()]:
                    yield StageChoice(depth, width, kernels, expansions, heads=heads)


def table_space(space: EarlyExitSpace, most_backbones: int) -> EarlyExitSpace:
    """Restrict a space to as many backbones as a table may have.

    Each choice begins with its largest option. Further options are added in turn, the smallest first, while the number
    of backbones allows: depths of all stages, then widths, resolutions, kernel sizes, expansions and heads.

    Args:
        space: The space.
        most_backbones: Largest number of backbones, at least 1.

    Returns:
        The restricted space.

    Raises:
        ConfigError: The space has searched precisions, analog shares, or branches that are built layer by layer.
    """
    if space.precisions.choices or space.analog_shares:
        raise ConfigError(
            "A table must have one set of logits per exit, but this run searches bit widths or analog shares, with "
            "which the logits change. Make the table of a run without space.precision and space.analog_shares."
        )
    if space.branch_layers.branches:
        raise ConfigError(
            "A table must list every exit, but this run builds branches layer by layer "
            f"({', '.join(space.branch_layers.branches)}). Make the table of a run without them (space.branches)."
        )
    if most_backbones < 1:
        raise ConfigError(f"A table must have at least one backbone, got {most_backbones}.")
    return replace(space, backbone=_restricted(space.backbone, most_backbones), precisions=FIXED)


def _restricted(full: BackboneSpace, most: int) -> BackboneSpace:
    smallest = dict.fromkeys(_FIELDS, 1)
    counts = [dict(smallest) for _ in full.stages]
    num_resolutions = 1

    def built() -> BackboneSpace:
        stages = tuple(
            replace(
                stage,
                depths=_some(stage.depths, chosen["depths"]),
                widths=_some(stage.widths, chosen["widths"]),
                kernel_sizes=_some(stage.kernel_sizes, chosen["kernel_sizes"]),
                expansions=_some(stage.expansions, chosen["expansions"]),
                heads=_some(stage.heads, chosen["heads"]),
            )
            for stage, chosen in zip(full.stages, counts, strict=True)
        )
        return replace(full, resolutions=_some(full.resolutions, num_resolutions), stages=stages)

    found = built()
    for name in ("depths", "widths", "resolutions", "kernel_sizes", "expansions", "heads"):
        lists = [full.resolutions] if name == "resolutions" else [getattr(stage, name) for stage in full.stages]
        for wanted in range(2, max(map(len, lists)) + 1):
            for place, options in enumerate(lists):
                if wanted > len(options):
                    continue
                if name == "resolutions":
                    num_resolutions = wanted
                else:
                    counts[place][name] = wanted
                larger = built()
                if num_backbones(larger) <= most:
                    found = larger
                elif name == "resolutions":
                    num_resolutions = wanted - 1
                else:
                    counts[place][name] = wanted - 1
    return found


def _some(options: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The largest option, then the smallest, then the others from the smallest on; in increasing order."""
    return tuple(sorted((*options[-1:], *options[:-1])[:count]))
