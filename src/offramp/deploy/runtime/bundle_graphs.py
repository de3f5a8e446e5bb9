"""All graphs of a bundle, checked when it is loaded: those that run here, and those for other programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.deploy.bundle.bundle_files import BundleFiles
from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE, MODEL_FILE, Manifest
from offramp.deploy.graph_rules.tensor_facts import DOUBLE, FLOAT, INT64, Batched, Shape, TensorFacts, shown
from offramp.deploy.onnx.value_names import CONFIDENCE, EXIT, IMAGES, LOGITS, THRESHOLDS, exit_name
from offramp.deploy.runtime.graph_check import CheckedGraph
from offramp.deploy.runtime.graph_sessions import checked_content, checked_graph, start_graph
from offramp.errors import BundleError

Values = Mapping[str, tuple[int, Shape]]
"""Element types and shapes by name."""


MAX_BATCH_BYTES = 2**31
"""The largest sum of tensors alive at one time for a batch of more than one sample."""


@dataclass(frozen=True, eq=False)
class StageSessions:
    """The stages of a bundle or a detector in onnxruntime.

    Attributes:
        sessions: Their sessions, in order.
        live_bytes: What one sample takes in the stage that takes most.
    """

    sessions: tuple[Any, ...]
    live_bytes: int

    def batch_size(self, wanted: int) -> int:
        """Limit how many samples are run together, so that memory stays bounded.

        Args:
            wanted: How many samples the caller wants to run together.

        Returns:
            That many, or as many as fit into `MAX_BATCH_BYTES`, but at least one.
        """
        return max(1, min(wanted, MAX_BATCH_BYTES // max(self.live_bytes, 1)))


def load_graphs(files: BundleFiles, manifest: Manifest, num_threads: int, *, allow_large: bool) -> StageSessions:
    """Check every file of a bundle, and start its stages in onnxruntime.

    Args:
        files: The files of the bundle.
        manifest: The manifest.
        num_threads: Threads inside an operator.
        allow_large: Whether a graph may take more than `USUAL_LIMIT`.

    Returns:
        The stages.

    Raises:
        BundleError: If a file is not the one that was exported, or is not safe to run.
    """
    stage_files = {item.file for item in manifest.exits}
    sessions, live_bytes = {}, 0
    for file in manifest.files:
        if not file.name.endswith(".onnx") and file.name not in stage_files:
            checked_content(files, manifest, file.name)
            continue
        graph = checked_graph(files, manifest, file.name, allow_large=allow_large)
        where = files.where(file.name)
        if file.name in stage_files:
            sessions[file.name] = start_graph(graph, where, num_threads)
            live_bytes = max(live_bytes, graph.demand.live_bytes)
        if file.name == MODEL_FILE:
            _check_values(graph, where, *_joined_values(manifest))
        if file.name == EARLY_EXIT_FILE:
            _check_values(graph, where, *_early_exit_values(manifest))
    return StageSessions(tuple(sessions[item.file] for item in manifest.exits), live_bytes)


def _joined_values(manifest: Manifest) -> tuple[Values, Values]:
    """Inputs and outputs of the file that gives the logits of every exit."""
    logits = (FLOAT, (Batched(1), len(manifest.class_names)))
    images = (FLOAT, (Batched(1), *manifest.input_shape))
    return {IMAGES: images}, {exit_name(item.index): logits for item in manifest.exits}


def _early_exit_values(manifest: Manifest) -> tuple[Values, Values]:
    """Inputs and outputs of the file that leaves early."""
    inputs: dict[str, tuple[int, Shape]] = {IMAGES: (FLOAT, (1, *manifest.input_shape))}
    if len(manifest.exits) > 1:
        inputs[THRESHOLDS] = (DOUBLE, (len(manifest.exits) - 1,))
    outputs = {LOGITS: (FLOAT, (1, len(manifest.class_names))), EXIT: (INT64, (1,)), CONFIDENCE: (DOUBLE, (1,))}
    return inputs, outputs


def _check_values(graph: CheckedGraph, where: str, inputs: Values, outputs: Values) -> None:
    for kind, wanted, found in (("inputs", inputs, graph.inputs), ("outputs", outputs, graph.outputs)):
        if {name: (item.element, item.shape) for name, item in found.items()} != wanted:
            raise BundleError(f"{where!r} must have the {kind} {_listed(wanted)}, but it has {_facts(found)}.")


def _facts(found: Mapping[str, TensorFacts]) -> str:
    return _listed({name: (item.element, item.shape) for name, item in list(found.items())[:8]})


def _listed(values: Values) -> str:
    return ", ".join(f"{name[:100]!r} {shown(shape)}" for name, (_, shape) in values.items())
