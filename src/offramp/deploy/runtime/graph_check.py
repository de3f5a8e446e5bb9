"""The one way from the content of an ONNX file to a graph that may run: parsed, checked against a list, written again.

A checksum says that a file is the one the manifest names, not that whoever wrote both meant well. So a graph may only
hold operators, attributes and types that offramp writes (see `offramp.deploy.graph_rules`). The size of every tensor
follows from the rules of the operators, never from what the file says. What was not checked is removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from offramp.deploy.graph_rules.graph_demand import USUAL_LIMIT, GraphDemand
from offramp.deploy.graph_rules.graph_walk import STANDARD_DOMAINS, GraphWalk
from offramp.deploy.graph_rules.tensor_facts import RefusedGraph, TensorFacts, for_one
from offramp.deploy.graph_rules.wire_scan import MAX_FIELDS, StrippedFile, scan_wire
from offramp.errors import BundleError

_LOWEST_OPSET, _LOWEST_IR = 13, 4
_KEPT_OF_MODEL = frozenset({"ir_version", "opset_import", "graph"})
_REFUSED_OF_MODEL = {"functions": "functions", "training_info": "training steps", "configuration": "device settings"}


@dataclass(frozen=True, eq=False)
class CheckedGraph:
    """A graph that may run.

    Attributes:
        structure: The ONNX model with marks in place of raw data; what was not checked is removed from it.
        file: The file that it was read from.
        demand: What it takes for one sample.
        inputs: Facts of its inputs by name, in order.
        outputs: Facts of its outputs by name, in order.
    """

    structure: Any
    file: StrippedFile
    demand: GraphDemand
    inputs: Mapping[str, TensorFacts]
    outputs: Mapping[str, TensorFacts]

    def content(self) -> bytes:
        """The model as an ONNX file: what a runtime is given."""
        return self.file.filled(self.structure.SerializeToString(deterministic=True))

    @cached_property
    def model(self) -> Any:
        """The ONNX model, with a copy of its weights."""
        import onnx

        return onnx.load_model_from_string(self.content())


def check_graph(
    content: bytes,
    what: str,
    *,
    branches: bool = False,
    stated: GraphDemand | None = None,
    allow_large: bool = False,
) -> CheckedGraph:
    """Check that a graph holds only what offramp writes, and takes no more than is stated.

    Args:
        content: The content of the ONNX file.
        what: What the content is, for messages.
        branches: Whether `If` is allowed.
        stated: What the manifest says that it takes; None where it says nothing.
        allow_large: Whether it may take more than `USUAL_LIMIT`.

    Returns:
        The graph.

    Raises:
        BundleError: If something is refused.
    """
    try:
        file = scan_wire(content)
        return _checked(_parsed(file.structure), file, branches, stated, allow_large)
    except RefusedGraph as exc:
        raise BundleError(f"{what!r} {exc}.") from exc


def known_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a graph that was checked, constants included, for a batch of one; not in branches.

    Args:
        model: An ONNX model that was checked, or a part of one.

    Returns:
        Shapes by name.

    Raises:
        BundleError: If it is not one that the check accepts.
    """
    try:
        facts = GraphWalk(True, MAX_FIELDS, lambda tensor: tensor.raw_data).run(model.graph).facts
    except RefusedGraph as exc:
        raise BundleError(f"The graph {exc}.") from exc
    return {name: tuple(for_one(size) for size in found.shape) for name, found in facts.items()}


def _parsed(content: bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RecursionError) as exc:
        raise RefusedGraph(f"is not an ONNX file: {exc}") from exc
    for item, name in _REFUSED_OF_MODEL.items():
        if item in model.DESCRIPTOR.fields_by_name and len(getattr(model, item)):
            raise RefusedGraph(f"holds {name}, which no bundle has")
    for item, _ in model.ListFields():
        if item.name not in _KEPT_OF_MODEL:
            model.ClearField(item.name)
    model.producer_name = "offramp"
    opset = _opset(model)
    del model.opset_import[:]
    model.opset_import.add(domain="", version=opset)
    return model


def _opset(model: Any) -> int:
    """The opset of the standard operators, whose meaning must be known."""
    import onnx

    opset = max((item.version for item in model.opset_import if item.domain in STANDARD_DOMAINS), default=0)
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise RefusedGraph(
            f"is written in opset {opset}, but the installed onnx {onnx.__version__} knows opsets up to {newest}. "
            "Install a newer onnx"
        )
    if opset < _LOWEST_OPSET or model.ir_version < _LOWEST_IR:
        raise RefusedGraph(f"must be written in opset {_LOWEST_OPSET} or later, got {opset}")
    return int(opset)


def _checked(
    model: Any, file: StrippedFile, branches: bool, stated: GraphDemand | None, allow_large: bool
) -> CheckedGraph:
    max_nodes = MAX_FIELDS if allow_large else USUAL_LIMIT.nodes
    walked = GraphWalk(branches, max_nodes, file.data_of).run(model.graph)
    figures = walked.figures
    demand = GraphDemand(figures.nodes, figures.peak_bytes + figures.constant_bytes, figures.total_bytes, figures.macs)
    if stated is not None and (more := demand.beyond(stated)):
        raise RefusedGraph(f"takes more than the manifest says: {', '.join(more)}")
    if not allow_large and (more := demand.beyond(USUAL_LIMIT)):
        raise RefusedGraph(
            f"takes more than is usual: {', '.join(more)}. If you trust it, allow it (`allow_large`, --allow-large)"
        )
    return CheckedGraph(
        model,
        file,
        demand,
        {item.name: walked.facts[item.name] for item in model.graph.input},
        {item.name: walked.facts[item.name] for item in model.graph.output},
    )
