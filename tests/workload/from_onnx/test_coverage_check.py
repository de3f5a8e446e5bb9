"""The count of nodes must come out even: a node that a fault of the reader leaves out is named."""

from dataclasses import replace
from pathlib import Path

import pytest

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.coverage_check import check_coverage
from offramp.workload.from_onnx.file_graph import OnnxGraph, read_onnx
from offramp.workload.from_onnx.found_layers import FoundLayers, Treatment, find_layers
from tests.workload.from_onnx.onnx_samples import Net


def example(folder: Path) -> tuple[OnnxGraph, FoundLayers]:
    """conv a -> relu -> conv b, and their sum."""
    net = Net()
    first = net.op("Relu", net.conv(net.input, 4, 3, name="a"), name="relu")
    total = net.op("Add", first, net.conv(first, 4, 4, name="b"), name="add")
    graph = read_onnx(net.exit(total).save(folder))
    return graph, find_layers(graph, folder)


def test_an_even_count_passes(tmp_path: Path) -> None:
    graph, found = example(tmp_path)
    check_coverage(graph, graph, found, tmp_path)


@pytest.mark.parametrize("name", ["a", "relu", "b", "add"])
@pytest.mark.parametrize("wrong", [None, *Treatment])
def test_a_node_that_is_treated_otherwise_than_its_edges_demand_is_named(
    tmp_path: Path, name: str, wrong: Treatment | None
) -> None:
    graph, found = example(tmp_path)
    if found.treatments[name] is wrong:
        return
    treatments = {key: value for key, value in found.treatments.items() if key != name}
    if wrong is not None:
        treatments[name] = wrong
    with pytest.raises(WorkloadError, match=rf"of 4 nodes these are not: {name} \("):
        check_coverage(graph, graph, replace(found, treatments=treatments), tmp_path)


def test_a_layer_that_forgets_one_of_its_inputs_is_named(tmp_path: Path) -> None:
    """What leads only through that input would vanish from the price."""
    graph, found = example(tmp_path)
    layers = tuple(replace(x, inputs=x.inputs[:1]) if x.name == "add" else x for x in found.layers)
    with pytest.raises(WorkloadError, match=r"these are not: add \(Add\)"):
        check_coverage(graph, graph, replace(found, layers=layers), tmp_path)


def test_a_layer_that_is_priced_and_lost_is_noticed(tmp_path: Path) -> None:
    graph, found = example(tmp_path)
    with pytest.raises(WorkloadError, match=r"these are not: a \(Conv\)"):
        check_coverage(graph, graph, replace(found, layers=found.layers[1:]), tmp_path)


def test_a_layer_that_another_form_of_its_reader_does_without_is_named(tmp_path: Path) -> None:
    """The addition is written as an identity of its first input: conv b would be free."""
    graph, _ = example(tmp_path)
    wrong = tuple(replace(x, op="Identity", inputs=x.inputs[:1]) if x.name == "add" else x for x in graph.nodes)
    priced = replace(graph, nodes=wrong)
    found = find_layers(priced, tmp_path)
    check_coverage(priced, priced, found, tmp_path)
    with pytest.raises(WorkloadError, match=r"these are not: b \(Conv\)"):
        check_coverage(graph, priced, found, tmp_path)


def test_a_layer_that_another_form_of_its_reader_takes_for_a_constant_is_named(tmp_path: Path) -> None:
    graph, _ = example(tmp_path)
    cut = tuple(replace(x, inputs=("w0", *x.inputs[1:])) if x.name == "b" else x for x in graph.nodes)
    priced = replace(graph, nodes=cut)
    with pytest.raises(WorkloadError, match=r"these are not: b \(Conv\)"):
        check_coverage(graph, priced, find_layers(priced, tmp_path), tmp_path)
