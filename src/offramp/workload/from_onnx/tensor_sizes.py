"""Sizes of tensors in an ONNX graph for one sample, and reasons for unknown sizes."""

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.layer_constructors import FeatureMap


class Unpriceable(Exception):  # noqa: N818 - becomes a clause of an UnsupportedLayerError
    """The reason why a node cannot be a layer of a workload."""


class UnknownShape(Exception):  # noqa: N818 - becomes a clause of a WorkloadError
    """Names a tensor whose shape is missing."""


class Contradiction(Exception):  # noqa: N818 - becomes a clause of a WorkloadError
    """Two statements of the file about one layer that cannot both hold."""


def sizes(graph: OnnxGraph, tensor: str) -> tuple[int, ...]:
    """Find the sizes of all axes but the batch axis.

    Args:
        graph: The graph.
        tensor: Name of the tensor.

    Returns:
        The sizes, at least 1; none for a scalar.

    Raises:
        UnknownShape: The shape is missing, or a size is not fixed.
        Unpriceable: The tensor is empty.
    """
    shape = graph.shapes.get(tensor)
    if shape is None:
        raise UnknownShape(tensor)
    if 0 in shape:
        raise Unpriceable(f"works on '{tensor}' of shape {shape}, which is empty")
    found = tuple(size for size in shape[1:] if size is not None)
    if len(found) != len(shape[1:]) or min(found, default=1) < 1:
        raise UnknownShape(tensor)
    return found


def per_sample(graph: OnnxGraph, tensor: str) -> int:
    """Find how much of the first axis belongs to one sample.

    Args:
        graph: The graph.
        tensor: Name of the tensor.

    Returns:
        The size per sample; more than 1 if heads, windows or tokens were moved to the first axis, or if the batch lies
        on another one.

    Raises:
        UnknownShape: The size of the first axis is not fixed.
    """
    first = graph.shapes.get(tensor, (None,))[:1]
    if None in first:
        raise UnknownShape(tensor)
    return first[0] or 1 if first else 1


def feature_map(graph: OnnxGraph, tensor: str) -> FeatureMap:
    """Read a tensor as a feature map.

    One axis holds the values of a vector, and a scalar is one value. Two axes are flat features, four are (batch, C, H,
    W). Three axes are tokens (batch, N, C), one column, or (batch, C, W).

    Args:
        graph: The graph.
        tensor: Name of the tensor.

    Returns:
        The feature map of one sample.

    Raises:
        UnknownShape: The shape is not known.
        Unpriceable: The tensor has more than four axes.
    """
    found, batch = sizes(graph, tensor), per_sample(graph, tensor)
    if not found:
        return FeatureMap(batch)
    if len(found) == 1:
        return FeatureMap(found[0], batch=batch)
    if len(found) == 2:
        return (
            FeatureMap(found[1], found[0], 1, batch) if graph.has_tokens else FeatureMap(found[0], 1, found[1], batch)
        )
    if len(found) == 3:
        return FeatureMap(*found, batch=batch)
    raise Unpriceable(f"works on a tensor with {len(found) + 1} axes; at most 4 are understood")


def value_map(graph: OnnxGraph, tensor: str) -> FeatureMap:
    """Read a tensor as a feature map if all its values are treated alike: more than four axes become a column of
    tokens.

    Args:
        graph: The graph.
        tensor: Name of the tensor.

    Returns:
        The feature map of one sample.
    """
    found = sizes(graph, tensor)
    if len(found) <= 3:
        return feature_map(graph, tensor)
    return FeatureMap.of_tokens((per_sample(graph, tensor), *found))
