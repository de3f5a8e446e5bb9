"""Conversion of an ONNX file, usually of an early-exit network, to a Workload."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.analog_layers import fold_analog_layers
from offramp.workload.from_onnx.coverage_check import check_coverage
from offramp.workload.from_onnx.exit_placement import place_layers
from offramp.workload.from_onnx.file_graph import OnnxGraph, read_onnx
from offramp.workload.from_onnx.found_layers import find_layers
from offramp.workload.from_onnx.rewriting.standard_form import standard_form
from offramp.workload.graph import Role, Workload


@dataclass(frozen=True)
class OnnxNetwork:
    """The network in an ONNX file.

    Attributes:
        workload: The network as layers of one sample, without bit widths of its own.
        outputs: The output of the file at each exit; several names, separated by commas, if one layer computes them.
        weight_bits: Bit widths of weights by name of the layer, where the file states them.
        notes: Sentences about what the file leaves open and how it was read.
    """

    workload: Workload
    outputs: tuple[str, ...]
    weight_bits: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def stated_bits(self, role: Role) -> Mapping[str, int]:
        """Select the bit widths of weights that the file states.

        Args:
            role: Backbone or branch.

        Returns:
            Bits by name of the layers with this role.
        """
        return {
            x.name: self.weight_bits[x.name]
            for x in self.workload.layers
            if x.role is role and x.name in self.weight_bits
        }


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
        workload.with_weight_densities(graph.weight_densities),
        placed.outputs,
        _stated_bits(workload, graph),
        (*plain, *placed.notes, *graph.notes),
    )


def _stated_bits(workload: Workload, graph: OnnxGraph) -> dict[str, int]:
    """Bits of weights that the file states; analog layers keep the widths of their cores."""
    weighted = (x for x in workload.layers if x.has_weights and not x.analog_channels)
    found = {layer.name: graph.stored_widths.of_layer(layer.name) for layer in weighted}
    return {name: bits for name, bits in found.items() if bits is not None}
