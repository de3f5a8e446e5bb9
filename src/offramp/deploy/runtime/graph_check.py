"""Check that a bundle's graph is only arithmetic of known size, before a runtime loads it.

A checksum says that a file is the one the manifest names, not that whoever wrote both meant well.
"""

import math
from collections.abc import Iterator
from typing import Any

from offramp.errors import BundleError

MAX_TENSOR_VALUES = 2**27

_SMALL_BYTES = 128
_STANDARD_DOMAINS = ("", "ai.onnx")
# Loops may never end, and what they build up has no size that can be told beforehand.
_REFUSED_OPERATORS = frozenset({"Loop", "Scan", "SequenceMap", "SequenceConstruct", "SequenceEmpty", "Optional"})
# Of the element types of ONNX 1.23, by number: bits per value. Strings and complex numbers are missing on purpose.
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16}
_BITS |= {17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}
# How many values one entry of a typed field holds: sub-byte values are packed into int32_data, which no one here does.
_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def check_graph(content: bytes, what: str, *, branches: bool = False) -> Any:
    """Check that a graph is plain arithmetic that carries its data inside.

    Refused: data in other files, tensors whose content is not what their shape says, loops, operators and functions
    of other domains than ONNX's own, `If` unless ``branches``, and tensors of more than 2**27 values, or of a size
    that cannot be told, for one sample.

    Args:
        content: The content of the ONNX file.
        what: What the content is, for messages.
        branches: Whether `If` is allowed.

    Returns:
        The parsed ONNX model.

    Raises:
        BundleError: If something is refused.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RecursionError) as exc:
        raise BundleError(f"{what!r} is not an ONNX file: {exc}") from exc
    opset = max((entry.version for entry in model.opset_import if entry.domain in _STANDARD_DOMAINS), default=0)
    if opset > onnx.defs.onnx_opset_version():
        raise BundleError(
            f"{what!r} is written in opset {opset}, but the installed onnx {onnx.__version__} knows opsets up to "
            f"{onnx.defs.onnx_opset_version()}. Install a newer onnx."
        )
    for tensor in _messages(model, onnx.TensorProto):
        _check_tensor(tensor, what)
    if model.functions or model.training_info or any(_messages(model, onnx.SparseTensorProto)):
        raise BundleError(f"{what!r} holds functions, training steps or sparse tensors, which no bundle has.")
    for node in _messages(model, onnx.NodeProto):
        foreign = node.domain not in _STANDARD_DOMAINS
        if foreign or node.op_type in _REFUSED_OPERATORS or (node.op_type == "If" and not branches):
            name = f"{node.domain}.{node.op_type}" if foreign else node.op_type
            raise BundleError(f"{what!r} has the operator {name!r}, which a bundle's graph must not have.")
    _check_sizes(model, what)
    return model


def _messages(message: Any, kind: Any) -> Iterator[Any]:
    """All messages of a kind inside ``message``, at any depth."""
    pending: list[Any] = [message]
    while pending:
        current = pending.pop()
        if isinstance(current, kind):
            yield current
        for field, value in current.ListFields():
            if field.message_type is not None:
                pending += [value] if hasattr(value, "ListFields") else value


def _check_tensor(tensor: Any, what: str) -> None:
    if tensor.data_location == type(tensor).EXTERNAL or tensor.external_data:
        raise BundleError(f"{what!r} takes data from another file, which a bundle must not do.")
    bits = _BITS.get(tensor.data_type)
    if bits is None or tensor.HasField("segment"):
        raise BundleError(f"{what!r}: tensor {tensor.name!r} is of a kind that no bundle has ({tensor.data_type}).")
    if any(size < 0 for size in tensor.dims):
        raise BundleError(f"{what!r}: tensor {tensor.name!r} has a negative size: {list(tensor.dims)}.")
    count = math.prod(tensor.dims)
    if tensor.raw_data:
        declared, found = -(-count * bits // 8), len(tensor.raw_data)
    else:
        declared, found = count, sum(len(getattr(tensor, name)) for name in _TYPED_FIELDS)
        declared = -(-count * bits // 8) if bits < 8 else declared
    if count > MAX_TENSOR_VALUES or declared != found:
        raise BundleError(
            f"{what!r}: tensor {tensor.name!r} of shape {list(tensor.dims)} must have {declared} "
            f"{'bytes' if tensor.raw_data else 'values'}, at most {MAX_TENSOR_VALUES} of them, but it has {found}."
        )


def known_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a graph that was checked, constants included, for a batch of one; not in branches.

    Args:
        model: An ONNX model that was checked.

    Returns:
        Shapes by name.
    """
    import onnx

    graph = onnx.shape_inference.infer_shapes(_without_weights(model), strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for item in (*graph.input, *graph.value_info, *graph.output):
        shape = _shape(item)
        if shape is not None:
            shapes[item.name] = tuple(shape)
    return shapes


def _check_sizes(model: Any, what: str) -> None:
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(_without_weights(model), strict_mode=True, data_prop=True)
    # What the checker of onnx raises on contradictions, and on operators that it does not know.
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError) as exc:
        raise BundleError(f"{what!r} is not a graph whose shapes fit together: {_first_line(exc)}") from exc
    for graph in _messages(inferred, onnx.GraphProto):
        shapes = {item.name: _shape(item) for item in (*graph.input, *graph.value_info, *graph.output)}
        for node in graph.node:
            for name in filter(None, node.output):
                _check_size(shapes.get(name), f"{what!r}: {node.op_type} {name!r}")
        for item in graph.input:
            _check_size(shapes[item.name], f"{what!r}: input {item.name!r}")


def _check_size(shape: list[int] | None, what: str) -> None:
    if shape is None or math.prod(shape) > MAX_TENSOR_VALUES:
        given = "no size that can be told beforehand" if shape is None else f"the shape {shape}"
        raise BundleError(f"{what} must have at most {MAX_TENSOR_VALUES} values for one sample, but it has {given}.")


def _shape(item: Any) -> list[int] | None:
    """Sizes of a tensor where all are known."""
    kind = item.type
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    known = all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims)
    return [dim.dim_value for dim in dims] if known else None


def _without_weights(model: Any) -> Any:
    """A copy for a batch of one whose large constants are empty, so that inferring shapes copies little."""
    import onnx

    slim = onnx.ModelProto()
    slim.CopyFrom(model)
    for graph in _messages(slim, onnx.GraphProto):
        # What the file says about shapes could be anything; what follows from its operators cannot.
        del graph.value_info[:]
        for tensor in graph.initializer:
            if len(tensor.raw_data) > _SMALL_BYTES:
                tensor.ClearField("raw_data")
    for item in slim.graph.input:
        dims = item.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].Clear()
            dims[0].dim_value = 1
    for item in slim.graph.output:
        item.type.tensor_type.ClearField("shape")
    return slim


def _first_line(exc: Exception) -> str:
    return next(iter(str(exc).strip().splitlines()), type(exc).__name__)
