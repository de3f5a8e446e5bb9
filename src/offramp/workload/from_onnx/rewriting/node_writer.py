"""Nodes written in place of one node of a graph."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.shape_propagation import Shape
from offramp.workload.from_onnx.tensor_sizes import UnknownShape


@dataclass
class NodeWriter:
    """Writes nodes in place of one node; the last one writes the node's own output.

    Attributes:
        node: The node to replace.
        graph: Its graph.
        active: The node that computes each tensor that depends on the graph's input, apart from free nodes after it.
        nodes: The nodes written so far.
        shapes: Shapes of the tensors that they write.
    """

    node: OnnxNode
    graph: OnnxGraph
    active: dict[str, str]
    nodes: list[OnnxNode] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def write(self, op: str, inputs: Iterable[str], shape: Shape | None, label: str = "", **attributes: Any) -> str:
        """Write a node whose result is a tensor inside the replaced node.

        Args:
            op: Operator.
            inputs: Names of its inputs.
            shape: Shape of its result; None if it is not known.
            label: What is added to the name of the replaced node; empty for the operator and a number.
            attributes: Attributes of the operator.

        Returns:
            Name of the result.
        """
        return self._write(
            f"{self.node.name}/{label or f'{op.lower()}_{len(self.nodes)}'}", op, inputs, shape, attributes
        )

    def write_main(self, op: str, inputs: Iterable[str], shape: Shape | None, **attributes: Any) -> str:
        """Write the node that takes the name of the replaced node, although others follow it.

        Args:
            op: Operator.
            inputs: Names of its inputs.
            shape: Shape of its result; None if it is not known.
            attributes: Attributes of the operator.

        Returns:
            Name of the result.
        """
        return self._write(self.node.name, op, inputs, shape, attributes)

    def _write(self, name: str, op: str, inputs: Iterable[str], shape: Shape | None, attributes: dict[str, Any]) -> str:
        result = f"{self.node.name}/result_{len(self.nodes)}"
        self.nodes.append(OnnxNode(name, op, tuple(inputs), (result,), attributes))
        if shape is not None:
            self.shapes[result] = shape
        return result

    def finish(self, op: str, inputs: Iterable[str], position: int = 0, label: str = "", **attributes: Any) -> None:
        """Write the node that computes an output of the replaced node.

        Args:
            op: Operator.
            inputs: Names of its inputs.
            position: Position among the outputs.
            label: What is added to the name of the replaced node; empty: its own name for the first output.
            attributes: Attributes of the operator.
        """
        label = label or (f"output_{position}" if position else "")
        name = f"{self.node.name}/{label}" if label else self.node.name
        outputs = self.node.outputs[position : position + 1]
        self.nodes.append(OnnxNode(name, op, tuple(inputs), outputs, attributes))

    def writes(self, position: int) -> bool:
        """Check whether an output of the replaced node has a name, so that it must be written.

        Args:
            position: Position among the outputs.

        Returns:
            Whether it has one.
        """
        return position < len(self.node.outputs) and bool(self.node.outputs[position])

    def constant(self, shape: Shape) -> str:
        """Name a constant, such as a part of the weights.

        Args:
            shape: Its shape.

        Returns:
            Its name.
        """
        name = f"{self.node.name}/constant_{len(self.shapes)}"
        self.shapes[name] = shape
        return name

    def known(self, name: str) -> tuple[int, ...]:
        """Find the shape of a tensor all of whose sizes are known.

        Args:
            name: Name of the tensor.

        Returns:
            The shape.

        Raises:
            UnknownShape: A size is not known.
        """
        shape = self.shape(name)
        sizes = tuple(size for size in shape or () if size is not None)
        if shape is None or len(sizes) != len(shape):
            raise UnknownShape(name)
        return sizes

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
            self.active[result] = self.active[name]
        return result


RewriteRule = Callable[[NodeWriter], bool]
"""Writes what replaces a node; False if the node stays as it is."""
