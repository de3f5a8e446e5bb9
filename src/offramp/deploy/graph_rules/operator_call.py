"""A node as the rule of its operator sees it, and what the rule says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from offramp.deploy.graph_rules.tensor_facts import FLOATS, RefusedGraph, Size, TensorFacts, fixed

AttributeKind = Literal["int", "ints", "float", "tensor", "graph", "string"] | frozenset[str]
"""The type of an attribute; for text, the words that are allowed, or any text that the rule itself checks."""

_MAX_INT = 2**31
_MAX_TEXT = 200


@dataclass(frozen=True, eq=False)
class OperatorCall:
    """A node with what is known of its inputs.

    Attributes:
        operator: Name of the operator.
        inputs: Facts of the inputs; None for those that are left out.
        attributes: Attributes by name, each of the kind that the operator allows.
        num_outputs: The number of outputs.
    """

    operator: str
    inputs: tuple[TensorFacts | None, ...]
    attributes: Mapping[str, Any]
    num_outputs: int

    def tensor(self, index: int) -> TensorFacts:
        """Take an input that must be there.

        Args:
            index: Its position.

        Returns:
            Its facts.

        Raises:
            RefusedGraph: It is left out.
        """
        found = self.optional(index)
        if found is None:
            raise RefusedGraph(f"must have an input {index}")
        return found

    def optional(self, index: int) -> TensorFacts | None:
        """Take an input that may be left out.

        Args:
            index: Its position.

        Returns:
            Its facts, or None.
        """
        return self.inputs[index] if index < len(self.inputs) else None

    def given(self) -> list[TensorFacts]:
        """The inputs that are not left out."""
        return [item for item in self.inputs if item is not None]

    def integer(self, name: str, default: int) -> int:
        """Take a number among the attributes.

        Args:
            name: Its name.
            default: The value if it is not given.

        Returns:
            The number.
        """
        return int(self.attributes.get(name, default))

    def axis(self, default: int, rank: int, name: str = "axis") -> int:
        """Take an axis among the attributes.

        Args:
            default: The axis if none is given.
            rank: The number of axes.
            name: Name of the attribute.

        Returns:
            The axis, from 0.
        """
        return positive_axis(self.integer(name, default), rank)

    def content(self, index: int) -> tuple[Size, ...]:
        """Take the values of an input that must be known, such as a shape.

        Args:
            index: Its position.

        Returns:
            The values.

        Raises:
            RefusedGraph: They are not known before the graph runs.
        """
        found = self.tensor(index).content
        if found is None:
            raise RefusedGraph(f"has no size that can be told beforehand: its input {index} is computed from data")
        return found

    def numbers(self, index: int, name: str | None = None) -> tuple[int, ...] | None:
        """Take a list of fixed numbers that is an input or, in older versions of the operator, an attribute.

        Args:
            index: Position of the input.
            name: Name of the attribute; None where there is none.

        Returns:
            The numbers; None where they are left out.

        Raises:
            RefusedGraph: A number is too large, or is not known before the graph runs.
        """
        if name is not None and name in self.attributes:
            return tuple(self.attributes[name])
        if self.optional(index) is None:
            return None
        return tuple(fixed(size) for size in self.content(index))


def positive_axis(axis: int, rank: int) -> int:
    """Count an axis from the front.

    Args:
        axis: The axis; a negative one counts from the end.
        rank: The number of axes.

    Returns:
        The axis, from 0.

    Raises:
        RefusedGraph: There is no such axis.
    """
    if not -rank <= axis < rank:
        raise RefusedGraph(f"names axis {axis} of a tensor with {rank} axes")
    return axis % rank


@dataclass(frozen=True, eq=False)
class OperatorResult:
    """What a rule says of a node.

    Attributes:
        outputs: Facts of the outputs.
        macs: Multiply-accumulates, or values that pooling windows read, for one sample.
        scratch_bytes: Memory that is needed during the computation only, for one sample.
    """

    outputs: tuple[TensorFacts, ...]
    macs: int = 0
    scratch_bytes: int = 0


@dataclass(frozen=True, eq=False)
class OperatorRule:
    """What a graph may do with an operator.

    Attributes:
        result: Computes what is known of the outputs.
        num_inputs: The fewest and the most inputs.
        max_outputs: The most outputs.
        attributes: The attributes that may be given.
    """

    result: Callable[[OperatorCall], OperatorResult]
    num_inputs: tuple[int, int]
    max_outputs: int = 1
    attributes: Mapping[str, AttributeKind] = field(default_factory=dict)

    def apply(self, node: Any, inputs: tuple[TensorFacts | None, ...]) -> OperatorResult:
        """Check a node and find what is known of its outputs.

        Args:
            node: The ONNX node.
            inputs: Facts of its inputs; None for those that are left out.

        Returns:
            What is known.

        Raises:
            RefusedGraph: The node is not as the rule allows.
        """
        fewest, most = self.num_inputs
        if not fewest <= len(inputs) <= most or not 1 <= len(node.output) <= self.max_outputs:
            raise RefusedGraph(
                f"must have {fewest} to {most} inputs and 1 to {self.max_outputs} outputs, "
                f"but it has {len(inputs)} and {len(node.output)}"
            )
        call = OperatorCall(node.op_type, inputs, self._attributes(node), len(node.output))
        try:
            result = self.result(call)
        # A rule reads what a file says: where that is so odd that its arithmetic fails, the node is refused.
        except (ArithmeticError, LookupError, TypeError, ValueError) as exc:
            raise RefusedGraph(f"is not as the operator demands ({exc})") from exc
        if len(result.outputs) < len(node.output):
            raise RefusedGraph(f"must have {len(result.outputs)} outputs, but it has {len(node.output)}")
        return result

    def _attributes(self, node: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for attribute in node.attribute:
            kind = self.attributes.get(attribute.name)
            if kind is None or attribute.name in found or attribute.ref_attr_name:
                raise RefusedGraph(f"has the attribute {attribute.name[:100]!r}, which it must not have, or not twice")
            found[attribute.name] = _value(attribute, kind)
        return found


def _value(attribute: Any, kind: AttributeKind) -> Any:
    if isinstance(kind, frozenset):
        word = attribute.s.decode("utf-8", "replace")
        if attribute.type != type(attribute).STRING or word not in kind:
            raise RefusedGraph(f"has the attribute {attribute.name} {word[:100]!r}, which is not one of {sorted(kind)}")
        return word
    if attribute.type != getattr(type(attribute), kind.upper()):
        raise RefusedGraph(f"has the attribute {attribute.name} of another type than {kind}")
    if kind == "string":
        return attribute.s[:_MAX_TEXT].decode("utf-8", "replace")
    if kind == "int":
        numbers, value = [attribute.i], attribute.i
    elif kind == "ints":
        numbers = value = list(attribute.ints)
    elif kind == "float":
        numbers, value = [attribute.f], attribute.f
    else:
        return attribute.t if kind == "tensor" else attribute.g
    # Put this way round so that NaN is refused.
    if len(numbers) > 2 * 8 or not all(abs(number) <= _MAX_INT for number in numbers):
        raise RefusedGraph(f"has the attribute {attribute.name} with numbers out of range")
    return value


def same_type(call: OperatorCall) -> int:
    """Find the element type that all inputs of a node must share.

    Args:
        call: The node.

    Returns:
        The type.

    Raises:
        RefusedGraph: They have different types.
    """
    elements = {item.element for item in call.given()}
    if len(elements) != 1:
        raise RefusedGraph(f"is not a graph whose types fit together: it has the element types {sorted(elements)}")
    return elements.pop()


def float_type(tensor: TensorFacts) -> int:
    """Find the element type of a tensor of floating-point numbers.

    Args:
        tensor: The tensor.

    Returns:
        The type.

    Raises:
        RefusedGraph: It holds other values.
    """
    if tensor.element not in FLOATS:
        raise RefusedGraph(f"needs floating-point numbers, got the element type {tensor.element}")
    return tensor.element
