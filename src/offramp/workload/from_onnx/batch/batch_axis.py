"""Where the samples of a batch lie in each tensor of a graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from offramp.workload.from_onnx.batch.external_data import read_external
from offramp.workload.from_onnx.batch.kept_axes import ELEMENT_BY_ELEMENT
from offramp.workload.from_onnx.constant_folding import constant_tensor
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.shape_propagation import TensorFacts

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


@dataclass(frozen=True)
class Step:
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


@dataclass
class BatchAxes:
    """The batch axes of the tensors of a graph.

    Attributes:
        nodes: Nodes in topological order.
        facts: Shapes and small constants at the batch size of the file.
        constants: Tensors of the file by name.
        folder: Folder of the file, which may hold contents of its tensors.
        batch: Batch size of the file, above 1.
        found: Batch axes of the tensors so far that depend on the input.
        repeated: Batch axes of constants that hold the same values for each sample.
    """

    nodes: Sequence[OnnxNode]
    facts: TensorFacts
    constants: Mapping[str, Any]
    folder: Path
    batch: int
    found: dict[str, BatchAxis] = field(default_factory=dict)
    repeated: dict[str, BatchAxis] = field(default_factory=dict)
    _producers: dict[str, OnnxNode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._producers = {name: node for node in self.nodes for name in node.outputs if name}

    def sizes(self, name: str) -> Sizes | None:
        """Find the shape of a tensor at the batch size of the file.

        Args:
            name: Name of the tensor.

        Returns:
            The shape; None unless all sizes are known.
        """
        shape = self.facts.shapes.get(name)
        known = tuple(size for size in shape or () if size is not None)
        return known if shape is not None and len(known) == len(shape) else None

    def place(self, name: str) -> BatchAxis | None:
        """Find the batch axis of a tensor.

        Args:
            name: Name of the tensor.

        Returns:
            The axis; None if the tensor does not depend on the input.
        """
        return self.found.get(name)

    def take_constant(self, name: str, axis: int, step: Step, inner: int) -> None:
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
        self.repeated.setdefault(name, BatchAxis(axis, inner))

    def _repeats(self, name: str, axis: int, inner: int) -> bool | None:
        """Whether a constant is the same for all samples; None if its content is not known."""
        sizes = self.sizes(name) or ()
        value = self.facts.values.get(name)
        if value is None and name in self.constants:
            tensor = self.constants[name]
            elsewhere = bool(tensor.external_data)
            value = read_external(tensor, self.folder) if elsewhere else constant_tensor(tensor, max_values=None)
        if sizes[axis] % (self.batch * inner):
            return False
        if value is not None and value.shape == sizes:
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
        if node.op == "Gather" and before is not None:
            # Rows of a table: the samples are alike where their numbers are.
            first, indices = node.integer("axis", 0) % len(before), self.sizes(node.inputs[1])
            if indices is not None and first <= axis < first + len(indices):
                return self._repeats(node.inputs[1], axis - first, inner)
        return self._repeats(node.inputs[0], axis, inner) if node.op in ELEMENT_BY_ELEMENT and before == sizes else None
