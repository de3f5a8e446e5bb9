"""The arithmetic of exit rules as nodes of an ONNX graph."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from offramp.deploy.onnx.value_names import CONFIDENCE, EXIT, LOGITS, exit_name
from offramp.exits.confidence_measures import Measure
from offramp.exits.rule_arithmetic import Value


def answer_outputs(prefix: str, num_classes: int) -> list[Any]:
    """Describe what a graph gives for the sample that it was run on.

    Args:
        prefix: Prefix of the names; the graph itself has none.
        num_classes: Number of classes.

    Returns:
        The value infos of the logits (1, classes), the exit (1,) and the confidence (1,).
    """
    from onnx import TensorProto, helper

    return [
        helper.make_tensor_value_info(prefix + LOGITS, TensorProto.FLOAT, [1, num_classes]),
        helper.make_tensor_value_info(prefix + EXIT, TensorProto.INT64, [1]),
        helper.make_tensor_value_info(prefix + CONFIDENCE, TensorProto.DOUBLE, [1]),
    ]


class GraphBuilder:
    """Collects the nodes and constants of one graph or subgraph, under names that start with a prefix.

    Attributes:
        nodes: The nodes, in the order in which they are computed.
        initializers: The constants.
    """

    def __init__(self, prefix: str) -> None:
        """Begin without nodes.

        Args:
            prefix: What the names of all nodes and values start with.
        """
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._prefix = prefix

    def graph(self, name: str, results: str, num_classes: int) -> Any:
        """Make a subgraph; it sees the values of the graphs around it.

        Args:
            name: The name of the graph.
            results: Prefix of its outputs, see `answer_outputs`.
            num_classes: Number of classes.

        Returns:
            The ONNX graph.
        """
        from onnx import helper

        return helper.make_graph(self.nodes, name, [], answer_outputs(results, num_classes), self.initializers)

    def constant(self, value: Any) -> str:
        """Add a constant.

        Args:
            value: A number or an array.

        Returns:
            The name of its value.
        """
        from onnx import numpy_helper

        name = f"{self._prefix}constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], *, output: str | None = None, **attributes: int) -> str:
        """Add a node with one result.

        Args:
            operator: The ONNX operator.
            inputs: Names of its inputs.
            output: Name of the result; None for a name that is made up.
            **attributes: Attributes of the node, for onnx.

        Returns:
            The name of the result.
        """
        from onnx import helper

        name = f"{self._prefix}{operator}_{len(self.nodes)}"
        result = output or name
        self.nodes.append(helper.make_node(operator, inputs, [result], name=name, **attributes))
        return result

    def leave(self, prefix: str, exit_index: int, confidence: str) -> None:
        """Add the outputs of a sample that leaves.

        Args:
            prefix: Prefix of the outputs, see `answer_outputs`.
            exit_index: Index of the exit.
            confidence: Name of its confidence.
        """
        self.add("Identity", [exit_name(exit_index)], output=prefix + LOGITS)
        self.add("Identity", [self.constant(np.array([exit_index], dtype=np.int64))], output=prefix + EXIT)
        self.add("Identity", [confidence], output=prefix + CONFIDENCE)

    def largest_two(self, values: str) -> str:
        """Add the two largest values of the last axis.

        Args:
            values: Name of the values.

        Returns:
            The name of the two, the larger first.
        """
        from onnx import helper

        largest, indices = f"{self._prefix}top_values", f"{self._prefix}top_indices"
        two = self.constant(np.array([2]))
        self.nodes.append(
            helper.make_node("TopK", [values, two], [largest, indices], name=f"{self._prefix}TopK", axis=-1, sorted=1)
        )
        return largest


class GraphValue:
    """A value of a graph; operators on it add nodes.

    Attributes:
        name: The name of the value.
    """

    def __init__(self, name: str, builder: GraphBuilder) -> None:
        """Refer to a value.

        Args:
            name: The name of the value, of this graph or of one around it.
            builder: The graph that operators add nodes to.
        """
        self.name = name
        self._builder = builder

    def __add__(self, other: "GraphValue | float") -> "GraphValue":
        return self._node("Add", self, other)

    def __radd__(self, other: float) -> "GraphValue":
        return self._node("Add", other, self)

    def __sub__(self, other: "GraphValue | float") -> "GraphValue":
        return self._node("Sub", self, other)

    def __rsub__(self, other: float) -> "GraphValue":
        return self._node("Sub", other, self)

    def __mul__(self, other: "GraphValue | float") -> "GraphValue":
        return self._node("Mul", self, other)

    def __rmul__(self, other: float) -> "GraphValue":
        return self._node("Mul", other, self)

    def __truediv__(self, other: float) -> "GraphValue":
        return self._node("Div", self, other)

    def _node(self, operator: str, *operands: "GraphValue | float") -> "GraphValue":
        return GraphValue(self._builder.add(operator, names_of(operands, self._builder)), self._builder)


def names_of(values: Sequence["GraphValue | float"], builder: GraphBuilder) -> list[str]:
    """Name operands; numbers become constants.

    Args:
        values: Values of a graph, or numbers.
        builder: The graph that constants are added to.

    Returns:
        One name per operand.
    """
    return [value.name if isinstance(value, GraphValue) else builder.constant(float(value)) for value in values]


class GraphArithmetic:
    """`offramp.exits.rule_arithmetic.Arithmetic` that adds nodes to a graph for one sample, in float64."""

    def __init__(self, builder: GraphBuilder, num_classes: int) -> None:
        """Add to a graph.

        Args:
            builder: The graph.
            num_classes: Number of classes.
        """
        self._builder = builder
        self._num_classes = num_classes
        # A rule and the confidence that is reported may need the same: it is computed once.
        self._computed: dict[tuple[object, ...], Value] = {}

    def value(self, name: str) -> GraphValue:
        """Refer to a value of this graph or of one around it.

        Args:
            name: Its name.

        Returns:
            The value; operators on it add nodes to this graph.
        """
        return GraphValue(name, self._builder)

    def state(self, values: Sequence[Value]) -> tuple[GraphValue, ...]:
        """Take over the state of a rule from the graph around this one.

        Args:
            values: Values of that graph.

        Returns:
            The same values; operators on them add nodes to this graph.
        """
        return tuple(self.value(item.name) for item in values)

    def confidence(self, logits: Value, measure: Measure, temperature: float) -> Value:
        """See `Arithmetic.confidence`; the formulas of `offramp.exits.confidence_measures`."""
        key = ("confidence", logits.name, measure, temperature)
        if key not in self._computed:
            self._computed[key] = self.value(self._confidence(self.probabilities(logits, temperature).name, measure))
        return self._computed[key]

    def _confidence(self, p: str, measure: Measure) -> str:
        build = self._builder
        last_axis = build.constant(np.array([-1]))
        if measure == "max_probability" or self._num_classes == 1:
            return build.add("ReduceMax", [p, last_axis], keepdims=0)
        if measure == "entropy":
            floored = build.add("Max", [p, build.constant(1e-300)])
            plogp = build.add("Mul", [p, build.add("Log", [floored])])
            total = build.add("ReduceSum", [plogp, last_axis], keepdims=0)
            share = build.add("Div", [total, build.constant(math.log(self._num_classes))])
            sure = build.add("Add", [share, build.constant(1.0)])
            return build.add("Clip", [sure, build.constant(0.0), build.constant(1.0)])
        # The larger less the smaller one: a sum with weights 1 and -1.
        signed = build.add("Mul", [build.largest_two(p), build.constant(np.array([1.0, -1.0]))])
        return build.add("ReduceSum", [signed, last_axis], keepdims=0)

    def probabilities(self, logits: Value, temperature: float) -> Value:
        """See `Arithmetic.probabilities`."""
        from onnx import TensorProto

        key = ("probabilities", logits.name, temperature)
        if key not in self._computed:
            wide = self._builder.add("Cast", [logits.name], to=TensorProto.DOUBLE)
            if temperature != 1.0:
                wide = self._builder.add("Div", [wide, self._builder.constant(temperature)])
            self._computed[key] = self.value(self._builder.add("Softmax", [wide], axis=-1))
        return self._computed[key]

    def largest(self, values: Value) -> Value:
        """See `Arithmetic.largest`."""
        axis = self._builder.constant(np.array([-1]))
        return self.value(self._builder.add("ReduceMax", [values.name, axis], keepdims=0))

    def predicted_class(self, logits: Value) -> Value:
        """See `Arithmetic.predicted_class`."""
        return self.value(self._builder.add("ArgMax", [logits.name], axis=-1, keepdims=0))

    def of_class(self, numbers: Sequence[float], classes: Value) -> Value:
        """See `Arithmetic.of_class`."""
        table = self._builder.constant(np.asarray(numbers, dtype=np.float64))
        return self.value(self._builder.add("Gather", [table, classes.name], axis=0))

    def equal(self, first: Value, second: Value) -> Value:
        """See `Arithmetic.equal`."""
        return self.value(self._builder.add("Equal", [first.name, second.name]))

    def where(self, condition: Value, if_true: Value | float, if_false: Value | float) -> Value:
        """See `Arithmetic.where`."""
        return self.value(self._builder.add("Where", names_of([condition, if_true, if_false], self._builder)))

    def constant(self, number: float, like: Value) -> Value:
        """See `Arithmetic.constant`."""
        return self.value(self._builder.constant(np.array([float(number)])))
