"""Check that an architecture is a member of a backbone space."""

from collections.abc import Sequence

from offramp.errors import ConfigError, UnknownNameError
from offramp.registry import unknown_name_message
from offramp.space.architecture import Architecture, ExitChoice, StageChoice
from offramp.space.search_space import BackboneSpace, StageSpace


def check_architecture(
    architecture: Architecture, space: BackboneSpace, final_branches: Sequence[str], branches: Sequence[str]
) -> None:
    """Check that an architecture is a member of a space.

    Args:
        architecture: the architecture to check.
        space: the space of the backbone.
        final_branches: names of the branch types for the final classifier.
        branches: names of the branch types for early exits.

    Raises:
        ConfigError: if a size, a precision or the tap of an exit is not in the space.
        UnknownNameError: if a branch type is not among the given ones.
    """
    if architecture.backbone != space.name:
        raise ConfigError(f"the architecture must be of backbone {space.name!r}, got {architecture.backbone!r}.")
    if architecture.resolution not in space.resolutions:
        raise ConfigError(f"`resolution` must be one of {space.resolutions}, got {architecture.resolution}.")
    head = architecture.head
    if len(architecture.stages) > len(space.stages) or (head is None and len(architecture.stages) < len(space.stages)):
        raise ConfigError(
            f"an architecture of {space.name!r} must have {len(space.stages)} stages, got {len(architecture.stages)}."
        )
    for index, (choice, stage) in enumerate(zip(architecture.stages, space.stages, strict=False)):
        # A network that ends at a head may end inside a stage.
        ends_inside = head is not None and index == len(architecture.stages) - 1
        _check_stage(index, choice, stage, tuple(range(1, max(stage.depths) + 1)) if ends_inside else stage.depths)
    _check_exits(architecture, space, branches)
    if architecture.final_branch not in final_branches:
        raise UnknownNameError(unknown_name_message("final branch", architecture.final_branch, list(final_branches)))


def _check_stage(index: int, choice: StageChoice, stage: StageSpace, depths: tuple[int, ...]) -> None:
    choices: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
        ("depth", (choice.depth,), depths),
        ("width", (choice.width,), stage.widths),
        ("kernel size", choice.kernel_sizes, stage.kernel_sizes),
        ("expansion", choice.expansions, stage.expansions),
        ("number of heads", choice.heads, stage.heads),
    ]
    if len(choice.heads) != (choice.depth if stage.heads else 0):
        raise ConfigError(
            f"stage {index} must have {choice.depth if stage.heads else 'no'} numbers of heads, got {choice.heads}."
        )
    for name, values, offered in choices:
        for value in values:
            if value not in offered:
                raise ConfigError(f"{name} of stage {index} must be one of {offered}, got {value}.")

    each = len(choice.precisions) // choice.depth
    if each not in (0, 1, stage.layers_per_block):
        raise ConfigError(
            f"precisions of stage {index} must be none, one per block or {stage.layers_per_block} per block, "
            f"got {each} per block."
        )


def _check_exits(architecture: Architecture, space: BackboneSpace, branches: Sequence[str]) -> None:
    active: list[int] = []
    first = 0
    for choice, stage in zip(architecture.stages, space.stages, strict=False):
        active += range(first, first + choice.depth)
        first += max(stage.depths)
    _check_head(architecture.head, active[-1], space.num_taps - 1, branches)
    for exit_choice in architecture.exits:
        if exit_choice.branch not in branches:
            raise UnknownNameError(unknown_name_message("exit branch", exit_choice.branch, list(branches)))
        if exit_choice.tap == active[-1]:
            raise ConfigError(
                f"tap {exit_choice.tap} is the last block, where the final classifier sits; "
                f"early exits may sit at {active[:-1]}."
            )
        if exit_choice.tap not in active:
            raise ConfigError(
                f"an exit must sit at the end of an active block, got tap {exit_choice.tap}; "
                f"early exits may sit at {active[:-1]}."
            )


def _check_head(head: ExitChoice | None, end: int, final_tap: int, branches: Sequence[str]) -> None:
    if head is None:
        return
    if head.branch not in branches:
        raise UnknownNameError(unknown_name_message("exit branch", head.branch, list(branches)))
    if head.tap != end or head.tap == final_tap:
        raise ConfigError(
            f"a head must sit at the last block of the network (tap {end}) and before the last tap of the family "
            f"({final_tap}), got tap {head.tap}."
        )
