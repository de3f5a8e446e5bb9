"""Marks on modules whose bit widths differ from those of the network.

A mark holds for everything in the module that has no mark itself. Copies keep it, and it is not part of the weights.
"""

from torch import nn

from offramp.space.architecture import Precision

IMAGE_BITS = 8
"""Bit width of quantised images; wider activations give wider images in workloads."""

_NAME = "offramp_precision"


def mark_precision_(module: nn.Module, precision: Precision | None) -> None:
    """Mark a module with its bit widths.

    Args:
        module: the module.
        precision: the bit widths; None = remove the mark.
    """
    if precision is not None:
        vars(module)[_NAME] = precision
    else:
        vars(module).pop(_NAME, None)


def marked_precision(module: nn.Module) -> Precision | None:
    """Read the mark of a module.

    Args:
        module: the module.

    Returns:
        The bit widths on its own mark; None = no mark.
    """
    mark = vars(module).get(_NAME)
    return mark if isinstance(mark, Precision) else None


def precision_at(root: nn.Module, path: str, default: Precision) -> Precision:
    """Find the bit widths that hold for a module.

    Args:
        root: a module that contains it.
        path: dotted path of the module in ``root``; empty for ``root``.
        default: the bit widths if there is no mark.

    Returns:
        The innermost mark on the path, the module's own included; else the default.
    """
    found = marked_precision(root) or default
    module = root
    for name in path.split(".") if path else ():
        module = module.get_submodule(name)
        found = marked_precision(module) or found
    return found
