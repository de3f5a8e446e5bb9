"""Shapes of all tensors of an ONNX graph, from the sizes of its inputs, node by node in topological order.

Shape inference of a whole file stops at the first shape that the graph computes, as exporters write it (the `Shape` of
a tensor, some arithmetic, then `Reshape`, `Pad` or `Slice`). Here, constants are folded on the way, as in the basic
optimisation of onnxruntime, so that the shape inference of each node knows the values that it needs.
"""

import contextlib
import re
from dataclasses import dataclass, field
from typing import Any

from offramp.workload.from_onnx.constant_folding import (
    Array,
    constant_node_value,
    constant_tensor,
    folded,
    shape_value,
)
from offramp.workload.from_onnx.contributed_shapes import contributed_shape, rounded_up_pooling
from offramp.workload.from_onnx.operator_equivalents import EQUIVALENTS

Shape = tuple[int | None, ...]
"""Sizes of a tensor's axes; None where the file does not fix one."""

_BATCH_NAME = re.compile(r"(?i).*batch.*|n|b|bs")
_OTHER_NAME = re.compile(r"(?i)time|seq|len|frame|token|step|height|width|channel")
"""Names of open axes that hold the batch, and of those that do not."""

MAX_LISTED_VALUES = 64

_FLOAT = 1
_NO_NUMBERS = (7, 9)  # 64-bit integers, which are sizes or axes here, and booleans


@dataclass
class TensorFacts:
    """What is known about the tensors of a graph.

    Attributes:
        shapes: Shapes by tensor name.
        values: Contents of small constants by tensor name, also of those that the graph computes.
        open_batches: Names of the inputs whose batch size is open, and 1 here.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    open_batches: set[str] = field(default_factory=set)

    def integer_lists(self) -> dict[str, tuple[int, ...]]:
        """Select the lists of integers, such as axes.

        Returns:
            Values by tensor name, for integer constants of at most one axis and 64 values.
        """
        return {
            name: tuple(int(value) for value in array.reshape(-1))
            for name, array in self.values.items()
            if array.dtype.kind in "iu" and array.ndim <= 1 and array.size <= MAX_LISTED_VALUES
        }


def propagate_shapes(model: Any) -> TensorFacts:
    """Find the shapes of all tensors of a model.

    A shape that the file declares holds, unless the graph fixes more of its sizes. An open batch size is 1.

    Args:
        model: ONNX model, its nodes in topological order.

    Returns:
        Shapes and small constants.
    """
    return _Propagation(model).run()


class _Propagation:
    """One pass over the nodes of a model."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.facts = TensorFacts()
        self.types: dict[str, Any] = {}
        self.opsets = {item.domain.removeprefix("ai.onnx"): item.version for item in model.opset_import}
        self.batch_names: set[str] = set()
        self.declared: dict[str, Any] = {}

    def run(self) -> TensorFacts:
        graph = self.model.graph
        for item in graph.input:
            self._declare(item)
        self.declared = {item.name: self._with_batch(item.type) for item in (*graph.value_info, *graph.output)}
        for tensor in graph.initializer:
            self._set_constant(tensor.name, tensor)
        for tensor in graph.sparse_initializer:
            self._set(tensor.values.name, _tensor_type(tensor.values.data_type, tuple(tensor.dims)))
        for node in graph.node:
            self._read(node)
        return self.facts

    def _declare(self, item: Any) -> None:
        import onnx

        kind = onnx.TypeProto()
        kind.CopyFrom(item.type)
        for size in kind.tensor_type.shape.dim:
            if size.HasField("dim_value") and size.dim_value < 1:
                size.Clear()  # older exporters write -1 or 0 for an open size
        axis = _open_batch(kind)
        if axis is not None:
            size = kind.tensor_type.shape.dim[axis]
            if size.dim_param:
                self.batch_names.add(size.dim_param)
            size.dim_value = 1
            self.facts.open_batches.add(item.name)
        self._set(item.name, kind)

    def _with_batch(self, declared: Any) -> Any:
        """A declared type with 1 in place of the name of the batch."""
        import onnx

        kind = onnx.TypeProto()
        kind.CopyFrom(declared)
        for size in kind.tensor_type.shape.dim:
            if size.dim_value < 0:
                size.Clear()
            if size.dim_param in self.batch_names:
                size.dim_value = 1
        return kind

    def _set_constant(self, name: str, tensor: Any) -> None:
        self._set(name, _tensor_type(tensor.data_type, tuple(tensor.dims)))
        value = constant_tensor(tensor)
        if value is not None:
            self.facts.values[name] = value

    def _set(self, name: str, kind: Any) -> None:
        self.types[name] = kind
        shape = _shape(kind)
        if shape is not None:
            self.facts.shapes[name] = shape

    def _set_value(self, name: str, value: Array) -> None:
        import onnx

        self.facts.values[name] = value
        with contextlib.suppress(KeyError, ValueError, TypeError):
            self._set(name, _tensor_type(onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))

    def _read(self, node: Any) -> None:
        values = self._folded(node)
        if values is not None:
            for name, value in zip(filter(None, node.output), values, strict=False):
                self._set_value(name, value)
            return
        inferred = self._rounded_up(node, self._inferred(node))
        for name in filter(None, node.output):
            kind = _better(self.declared.get(name), inferred.get(name))
            if kind is not None:
                self._set(name, kind)

    def _rounded_up(self, node: Any, inferred: dict[str, Any]) -> dict[str, Any]:
        """The types with the right size of a pooling that rounds up; shapes declared behind a wrong one are wrong."""
        source = self.facts.shapes.get(node.input[0]) if node.input else None
        found = {name: _shape(kind) for name, kind in inferred.items()}
        attributes = {attribute.name: attribute.ints or attribute.i or attribute.s for attribute in node.attribute}
        for name, shape in found.items():
            right = shape if source is None or shape is None else rounded_up_pooling(
                node.op_type, attributes, source, shape
            )  # fmt: skip
            if right != shape:
                inferred[name] = _tensor_type(inferred[name].tensor_type.elem_type, right)
                if name in self.declared and _shape(self.declared[name]) == shape:
                    self.declared.clear()
        return inferred

    def _folded(self, node: Any) -> list[Array] | None:
        """Values of the outputs of a node that computes constants; None if it does not, or if they are large."""
        if node.op_type == "Constant":
            value = constant_node_value(node)
            return None if value is None else [value]
        if node.op_type in ("Shape", "Size") and node.input:
            shape = self.facts.shapes.get(node.input[0])
            value = None if shape is None else shape_value(node, shape)
            return None if value is None else [value]
        values = [self.facts.values.get(name) if name else None for name in node.input]
        if not node.input or any(name and value is None for name, value in zip(node.input, values, strict=True)):
            return None
        inferred = self._inferred(node)
        sizes = [_shape(inferred[name]) if name in inferred else None for name in node.output if name]
        return folded(node, values, sizes, self.model.opset_import)

    def _inferred(self, node: Any) -> dict[str, Any]:
        """Types of the outputs by the operator's own shape inference; empty where it finds none."""
        op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        attributes = {attribute.name: list(attribute.ints) or attribute.i for attribute in node.attribute}
        shapes = [self.facts.shapes.get(name) for name in node.input]
        shape = contributed_shape(op, attributes, shapes)
        if shape is not None:
            return {node.output[0]: _tensor_type(self.types[node.input[0]].tensor_type.elem_type, shape)}
        found = self._infer(node, self._types_of(node))
        if found is None:
            standard = _standard(node, op)
            types = self._types_of(standard)
            found = self._infer(standard, {name: _with_elements(kind, _FLOAT) for name, kind in types.items()})
            elements = [kind.tensor_type.elem_type for kind in types.values()]
            quantised = [element for element in elements if element not in _NO_NUMBERS]
            if found and quantised and op.startswith("com.microsoft.Q"):
                found = {name: _with_elements(kind, quantised[0]) for name, kind in found.items()}
        return found or {}

    def _types_of(self, node: Any) -> dict[str, Any]:
        subgraphs = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        return self.types if subgraphs else {name: self.types[name] for name in node.input if name in self.types}

    def _infer(self, node: Any, types: dict[str, Any]) -> dict[str, Any] | None:
        import onnx

        domain = "" if node.domain == "ai.onnx" else node.domain
        with contextlib.suppress(
            Exception
        ):  # a node that breaks a rule, or without one: the file may declare its shape
            schema = _schema(node.op_type, self.opsets.get(domain, 1), domain)
            data = {
                name: onnx.numpy_helper.from_array(self.facts.values[name], name)
                for name in node.input
                if name in self.facts.values and self.facts.values[name].ndim <= 1
            }
            opsets = list(self.model.opset_import)
            return dict(onnx.shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=opsets))
        return None


