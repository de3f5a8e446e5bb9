"""Conversion of an early-exit ONNX file to a Workload."""

from pathlib import Path

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.analog_layers import fold_analog_layers
from offramp.workload.from_onnx.coverage_check import check_coverage
from offramp.workload.from_onnx.exit_placement import exit_layers, place_layers
from offramp.workload.from_onnx.file_graph import read_onnx
from offramp.workload.from_onnx.found_layers import find_layers
from offramp.workload.graph import Workload


def workload_from_onnx(
    path: str | Path,
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    branch_weight_bits: int | None = None,
    branch_activation_bits: int | None = None,
    allow_single_exit: bool = False,
    read_weights: bool = False,
) -> Workload:
    """Convert an early-exit ONNX file to a workload of one sample.

    Each analog layer that offramp exports is one layer; all other layers of such a file are digital. Weights are not
    needed
    unless they are to be counted.

    Free, because the previous layer computes them while it writes its output: batch normalisation, activation
    functions,
    changes of shape or order, quantisation, and element-wise operators with a constant or with inputs from a single
    layer
    (x times sigmoid of x). `workload.layer_constructors` has the rules for transformers.

    Exits are the outputs of the graph, ordered by the last layer that each shares with another output. Among the
    outputs
    that leave last, the final one has at least twice as many own layers as any other; if none has, it is the last in
    the
    file. Layers that lead to a single output other than the final one are its branch. The final classifier is the
    branch of
    the last stage: of the layers that lead to the final output alone, those from the first pooling or dense layer on
    that
    is followed by no convolution or element-wise operator on a map larger than 1 x 1. It has the bit widths of
    branches.

    Args:
        path: ONNX file.
        weight_bits: Bits of weights in the backbone.
        activation_bits: Bits of activations in the backbone.
        branch_weight_bits: Bits of weights in the branches; None: as in the backbone.
        branch_activation_bits: Bits of activations in the branches; None: as in the backbone.
        allow_single_exit: Whether a graph with one output is accepted.
        read_weights: Whether nonzero weights in the file are counted, so that layers have weight densities.

    Returns:
        The workload.

    Raises:
        WorkloadError: The file is no early-exit graph.
        UnsupportedLayerError: No cost engine can price some operators; the message names all of them.
    """
    path = Path(path)
    folded = fold_analog_layers(read_onnx(path, read_weights=read_weights))
    graph = folded.graph
    found = find_layers(graph, path)
    check_coverage(graph, found, path)
    producers = exit_layers(graph, found, path)
    if len(producers) < 2 and not allow_single_exit:
        raise WorkloadError(
            f"'{path}' has one exit only, so it is not an early-exit network. Add outputs at intermediate layers, "
            "or price it as a plain network with `allow_single_exit=True`."
        )
    placed = place_layers(found.layers, producers)
    try:
        workload = Workload(name=path.stem, layers=placed.layers, exits=placed.exits)
        if folded.analog_channels:
            # The file decides which channels are analog; all others are digital.
            workload = workload.with_analog_channels(folded.analog_channels)
        workload = workload.with_weight_densities(graph.weight_densities)
        return workload.with_bits(
            weight_bits,
            activation_bits,
            weight_bits if branch_weight_bits is None else branch_weight_bits,
            activation_bits if branch_activation_bits is None else branch_activation_bits,
        )
    except ValueError as exc:
        raise WorkloadError(f"'{path}' cannot be a workload: {exc}") from exc
