"""Maps of one row (series over time) or one column: layers leave out the part of their windows that reads padding."""

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class FitsToAxes(Protocol):
    """A layer with a window that can be narrowed to the axes that have several values."""

    def fit_to_axes_(self, *, one_row: bool, one_column: bool) -> None:
        """Narrow the window; outputs keep their sizes.

        Args:
            one_row: Whether all maps have one row.
            one_column: Whether all maps have one column.
        """
        ...


def fit_to_axes_(module: nn.Module, *, one_row: bool, one_column: bool) -> None:
    """Narrow the windows of all layers inside a module; a second call changes nothing.

    Args:
        module: The module; it must not have been trained.
        one_row: Whether all maps in it have one row.
        one_column: Whether all maps in it have one column.
    """
    if one_row or one_column:
        for part in module.modules():
            if isinstance(part, FitsToAxes):
                part.fit_to_axes_(one_row=one_row, one_column=one_column)
