"""Conversion of an ONNX file, usually of an early-exit network, to a Workload."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.analog_layers import fold_analog_layers
from offramp.workload.from_onnx.coverage_check import check_coverage
from offramp.workload.from_onnx.exit_placement import place_layers
from offramp.workload.from_onnx.file_graph import read_onnx
from offramp.workload.from_onnx.found_layers import find_layers
from offramp.workload.from_onnx.rewriting.standard_form import standard_form
from offramp.workload.graph import Workload


@dataclass(frozen=True)
class OnnxNetwork:
    """The network in an ONNX file.

    Attributes:
        workload: The network as layers of one sample, without bit widths of its own.
        outputs: The output of the file at each exit; several names, separated by commas, if one layer computes them.
        notes: Sentences about what the file leaves open and how it was read.
    """

    workload: Workload
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()


def network_from_onnx(
    path: Path, *, final: str | None = None, read_weights: bool = False, sizes: Mapping[str, int] | None = None
) -> OnnxNetwork:
    """Read the network in an ONNX file.

    Each analog layer that offramp exports is one layer; all other layers of such a file are digital. Weights are not
    needed unless they are to be counted.

    Every node that depends on the input and that an output needs is a layer, free, or refused. Free, because the
    previous layer computes them while it writes its output: batch normalisation, activation functions, changes of shape
    or order, quantisation, and element-wise operators with a constant or with inputs from a single layer (x times
    sigmoid of x). `workload.layer_constructors` has the rules for transformers.

    Exits are the outputs of the graph, in the order in which they leave the layers that lead to the final one. The
    final exit is the output behind which nothing else runs longest. Layers that do not lead to it are branches. The
    final classifier is the branch of the last stage: of the layers that lead to the final output alone, those from the
    first pooling or dense layer on that is followed by no convolution or element-wise operator on a map larger than
    1 x 1. It has the bit widths of branches. A file with one output is a network of one stage.

    Args:
        path: ONNX file.
        final: Name of the output that is the final exit; None to find it.
        read_weights: Whether nonzero weights in the file are counted, so that layers have weight densities.
        sizes: Sizes of axes that the file leaves open, by the name of the axis, or by the name of an input, a point and
            the number of the axis, such as ``image.2``.

    Returns:
        The network.

    Raises:
        WorkloadError: The file is no network, or it is not plain which output is the final exit.
        UnsupportedLayerError: No cost engine can price some operators; the message names all of them.
        InputError: A size is given for an axis that is not open.
    """
    file_graph = read_onnx(path, read_weights=read_weights, sizes=sizes)
    folded = fold_analog_layers(standard_form(file_graph))
    graph = folded.graph
    found = find_layers(graph, path)
    check_coverage(file_graph, graph, found, path)
    placed = place_layers(graph, found, path, graph.final if final is None else final)
    try:
        workload = Workload(name=path.stem, layers=placed.layers, exits=placed.exits)
    except ValueError as exc:
        raise WorkloadError(f"'{path}' cannot be a workload: {exc}") from exc
    if folded.analog_channels:
        # The file decides which channels are analog; all others are digital.
        workload = workload.with_analog_channels(folded.analog_channels)
    plain = () if len(placed.exits) > 1 else ("The file has no early exits: its whole network is one stage.",)
    return OnnxNetwork(
        workload.with_weight_densities(graph.weight_densities), placed.outputs, (*plain, *placed.notes, *graph.notes)
    )