def _schema(op: str, version: int, domain: str) -> Any:
    """The operator at the version of the file; onnxruntime writes some before the version that defines them."""
    import onnx

    try:
        return onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return onnx.defs.get_schema(op, domain)


def _with_elements(kind: Any, element: int) -> Any:
    """A tensor type with other elements: those of quantised tensors are too short for a standard operator."""
    return kind if kind.tensor_type.elem_type in _NO_NUMBERS else _tensor_type(element, _shape(kind))


def _standard(node: Any, op: str) -> Any:
    """The node with the standard operator that infers the same shape."""
    import onnx

    equivalent = EQUIVALENTS.get(op)
    if equivalent is None or "." in equivalent.op:
        return node
    known = onnx.defs.get_schema(equivalent.op).attributes
    attributes = [attribute for attribute in node.attribute if attribute.name in known]
    standard = onnx.NodeProto(op_type=equivalent.op, output=node.output[:1], attribute=attributes)
    standard.input.extend(equivalent.inputs(tuple(node.input)))
    return standard


def _open_batch(kind: Any) -> int | None:
    """The open axis of an input that holds the batch: the only one whose name says so, else the first one."""
    if not kind.HasField("tensor_type"):
        return None
    dims = kind.tensor_type.shape.dim
    # Some tools write 0 or -1 for an open size.
    named = [None if size.HasField("dim_value") and size.dim_value > 0 else size.dim_param for size in dims]
    batches = [axis for axis, name in enumerate(named) if name and _BATCH_NAME.fullmatch(name)]
    if len(batches) == 1:
        return batches[0]
    first_is_open = bool(named) and named[0] is not None and not _OTHER_NAME.search(named[0])
    return 0 if first_is_open else None


def _tensor_type(element: int, shape: Shape | None) -> Any:
    from onnx import helper

    return helper.make_tensor_type_proto(element, shape)


def _shape(kind: Any) -> Shape | None:
    if not (kind.HasField("tensor_type") and kind.tensor_type.HasField("shape")):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.tensor_type.shape.dim)


def _better(declared: Any, inferred: Any) -> Any:
    """The declared type, with its open sizes as inferred; the one with fewer open sizes if they differ in rank."""
    if declared is None or inferred is None:
        return inferred if declared is None else declared
    stated, found = _shape(declared), _shape(inferred)
    if stated is None or found is None:
        return inferred if stated is None else declared
    if not stated and found:
        return inferred  # some tools write an empty shape for one that they do not know
    if len(stated) != len(found):
        return inferred if stated[1:].count(None) > found[1:].count(None) else declared
    merged = tuple(size if size is not None else other for size, other in zip(stated, found, strict=True))
    return _tensor_type(declared.tensor_type.elem_type, merged)
