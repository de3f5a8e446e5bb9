"""The nodes of an ONNX file as plain values."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class OnnxNode:
    """One operator.

    Attributes:
        name: Unique name.
        op: Operator type, with its domain if it is not a standard one.
        inputs: Names of the input tensors; empty for an optional input that is left out.
        outputs: Names of the output tensors.
        attributes: Numbers, strings and lists of them, by name.
        captured: Names of the tensors that its subgraphs (the branches of an `If`, the body of a `Loop`) read from the
            graph around them.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    captured: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of all tensors that the node reads, each once: its inputs, then what its subgraphs capture."""
        return tuple(dict.fromkeys(name for name in (*self.inputs, *self.captured) if name))

    def integer(self, name: str, default: int) -> int:
        """Read an integer attribute.

        Args:
            name: Name of the attribute.
            default: Value if there is no such integer.

        Returns:
            The value.
        """
        value = self.attributes.get(name)
        return value if isinstance(value, int) else default

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Read an attribute with a list of integers.

        Args:
            name: Name of the attribute.
            default: Values if there is no such list.

        Returns:
            The values.
        """
        value = self.attributes.get(name)
        return tuple(int(item) for item in value) if isinstance(value, list | tuple) else default


def read_nodes(graph: Any) -> list[OnnxNode]:
    """Read the nodes of an ONNX graph.

    Args:
        graph: ONNX graph.

    Returns:
        Its nodes, in the order of the file, with unique names.
    """
    seen = {"input"}  # the name of the graph's input in a workload
    nodes = []
    for index, node in enumerate(graph.node):
        name = base = node.name or f"{node.op_type}_{index}"
        copy = 1
        while name in seen:
            name, copy = f"{base}#{copy}", copy + 1
        seen.add(name)
        op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        # Of the second input of a cast, only the type is read.
        inputs = tuple(node.input[:1] if op == "CastLike" else node.input)
        nodes.append(OnnxNode(name, op, inputs, tuple(node.output), _attributes(node), _captured(node)))
    return nodes


def _captured(node: Any) -> tuple[str, ...]:
    """Names that the subgraphs of a node read and do not define, in order."""
    names: dict[str, None] = {}
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            inside = {item.name for item in (*graph.input, *graph.initializer)}
            inside |= {tensor.values.name for tensor in graph.sparse_initializer}
            inside |= {output for inner in graph.node for output in inner.output}
            read = [name for inner in graph.node for name in (*inner.input, *_captured(inner))]
            read += [item.name for item in graph.output]
            names |= dict.fromkeys(name for name in read if name and name not in inside)
    return tuple(names)


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    plain = {onnx.AttributeProto.INT, onnx.AttributeProto.INTS, onnx.AttributeProto.FLOAT, onnx.AttributeProto.STRING}
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type in plain:
            value = onnx.helper.get_attribute_value(attribute)
            attributes[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return attributes
