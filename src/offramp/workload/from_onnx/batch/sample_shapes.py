"""The shapes of one sample, for a file that was exported with a batch of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.batch.axis_rules import AXIS_RULES, kept_axis
from offramp.workload.from_onnx.batch.batch_axis import BatchAxes, BatchAxis, CombinesSamples, LosesBatch, Step
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.operator_equivalents import EQUIVALENTS
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
    nodes: Sequence[OnnxNode],
    outputs: Sequence[str],
    facts: TensorFacts,
    sources: Sequence[str],
    constants: Mapping[str, Any],
    folder: Path,
) -> SampleShapes:
    """Follow the batch axis of the input through the graph and take one sample.

    The first axis of the input is the batch if no node combines its entries. If one does, the others are tried in
    order, as in (time, batch, channels) or (channels, height, width, batch). If none is a batch axis, the whole input
    is one sample.

    With several inputs, the first one with at least two axes decides; others that have an axis of the same size at the
    same place are followed with it. If the first one has a batch of 1, a note names those that are larger there.

    Args:
        nodes: Nodes in topological order.
        outputs: Names of the graph's outputs.
        facts: Shapes and small constants at the batch size of the file.
        sources: Names of the graph's inputs.
        constants: Tensors of the file by name.
        folder: Folder of the file, which may hold contents of its tensors.

    Returns:
        The shapes.

    Raises:
        WorkloadError: The batch axis cannot be followed through a node.
    """
    source = next((name for name in sources if len(facts.shapes.get(name, ())) > 1), sources[0])
    shape = facts.shapes.get(source, ())
    if source in facts.open_batches or not shape or (shape[0] or 0) <= 1:
        return SampleShapes(facts.shapes, _larger_inputs(source, sources, facts))
    needed = _needed(nodes, outputs)
    told = None
    for axis, size in enumerate(shape if len(shape) > 2 else shape[:1]):
        if size is None or size <= 1:
            continue
        try:
            shapes = _divided(BatchAxes(needed, facts, constants, folder, size), (source, *sources), axis)
        except CombinesSamples as exc:
            told = told or f"{exc}"
        except LosesBatch as exc:
            if axis > 1:
                continue  # far from where a batch usually is, what cannot be followed is no batch
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


def _larger_inputs(source: str, sources: Sequence[str], facts: TensorFacts) -> tuple[str, ...]:
    """What is said of inputs that may hold several samples, where the one that decides holds one."""
    if source in facts.open_batches or facts.shapes.get(source, ())[:1] != (1,):
        return ()
    first = {name: shape[0] for name in sources if len(shape := facts.shapes.get(name, ())) > 1}
    larger = ", ".join(f"'{name}' ({size})" for name, size in first.items() if size is not None and size > 1)
    if not larger:
        return ()
    return (
        f"Input '{source}' has a batch of 1 (axis 0), so every input is taken for one sample; the price is that of the "
        f"whole inputs, also of those with a larger axis 0: {larger}.",
    )


def _needed(nodes: Sequence[OnnxNode], outputs: Sequence[str]) -> list[OnnxNode]:
    """The nodes that an output needs, in topological order."""
    wanted = set(outputs)
    needed = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            needed.append(node)
            wanted.update(node.reads)
    return needed[::-1]


def _divided(axes: BatchAxes, sources: Sequence[str], axis: int) -> dict[str, Shape]:
    """Shapes for one entry of an axis of the inputs; tensors whose batch axis is not known have none."""
    for source in sources:
        if axes.facts.shapes.get(source, ())[axis : axis + 1] == (axes.batch,):
            axes.found[source] = BatchAxis(axis)
    lost: set[str] = set()
    for node in axes.nodes:
        if node.op in ("Shape", "Size"):
            continue
        if not lost.isdisjoint(node.reads):
            lost.update(filter(None, node.outputs))
        elif any(axes.place(name) is not None for name in node.reads):
            lost.update(_follow(axes, node))
    shapes = {name: shape for name, shape in axes.facts.shapes.items() if name not in lost}
    for name, place in (axes.repeated | axes.found).items():
        shape = shapes[name]
        size = shape[place.axis]
        shapes[name] = (*shape[: place.axis], (size or 0) // axes.batch, *shape[place.axis + 1 :])
    return shapes


def _follow(axes: BatchAxes, node: OnnxNode) -> list[str]:
    """Find the batch axes of a node's outputs, and return the outputs that have no known shape."""
    standard = EQUIVALENTS.get(node.op)
    op = node.op if standard is None else standard.op
    names = node.reads if standard is None else tuple(filter(None, standard.inputs(node.inputs)))
    rule = AXIS_RULES.get(op, kept_axis)
    unknown = any(axes.sizes(name) is None for name in names if axes.place(name) is not None)
    lost = []
    for position, output in enumerate(node.outputs):
        if not output or (op == "DynamicQuantizeLinear" and position):
            continue  # left out, or a scale and a zero point, which serve all samples
        result = axes.sizes(output)
        if result is None or unknown:
            lost.append(output)
            continue
        try:
            place = rule(axes, Step(node, op, names, result, position))
            divisible = result[place.axis] % (axes.batch * place.inner) == 0
        except (LookupError, ValueError, ArithmeticError, TypeError, StopIteration) as exc:
            raise LosesBatch(f"{node.name} ({node.op})") from exc  # attributes that contradict the shapes
        if not divisible:
            raise CombinesSamples(f"{node.name} ({node.op})")
        axes.found[output] = place
    return lost
