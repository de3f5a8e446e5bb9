"""Sizes that an ONNX file leaves open, and that a user gives: the length of a sequence, or the size of images."""

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from offramp.errors import InputError


def fix_sizes(graph: Any, sizes: Mapping[str, int], path: Path) -> None:
    """Write sizes into a graph in place of open ones.

    Args:
        graph: ONNX graph; it is changed in place.
        sizes: Sizes by the name of an open axis, as the file has it, or by the name of an input, a point and the number
            of the axis, such as ``image.2``.
        path: The file, for messages.

    Raises:
        InputError: A size is below 1, or there is no such open axis.
    """
    known = dict.fromkeys(name for item in graph.input for names, _ in _open_axes(item).values() for name in names)
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"The size of axis {name!r} must be >= 1, got {size}.")
        if name not in known:
            there = ", ".join(known) or "none"
            raise InputError(f"'{path}' has no open axis {name!r}. Its open axes are: {there}.")
    for item in (*graph.input, *graph.output, *graph.value_info):
        for names, axis in _open_axes(item).values():
            given = [sizes[name] for name in names if name in sizes]
            if given:
                axis.dim_value = given[-1]


def open_axes(graph: Any, shapes: Mapping[str, Sequence[int | None]], constants: Container[str]) -> tuple[str, ...]:
    """Name the open axes of a graph, as `fix_sizes` takes them.

    Args:
        graph: ONNX graph.
        shapes: Shapes of its tensors; what they fix is not open, such as the batch.
        constants: Names of inputs to leave out.

    Returns:
        The name of each axis in the file, or that of the input with the number of the axis where it has none.
    """
    found: dict[str, None] = {}
    for item in graph.input:
        shape = shapes.get(item.name, ())
        for number, (names, _) in _open_axes(item).items():
            if item.name not in constants and number < len(shape) and shape[number] is None:
                found[names[0]] = None
    return tuple(found)


def _open_axes(item: Any) -> dict[int, tuple[list[str], Any]]:
    """The names of each open axis of a tensor, the best one first, and the axis, by its number."""
    found = {}
    for number, axis in enumerate(item.type.tensor_type.shape.dim):
        if not axis.HasField("dim_value") or axis.dim_value < 1:
            own = [axis.dim_param] if axis.dim_param and axis.dim_param not in ("?", "None") else []
            found[number] = ([*own, f"{item.name}.{number}"], axis)
    return found
