"""Shapes of tensors in an ONNX file, as declared or from ONNX shape inference."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

SMALL_TENSOR = 16

Shape = tuple[int | None, ...]
"""Sizes of a tensor's axes; None where the file does not fix one."""


def tensor_shapes(model: Any) -> dict[str, Shape]:
    """Collect the shapes of all tensors.

    Args:
        model: ONNX model.

    Returns:
        Shapes by tensor name, as declared in the file, else as inferred for a batch of one.
    """
    shapes: dict[str, Shape] = {name: tuple(tensor.dims) for name, tensor in named_constants(model.graph)}
    _add_shapes(shapes, model.graph)
    inferred = _inferred(model)
    if inferred is not None:
        _add_shapes(shapes, inferred)
    return shapes


def _add_shapes(shapes: dict[str, Shape], graph: Any) -> None:
    items: Iterable[Any] = (*graph.input, *graph.value_info, *graph.output)
    for item in items:
        if not (item.type.HasField("tensor_type") and item.type.tensor_type.HasField("shape")):
            continue
        dims = item.type.tensor_type.shape.dim
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
        known = shapes.get(item.name)
        better = known is not None and (
            (None in known[1:] and None not in shape[1:])
            or (len(known) == len(shape) and None in known and None not in shape)
        )
        if known is None or better:
            shapes[item.name] = shape


def _inferred(model: Any) -> Any:
    """The graph after shape inference; None if inference rejects it: the declared shapes may still be enough."""
    import onnx

    slim = onnx.ModelProto()
    slim.CopyFrom(model)
    for tensor in slim.graph.initializer:
        # Inference copies the model, which is cheap without the content of its weights.
        if len(tensor.raw_data) > 8 * SMALL_TENSOR:
            tensor.ClearField("raw_data")
    for item in slim.graph.input:
        dims = item.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1
    with contextlib.suppress(RuntimeError, ValueError, onnx.shape_inference.InferenceError):
        return onnx.shape_inference.infer_shapes(slim, data_prop=True).graph
    return None


def named_constants(graph: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over all initializers and constant nodes.

    Args:
        graph: ONNX graph.

    Yields:
        Name and tensor of each.
    """
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value" and node.output:
                yield node.output[0], attribute.t


def constant_values(graph: Any) -> dict[str, tuple[int, ...]]:
    """Read the small integer lists that the file holds, such as axes.

    Args:
        graph: ONNX graph.

    Returns:
        Values by tensor name, for int64 tensors of at most one axis and 16 values.
    """
    from onnx import TensorProto, numpy_helper

    values: dict[str, tuple[int, ...]] = {}
    for name, tensor in named_constants(graph):
        inside = tensor.data_location != TensorProto.EXTERNAL
        if inside and tensor.data_type == TensorProto.INT64 and len(tensor.dims) <= 1:
            with contextlib.suppress(ValueError, TypeError):  # stripped tensors have dims but no content
                array = numpy_helper.to_array(tensor).reshape(-1)
                if array.size <= SMALL_TENSOR:
                    values[name] = tuple(int(value) for value in array)
    return values
