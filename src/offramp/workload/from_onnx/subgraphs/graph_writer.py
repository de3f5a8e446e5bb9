"""Copies of the nodes of a subgraph in the graph around it."""

from collections.abc import Iterable, Mapping
from typing import Any


def subgraphs_of(node: Any) -> list[Any]:
    """Find the subgraphs of a node.

    Args:
        node: ONNX node.

    Returns:
        The graphs among its attributes.
    """
    return [
        graph
        for attribute in node.attribute
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
    ]


class GraphWriter:
    """Writes the nodes of subgraphs into the graph around them, under names that are not taken.

    Args:
        graph: The ONNX graph to change.

    Attributes:
        graph: The ONNX graph.
    """

    def __init__(self, graph: Any) -> None:
        """Collect the names that are taken.

        Args:
            graph: The ONNX graph to change.
        """
        self.graph = graph
        self._taken = {item.name for item in (*graph.input, *graph.output, *graph.initializer)}
        self._taken |= {name for node in graph.node for name in (*node.input, *node.output)}

    def constants(self, subgraph: Any, label: str) -> dict[str, str]:
        """Copy the constants of a subgraph.

        Args:
            subgraph: ONNX graph.
            label: What is put before a name that is taken.

        Returns:
            The new names.
        """
        names: dict[str, str] = {}
        for tensor in subgraph.initializer:
            names[tensor.name] = self.free(tensor.name, label)
            copy = self.graph.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = names[tensor.name]
        for sparse in subgraph.sparse_initializer:
            names[sparse.values.name] = self.free(sparse.values.name, label)
            copied = self.graph.sparse_initializer.add()
            copied.CopyFrom(sparse)
            copied.values.name = names[sparse.values.name]
        return names

    def nodes(self, subgraph: Any, label: str, names: Mapping[str, str]) -> tuple[list[Any], dict[str, str]]:
        """Copy the nodes of a subgraph, and the shapes that it states.

        Args:
            subgraph: ONNX graph.
            label: What is put before a name that is taken.
            names: New names of its inputs and constants.

        Returns:
            The copies, and the new names of all its tensors.
        """
        made = dict(names)
        for node in subgraph.node:
            made |= {name: self.free(name, label) for name in node.output if name}
        for item in subgraph.value_info:
            if item.name in made:
                copy = self.graph.value_info.add()
                copy.CopyFrom(item)
                copy.name = made[item.name]
        return [_renamed(node, made) for node in subgraph.node], made

    def free(self, name: str, label: str) -> str:
        """Find a name that is not taken, and take it.

        Args:
            name: The name that is wanted.
            label: What is put before it if it is taken.

        Returns:
            The name.
        """
        found, number = name, 1
        while found in self._taken:
            found = f"{label}/{name}" if number == 1 else f"{label}/{name}#{number}"
            number += 1
        self._taken.add(found)
        return found

    def replace(self, node: Any, nodes: Iterable[Any]) -> None:
        """Put nodes in place of one node.

        Args:
            node: A node of the graph.
            nodes: The nodes that take its place.
        """
        kept = [copy for other in self.graph.node for copy in (nodes if other is node else [other])]
        copies = [type(node).FromString(item.SerializeToString()) for item in kept]
        del self.graph.node[:]
        self.graph.node.extend(copies)


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    for graph in subgraphs_of(copy):
        inside = {item.name for item in (*graph.input, *graph.initializer)}
        inside |= {name for inner in graph.node for name in inner.output}
        outer = {old: new for old, new in names.items() if old not in inside}
        for inner in graph.node:
            inner.CopyFrom(_renamed(inner, outer))
        for item in graph.output:
            item.name = outer.get(item.name, item.name)
    return copy
