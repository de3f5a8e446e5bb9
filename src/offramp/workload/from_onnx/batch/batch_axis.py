"""Where the samples of a batch lie in each tensor of a graph."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from offramp.workload.from_onnx.batch.kept_axes import combined_axes
from offramp.workload.from_onnx.constant_folding import constant_tensor
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.operator_equivalents import EQUIVALENTS
from offramp.workload.from_onnx.shape_propagation import Shape, TensorFacts

Sizes = tuple[int, ...]


class CombinesSamples(Exception):  # noqa: N818 - tells that an axis is no batch axis
    """Names a node that combines entries of the axis, or treats them differently."""


class LosesBatch(Exception):  # noqa: N818 - becomes a clause of a WorkloadError
    """Names a node of which it is not known what it does to the batch axis."""


@dataclass(frozen=True)
class BatchAxis:
    """The place of the samples in a tensor.

    Attributes:
        axis: The axis along which they lie.
        inner: Number of entries of the axis that follow each other within one sample.
    """

    axis: int
    inner: int = 1


@dataclass
class BatchAxes:
    """The batch axes of the tensors of a graph.

    Attributes:
        nodes: Nodes in topological order.
        facts: Shapes and small constants at the batch size of the file.
        constants: Tensors of the file by name.
        batch: Batch size of the file, above 1.
    """

    nodes: Sequence[OnnxNode]
    facts: TensorFacts
    constants: Mapping[str, Any]
    batch: int
    _axes: dict[str, BatchAxis] = field(default_factory=dict)
    _constants: dict[str, BatchAxis] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)
    _producers: dict[str, OnnxNode] = field(default_factory=dict)

    def divided(self, source: str, axis: int) -> dict[str, Shape]:
        """Follow an axis of the input and take one of its entries.

        Args:
            source: Name of the graph's input.
            axis: The axis that may hold the batch.

        Returns:
            Shapes by tensor name for one sample; tensors whose batch axis is unknown have no shape.

        Raises:
            CombinesSamples: A node combines entries of the axis.
            LosesBatch: It is not known what a node does to the axis.
        """
        self._axes[source] = BatchAxis(axis)
        self._producers = {name: node for node in self.nodes for name in node.outputs if name}
        for node in self.nodes:
            if node.op in ("Shape", "Size"):
                continue
            if any(name in self._lost for name in node.reads):
                self._lost.update(filter(None, node.outputs))
            elif any(name in self._axes for name in node.reads):
                self._follow(node)
        shapes = {name: shape for name, shape in self.facts.shapes.items() if name not in self._lost}
        for name, place in (self._constants | self._axes).items():
            shape = shapes[name]
            size = shape[place.axis]
            shapes[name] = (*shape[: place.axis], (size or 0) // self.batch, *shape[place.axis + 1 :])
        return shapes

    def _follow(self, node: OnnxNode) -> None:
        standard = EQUIVALENTS.get(node.op)
        op = node.op if standard is None else standard.op
        names = node.reads if standard is None else tuple(filter(None, standard.inputs(node.inputs)))
        rule = _RULES.get(op, _kept)
        for position, output in enumerate(node.outputs):
            if not output or (op == "DynamicQuantizeLinear" and position):
                continue
            result = self.sizes(output)
            if result is None or any(self.sizes(name) is None for name in names if name in self._axes):
                self._lost.add(output)
                continue
            place = rule(self, _Step(node, op, names, result, position))
            size = result[place.axis]
            if size % (self.batch * place.inner):
                raise CombinesSamples(f"{node.name} ({node.op})")
            self._axes[output] = place

    def sizes(self, name: str) -> Sizes | None:
        """Find the shape of a tensor at the batch size of the file; None unless all sizes are known."""
        shape = self.facts.shapes.get(name)
        known = tuple(size for size in shape or () if size is not None)
        return known if shape is not None and len(known) == len(shape) else None

    def place(self, name: str) -> BatchAxis | None:
        """Find the batch axis of a tensor; None if it does not depend on the input."""
        return self._axes.get(name)

    def take_constant(self, name: str, axis: int, step: "_Step", inner: int) -> None:
        """Check that a constant with an entry per sample treats all samples alike, and divide it, too.

        Args:
            name: Name of the constant.
            axis: Its axis that meets the batch axis.
            step: The node that reads it.
            inner: Number of entries of the axis within one sample.

        Raises:
            CombinesSamples: Its entries differ.
            LosesBatch: Its content is not known.
        """
        sizes = self.sizes(name)
        if sizes is None or axis < 0 or sizes[axis] == 1:
            return
        same = self._repeats(name, axis, inner)
        if same is None:
            raise LosesBatch(f"{step.node.name} ({step.node.op}), since the content of '{name}' is not known")
        if not same:
            raise CombinesSamples(f"{step.node.name} ({step.node.op})")
        self._constants.setdefault(name, BatchAxis(axis, inner))

    def _repeats(self, name: str, axis: int, inner: int) -> bool | None:
        """Whether a constant is the same for all samples; None if its content is not known."""
        sizes = self.sizes(name) or ()
        value = self.facts.values.get(name)
        if value is None and name in self.constants:
            value = constant_tensor(self.constants[name], max_values=None)
        if value is not None and value.shape == sizes and sizes[axis] % (self.batch * inner) == 0:
            rows = value.reshape(*sizes[:axis], -1, self.batch, inner, *sizes[axis + 1 :])
            return bool(np.all(rows == np.take(rows, [0], axis + 1)))
        node = self._producers.get(name)
        if node is None:
            return None
        before = self.sizes(node.inputs[0]) if node.inputs else None
        if node.op == "ConstantOfShape":
            return True
        if node.op == "Expand" and before is not None:
            own = axis - len(sizes) + len(before)
            return True if own < 0 or before[own] == 1 else self._repeats(node.inputs[0], own, inner)
        return self._repeats(node.inputs[0], axis, inner) if before == sizes and len(node.reads) == 1 else None


@dataclass(frozen=True)
class _Step:
    """One output of a node, with the standard operator of the node and its operands.

    Attributes:
        node: The node.
        op: The standard operator.
        names: Names of the operands.
        result: Shape of the output.
        position: Position of the output.
    """

    node: OnnxNode
    op: str
    names: tuple[str, ...]
    result: Sizes
    position: int

    @property
    def combines(self) -> CombinesSamples:
        """The error that this node combines samples."""
        return CombinesSamples(f"{self.node.name} ({self.node.op})")

    @property
    def unknown(self) -> LosesBatch:
        """The error that the rule of this node is not known."""
        return LosesBatch(f"{self.node.name} ({self.node.op})")


def _operand(axes: BatchAxes, step: _Step, position: int = 0) -> tuple[BatchAxis, Sizes]:
    """Batch axis and shape of the operand that carries the batch; it must be the one at ``position``."""
    name = step.names[position] if position < len(step.names) else ""
    place, sizes = axes.place(name), axes.sizes(name)
    if place is None or sizes is None or any(axes.place(other) for other in step.names if other != name):
        raise step.unknown
    return place, sizes


def _view(axes: BatchAxes, step: _Step) -> BatchAxis:
    """The values keep their order: the distance between samples decides where they lie."""
    place, sizes = _operand(axes, step)
    distance = place.inner * math.prod(sizes[place.axis + 1 :])
    for axis, size in enumerate(step.result):
        below = math.prod(step.result[axis + 1 :])
        if distance % below == 0 and size % (distance // below * axes.batch) == 0:
            return BatchAxis(axis, distance // below)
    raise step.combines


def _transposed(axes: BatchAxes, step: _Step) -> BatchAxis:
    place, sizes = _operand(axes, step)
    order = step.node.integers("perm", tuple(reversed(range(len(sizes)))))
    return BatchAxis(order.index(place.axis), place.inner)


def _aligned(axes: BatchAxes, step: _Step, shifts: Mapping[str, int] | None = None) -> BatchAxis:
    """Operands are aligned at the last axis, or by ``shifts``; all that carry the batch do so on one axis."""
    found: set[BatchAxis] = set()
    for name in dict.fromkeys(step.names):
        place, sizes = axes.place(name), axes.sizes(name)
        if place is None or sizes is None:
            continue
        shift = len(step.result) - len(sizes) if shifts is None else shifts[name]
        if step.result[place.axis + shift] != sizes[place.axis]:
            raise step.combines
        found.add(BatchAxis(place.axis + shift, place.inner))
    if len(found) != 1:
        raise step.combines
    (place,) = found
    for name in dict.fromkeys(step.names):
        sizes = axes.sizes(name)
        if axes.place(name) is None and sizes is not None:
            shift = len(step.result) - len(sizes) if shifts is None else shifts[name]
            if place.axis - shift < len(sizes):
                axes.take_constant(name, place.axis - shift, step, place.inner)
    return place


def _expanded(axes: BatchAxes, step: _Step) -> BatchAxis:
    place, sizes = _operand(axes, step)
    axis = place.axis + len(step.result) - len(sizes)
    if step.result[axis] != sizes[place.axis]:
        raise step.combines
    return BatchAxis(axis, place.inner)


def _joined(axes: BatchAxes, step: _Step) -> BatchAxis:
    place = _aligned(axes, step)
    if place.axis == step.node.integer("axis", 0) % len(step.result):
        raise step.combines
    return place


def _product(axes: BatchAxes, step: _Step) -> BatchAxis:
    """Matrices: the inner axes are summed over, the leading ones are aligned."""
    left, right = step.names[:2]
    summed = {left: -1, right: -2}
    for name in (left, right):
        place, sizes = axes.place(name), axes.sizes(name)
        if place is not None and sizes is not None and place.axis == max(len(sizes) + summed[name], 0):
            raise step.combines
    rank = max(len(axes.sizes(name) or ()) for name in (left, right))
    if len(step.result) != rank:
        raise step.unknown
    for name, other, own in ((left, right, -2), (right, left, -1)):
        place = axes.place(name)
        if place is not None and place.axis == len(axes.sizes(name) or ()) + own:
            if axes.place(other) is not None:
                raise step.combines
            return BatchAxis(rank + own, place.inner)
    return _aligned(axes, _Step(step.node, step.op, (left, right), step.result, step.position))


def _dense(axes: BatchAxes, step: _Step) -> BatchAxis:
    place, _ = _operand(axes, _Step(step.node, step.op, step.names[:1], step.result, step.position))
    if place.axis != step.node.integer("transA", 0) or any(axes.place(name) for name in step.names[1:2]):
        raise step.combines
    row = BatchAxis(0, place.inner)
    for name in step.names[2:]:
        own = axes.place(name)
        sizes = axes.sizes(name) or ()
        if own is not None and own != row:
            raise step.combines
        if own is None and len(sizes) == 2:
            axes.take_constant(name, 0, step, place.inner)
    return row


def _scattered(axes: BatchAxes, step: _Step) -> BatchAxis:
    """The result has the shape of the first operand; updates lie at the same axis."""
    places = {axes.place(name) for name in (step.names[0], step.names[-1])} - {None}
    place = places.pop() if len(places) == 1 else None
    if place is None:
        raise step.unknown
    for name in (step.names[0], step.names[-1]):
        sizes = axes.sizes(name)
        if sizes is None or place.axis >= len(sizes) or sizes[place.axis] != step.result[place.axis]:
            raise step.combines
        if axes.place(name) is None:
            axes.take_constant(name, place.axis, step, place.inner)
    if step.op != "ScatterND" and place.axis == step.node.integer("axis", 0) % len(step.result):
        raise step.combines
    return place


def _gathered(axes: BatchAxes, step: _Step) -> BatchAxis:
    """Entries along one axis, in whose place the axes of the indices come."""
    table, indices = (axes.sizes(name) for name in step.names[:2])
    place = axes.place(step.names[0])
    if table is None or indices is None:
        raise step.unknown
    axis = step.node.integer("axis", 0) % len(table)
    if place is None:
        place = axes.place(step.names[1])
        if place is None:
            raise step.unknown
        return BatchAxis(place.axis + axis, place.inner)
    if axes.place(step.names[1]) is not None or place.axis == axis:
        raise step.combines
    return BatchAxis(place.axis + (len(indices) - 1 if place.axis > axis else 0), place.inner)


def _reduced(axes: BatchAxes, step: _Step) -> BatchAxis:
    place, sizes = _operand(axes, step)
    rank = len(sizes)
    if step.op in ("ArgMax", "ArgMin"):
        given: tuple[int, ...] = (step.node.integer("axis", 0),)
    else:
        given = step.node.integers("axes")
        if not given and len(step.names) > 1:
            value = axes.facts.values.get(step.names[1])
            if value is None:
                raise step.unknown
            given = tuple(int(axis) for axis in value.reshape(-1))
    reduced = {axis % rank for axis in given}
    if not reduced and not step.node.integer("noop_with_empty_axes", 0):
        reduced = set(range(rank))
    if place.axis in reduced:
        raise step.combines
    kept = step.node.integer("keepdims", 1) != 0
    return BatchAxis(place.axis if kept else place.axis - sum(axis < place.axis for axis in reduced), place.inner)


def _recurrent(axes: BatchAxes, step: _Step) -> BatchAxis:
    """Sequences (time, batch, features), or batch first with layout 1; states have the directions first."""
    place = axes.place(step.names[0])
    batch_first = step.node.integer("layout", 0)
    if place != BatchAxis(0 if batch_first else 1):
        raise step.combines
    return BatchAxis(0 if batch_first else (2 if step.position == 0 else 1))


def _summed(axes: BatchAxes, step: _Step) -> BatchAxis:
    """Einstein notation: a letter that the result keeps is not summed over."""
    terms, _, result = str(step.node.attributes.get("equation", "")).replace(" ", "").partition("->")
    letters = set()
    inner = 1
    for name, term in zip(step.names, terms.split(","), strict=False):
        place = axes.place(name)
        if place is not None and "." not in term and place.axis < len(term):
            letters.add(term[place.axis])
            inner = place.inner
    if len(letters) != 1 or "." in result or not result:
        raise step.unknown
    (letter,) = letters
    if letter not in result:
        raise step.combines
    for name, term in zip(step.names, terms.split(","), strict=False):
        if axes.place(name) is None and letter in term:
            axes.take_constant(name, term.index(letter), step, inner)
    return BatchAxis(result.index(letter), inner)


def _kept(axes: BatchAxes, step: _Step) -> BatchAxis:
    """The axes stay where they are; the node must not combine entries of the batch axis."""
    first = next(name for name in step.names if axes.place(name) is not None)
    place, sizes = axes.place(first), axes.sizes(first)
    others = {axes.place(name) for name in step.names if axes.place(name) is not None}
    if place is None or sizes is None or len(others) > 1 or len(step.result) != len(sizes):
        raise step.unknown
    blocked = combined_axes(step.node, step.op, len(sizes), axes.facts.values)
    if place.axis in blocked or step.result[place.axis] != sizes[place.axis]:
        raise step.combines
    return place


_Rule = Callable[[BatchAxes, _Step], BatchAxis]
_ELEMENTWISE = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where", "PRelu", "BitShift"),
    *("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "And", "Or", "Xor"),
)
_REDUCTIONS = (
    *("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum"),
    *("ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin"),
)
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _view),
    **dict.fromkeys(_ELEMENTWISE, _aligned),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("ScatterND", "ScatterElements", "Scatter"), _scattered),
    "Transpose": _transposed,
    "Expand": _expanded,
    "Concat": _joined,
    "MatMul": _product,
    "Gemm": _dense,
    "Gather": _gathered,
    "Einsum": _summed,
}
"""Where the samples lie in the result, by operator; `_kept` for all others."""
