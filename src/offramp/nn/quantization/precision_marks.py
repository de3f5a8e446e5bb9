"""The bit widths of parts of a network: modules carry a mark where theirs differ from those of the whole.

A mark holds for everything inside the module that carries no mark of its own. It survives copies, and is not part of
the weights.
"""

from torch import nn

from offramp.space.architecture import Precision

IMAGE_BITS = 8
"""Images are quantised to this width, or to that of the activations where those are wider."""

_NAME = "offramp_precision"


def mark_precision_(module: nn.Module, precision: Precision | None) -> None:
    """State the bit widths of a module; None takes the mark away."""
    if precision is not None:
        vars(module)[_NAME] = precision
    else:
        vars(module).pop(_NAME, None)


def marked_precision(module: nn.Module) -> Precision | None:
    """The mark of this very module."""
    mark = vars(module).get(_NAME)
    return mark if isinstance(mark, Precision) else None


def precision_at(root: nn.Module, path: str, default: Precision) -> Precision:
    """The precision of the module at a dotted path: the innermost mark on the way to it, else the default."""
    found = marked_precision(root) or default
    module = root
    for name in path.split(".") if path else ():
        module = module.get_submodule(name)
        found = marked_precision(module) or found
    return found
