"""Nodes written in place of one node of a graph."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.shape_propagation import Shape


@dataclass
class NodeWriter:
    """Writes nodes in place of one node; the last one writes the node's own output.

    Attributes:
        node: The node to replace.
        graph: Its graph.
        active: Names of the tensors that depend on the graph's input.
        nodes: The nodes written so far.
        shapes: Shapes of the tensors that they write.
    """

    node: OnnxNode
    graph: OnnxGraph
    active: set[str]
    nodes: list[OnnxNode] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def write(self, op: str, inputs: Iterable[str], shape: Shape | None, label: str = "", **attributes: Any) -> str:
        """Write a node whose result is a tensor inside the replaced node.

        Args:
            op: Operator.
            inputs: Names of its inputs.
            shape: Shape of its result; None if it is not known.
            label: What is added to the name of the replaced node; empty for the position among the nodes.
            attributes: Attributes of the operator.

        Returns:
            Name of the result.
        """
        name = f"{self.node.name}/{label or f'{op.lower()}_{len(self.nodes)}'}"
        self.nodes.append(OnnxNode(name, op, tuple(inputs), (name,), attributes))
        if shape is not None:
            self.shapes[name] = shape
        return name

    def finish(self, op: str, inputs: Iterable[str], **attributes: Any) -> None:
        """Write the node that computes the first output, under the name of the replaced node.

        Args:
            op: Operator.
            inputs: Names of its inputs.
            attributes: Attributes of the operator.
        """
        self.nodes.append(OnnxNode(self.node.name, op, tuple(inputs), self.node.outputs[:1], attributes))

    def input(self, position: int) -> str:
        """Find an input of the replaced node.

        Args:
            position: Position among its inputs.

        Returns:
            The name; empty if it is left out.
        """
        return self.node.inputs[position] if position < len(self.node.inputs) else ""

    def shape(self, name: str) -> Shape | None:
        """Find the shape of a tensor of the graph or of a written one.

        Args:
            name: Name of the tensor.

        Returns:
            The shape; None if it is not known.
        """
        return self.shapes.get(name, self.graph.shapes.get(name))

    def transposed(self, name: str) -> str:
        """Write a transpose of the last two axes.

        Args:
            name: Name of the tensor.

        Returns:
            Name of the result.
        """
        shape = self.shape(name)
        turned = None if shape is None or len(shape) < 2 else (*shape[:-2], shape[-1], shape[-2])
        result = self.write("Transpose", (name,), turned)
        if name in self.active:
            self.active.add(result)
        return result


RewriteRule = Callable[[NodeWriter], bool]
"""Writes what replaces a node; False if the node stays as it is."""
