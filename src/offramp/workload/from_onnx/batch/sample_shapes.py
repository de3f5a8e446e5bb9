"""The shapes of one sample, for a file that was exported with a batch of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.batch.batch_axis import BatchAxes, CombinesSamples, LosesBatch
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.shape_propagation import Shape, TensorFacts


@dataclass(frozen=True)
class SampleShapes:
    """Shapes of all tensors for one sample.

    Attributes:
        shapes: Shapes by tensor name; the batch axis has size 1 per sample, wherever it lies.
        notes: Sentences about what was taken for the batch, where the file leaves it open.
    """

    shapes: dict[str, Shape]
    notes: tuple[str, ...] = ()


def sample_shapes(
    nodes: Sequence[OnnxNode], facts: TensorFacts, source: str, constants: Mapping[str, Any]
) -> SampleShapes:
    """Follow the batch axis of the input through the graph and take one sample.

    The first axis of the input is the batch if no node combines its entries. If one does, the second axis is tried, as
    in (time, batch, channels). If that is no batch axis either, the whole input is one sample.

    Args:
        nodes: Nodes in topological order.
        facts: Shapes and small constants at the batch size of the file.
        source: Name of the graph's input.
        constants: Tensors of the file by name.

    Returns:
        The shapes.

    Raises:
        WorkloadError: The batch axis cannot be followed through a node.
    """
    shape = facts.shapes.get(source, ())
    if source in facts.open_batches or not shape or shape[0] in (None, 1):
        return SampleShapes(facts.shapes)
    told = None
    for axis, size in enumerate(shape[: 2 if len(shape) > 2 else 1]):
        if size is None or size == 1:
            break
        try:
            shapes = BatchAxes(nodes, facts, constants, size).divided(source, axis)
        except CombinesSamples as exc:
            told = told or f"{exc}"
        except LosesBatch as exc:
            raise WorkloadError(
                f"Input '{source}' has a batch of {size} on axis {axis}, which cannot be followed through {exc}. "
                "Export the network with a batch of 1."
            ) from exc
        else:
            note = (
                f"The file is for a batch of {size} (axis {axis} of input '{source}'); the price is that of one sample."
            )
            return SampleShapes(shapes, (note,))
    sizes = "x".join("?" if size is None else str(size) for size in shape)
    return SampleShapes(
        facts.shapes,
        (
            f"Axis 0 of input '{source}' is no batch axis, since {told} combines its entries; the price is that of the "
            f"whole input, {sizes}.",
        ),
    )
