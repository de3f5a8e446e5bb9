"""Files that are no graph, graphs that are no network, and where shapes come from."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.conversion import network_from_onnx
from offramp.workload.from_onnx.file_graph import read_onnx
from tests.workload.from_onnx.onnx_samples import Net, save, two_exits, workload_from_onnx


def test_nodes_shapes_and_small_constants(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8), opset=18)
    net.exit(net.op("ReduceMean", net.conv(net.input, 4, 3), net.constant([2, 3], np.int64), keepdims=0))
    graph = read_onnx(net.save(tmp_path))
    assert graph.inputs == ("image",)
    assert graph.outputs == ("t1",)
    assert [(node.name, node.op) for node in graph.nodes] == [("t0", "Conv"), ("t1", "ReduceMean")]
    assert graph.nodes[0].integers("pads") == (1, 1, 1, 1)
    assert graph.nodes[0].integers("strides", (1, 1)) == (1, 1)
    assert graph.shapes["t0"] == (1, 4, 8, 8)
    assert graph.shapes["w0"] == (4, 3, 3, 3)
    assert graph.values == {"w1": (2, 3)}


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"not an onnx file at all", b"\x89PNG\r\n\x1a\n" + b"\x01" * 50]
)
def test_what_is_no_onnx_file_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(WorkloadError, match=r"net\.onnx"):
        workload_from_onnx(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="No such file"):
        workload_from_onnx(tmp_path / "none.onnx")
    with pytest.raises(WorkloadError, match="is a folder"):
        workload_from_onnx(tmp_path)
    with pytest.raises(WorkloadError, match="cannot be read"):
        workload_from_onnx(Path("a\0b.onnx"))


def test_every_truncation_is_a_sentence_or_a_smaller_graph(tmp_path: Path) -> None:
    content = two_exits().model().SerializeToString()
    path = tmp_path / "net.onnx"
    refused = 0
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        try:
            workload_from_onnx(path)
        except WorkloadError:
            refused += 1
    assert refused > 0.9 * len(content) / 7


def test_flipped_bytes_are_a_sentence_or_another_graph(tmp_path: Path) -> None:
    content = bytearray(two_exits().model().SerializeToString())
    path = tmp_path / "net.onnx"
    rng = np.random.default_rng(7)
    outcomes = set()
    for _ in range(200):
        broken = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            broken[position] = int(rng.integers(0, 256))
        path.write_bytes(broken)
        try:
            workload_from_onnx(path)
            outcomes.add("read")
        except WorkloadError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_file_of_two_gibibytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.touch()
    os.truncate(path, 2 * 1024**3)
    with pytest.raises(WorkloadError, match=r"must be below 2 GiB, got 2\.0 GiB"):
        workload_from_onnx(path)


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "a/../../b", "..\\weights.bin", "C:\\weights.bin"]
)
def test_external_data_must_stay_in_the_folder(tmp_path: Path, location: str) -> None:
    model = two_exits().model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(WorkloadError, match="must lie in its folder"):
        workload_from_onnx(save(model, tmp_path))


def test_external_data_is_not_needed(tmp_path: Path) -> None:
    model = two_exits().model()
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="missing.bin")
    assert workload_from_onnx(save(model, tmp_path)) == workload_from_onnx(two_exits().save(tmp_path))


def test_stripped_weights_are_not_needed(tmp_path: Path) -> None:
    whole = workload_from_onnx(two_exits().save(tmp_path))
    emptied = two_exits().model()
    for tensor in emptied.graph.initializer:
        tensor.ClearField("raw_data")
    assert workload_from_onnx(save(emptied, tmp_path)) == whole
    gone = onnx.shape_inference.infer_shapes(two_exits().model())
    for node in gone.graph.node:
        if node.op_type == "Conv":
            node.attribute.append(helper.make_attribute("kernel_shape", [3, 3]))
    del gone.graph.initializer[:]
    assert workload_from_onnx(save(gone, tmp_path)) == whole


@pytest.mark.parametrize(
    ("kind", "num_weights"),
    [
        ("Conv", 2),
        ("Gemm", 2),
        ("MatMul", 1),
        ("BatchNormalization", 4),
        ("QLinearConv", 8),
        ("QLinearMatMul", 7),
        ("PRelu", 1),
        ("LayerNormalization", 2),
        ("RMSNormalization", 1),
        ("GroupNormalization", 2),
    ],
)
def test_weights_that_are_listed_among_the_inputs_are_not_the_input(
    tmp_path: Path, kind: str, num_weights: int
) -> None:
    net = Net((1, 3, 8, 8), opset=23)
    weights = [f"w{index}" for index in range(num_weights)]
    net.exit(net.op(kind, net.input, *weights))
    net.inputs[:0] = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (3,)) for name in weights]
    assert read_onnx(net.save(tmp_path)).inputs == ("image",)
    net.inputs.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, (3,)))
    net.exit(net.op("Relu", "other"))
    assert read_onnx(net.save(tmp_path)).inputs == ("image", "other")


def test_weights_without_shape_or_kernel_are_named(tmp_path: Path) -> None:
    model = onnx.shape_inference.infer_shapes(two_exits().model())
    del model.graph.initializer[:]
    with pytest.raises(WorkloadError, match=r"not known: w0; w2"):
        workload_from_onnx(save(model, tmp_path))


def test_weights_listed_as_inputs_are_weights(tmp_path: Path) -> None:
    net = two_exits()
    for tensor in net.weights:
        net.inputs.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.dims)))
    whole = workload_from_onnx(net.save(tmp_path))
    net.weights.clear()
    assert [layer.name for layer in workload_from_onnx(net.save(tmp_path)).layers] == [x.name for x in whole.layers]


@pytest.mark.parametrize("batch", [1, 16, "N"])
def test_one_sample_is_counted_whatever_the_batch(tmp_path: Path, batch: int | str) -> None:
    net = two_exits()
    net.inputs[0] = helper.make_tensor_value_info("image", TensorProto.FLOAT, (batch, 3, 8, 8))
    assert workload_from_onnx(net.save(tmp_path)) == workload_from_onnx(two_exits().save(tmp_path))


@pytest.mark.parametrize("shape", [(1, 3, "H", "W"), (1, "C", 8, 8), (1, 3, 0, 8)])
def test_open_sizes_are_refused_with_what_to_do(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    net = two_exits()
    net.inputs[0] = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    with pytest.raises(WorkloadError, match="must have a fixed size"):
        workload_from_onnx(net.save(tmp_path))


def test_an_input_without_a_shape_is_refused(tmp_path: Path) -> None:
    net = two_exits()
    net.inputs[0] = helper.make_tensor_value_info("image", TensorProto.FLOAT, None)
    with pytest.raises(WorkloadError, match="must have a fixed size"):
        workload_from_onnx(net.save(tmp_path))


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    net = Net()
    net.nodes.append(helper.make_node("Add", ["image", "back"], ["there"], name="one"))
    net.nodes.append(helper.make_node("Relu", ["there"], ["back"], name="two"))
    with pytest.raises(WorkloadError, match="must not have a cycle; there is one through one, two"):
        workload_from_onnx(net.exit("there").save(tmp_path))


def test_a_tensor_with_two_producers_is_refused(tmp_path: Path) -> None:
    net = Net()
    net.nodes.append(helper.make_node("Relu", ["image"], ["x"]))
    net.nodes.append(helper.make_node("Relu", ["image"], ["x"]))
    with pytest.raises(WorkloadError, match=r"Tensor 'x' of .* must have one producer"):
        workload_from_onnx(net.exit("x").save(tmp_path))


def test_nodes_in_any_order_are_sorted(tmp_path: Path) -> None:
    net = two_exits()
    whole = workload_from_onnx(net.save(tmp_path))
    net.nodes.reverse()
    assert set(workload_from_onnx(net.save(tmp_path)).layers) == set(whole.layers)


def test_an_input_that_no_node_reads_is_left_out(tmp_path: Path) -> None:
    net = two_exits()
    whole = workload_from_onnx(net.save(tmp_path))
    net.inputs.insert(0, helper.make_tensor_value_info("second", TensorProto.FLOAT, (1, 3)))
    assert workload_from_onnx(net.save(tmp_path)).layers == whole.layers


@pytest.mark.parametrize("batch", [1, 4])
def test_several_inputs_are_all_data(tmp_path: Path, batch: int) -> None:
    net = Net((batch, 12))
    net.inputs.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, (batch, 8)))
    first = net.op("MatMul", net.input, net.weight(12, 7), name="first")
    second = net.op("MatMul", "other", net.weight(8, 7), name="second")
    network = network_from_onnx(net.exit(net.op("Add", first, second, name="both")).save(tmp_path))
    found = network.workload.layers
    assert [(layer.name, layer.inputs, layer.shape.macs) for layer in found] == [
        ("first", ("input",), 84),
        ("second", ("input",), 56),
        ("both", ("first", "second"), 0),
    ]
    assert "The file has 2 inputs, and all are taken for data: image, other." in network.notes


def test_a_graph_without_data_is_refused(tmp_path: Path) -> None:
    net = two_exits()
    del net.inputs[:]
    with pytest.raises(WorkloadError, match="must have an input of data, but it has none"):
        workload_from_onnx(net.save(tmp_path))


def test_an_output_that_no_layer_computes_is_no_exit_and_told(tmp_path: Path) -> None:
    """Detectors give their constant anchors as an output."""
    plain = network_from_onnx(two_exits().save(tmp_path))
    for build in (lambda net: net.op("Identity", net.constant([1.0])), lambda net: net.op("Identity", "image")):
        net = two_exits()
        network = network_from_onnx(net.exit(build(net)).save(tmp_path))
        assert network.workload == plain.workload
        assert network.outputs == plain.outputs
        assert "No layer computes 't10', so it is no exit." in network.notes
    alone = Net()
    alone.exit(alone.op("Identity", alone.constant([1.0])))
    alone.conv(alone.input, 4, 3)
    with pytest.raises(WorkloadError, match=r"no layer between its input and its outputs|must be computed by layers"):
        workload_from_onnx(alone.save(tmp_path))


def test_an_empty_graph_and_one_without_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="its graph is empty"):
        workload_from_onnx(Net().save(tmp_path))
    net = two_exits()
    net.outputs.clear()
    with pytest.raises(WorkloadError, match="no layer between its input and its outputs"):
        workload_from_onnx(net.save(tmp_path))


def test_nodes_get_unique_names(tmp_path: Path) -> None:
    net = two_exits()
    for node in net.nodes:
        node.name = "input" if node.op_type == "Conv" else ""
    names = [layer.name for layer in workload_from_onnx(net.save(tmp_path)).layers]
    assert len(set(names)) == 6
    assert names[:2] == ["input#1", "GlobalAveragePool_2"]


def test_operators_of_other_domains_are_not_mistaken_for_standard_ones(tmp_path: Path) -> None:
    net = two_exits()
    net.nodes[0].domain = "com.vendor"
    model = onnx.shape_inference.infer_shapes(two_exits().model())
    model.graph.node[0].domain = "com.vendor"
    with pytest.raises(WorkloadError, match=r"a \(com\.vendor\.Conv\) is no operator of a workload"):
        workload_from_onnx(save(model, tmp_path))


def test_local_functions_are_written_out(tmp_path: Path) -> None:
    model = two_exits().model()
    body = helper.make_function(
        "local",
        "Block",
        ["x"],
        ["y"],
        [helper.make_node("Relu", ["x"], ["z"]), helper.make_node("Sigmoid", ["z"], ["y"])],
        [helper.make_opsetid("", 17)],
    )
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("local", 1))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "Block", "local"
    found = workload_from_onnx(save(model, tmp_path))
    assert [layer.shape for layer in found.layers] == [
        layer.shape for layer in workload_from_onnx(two_exits().save(tmp_path)).layers
    ]


@pytest.mark.parametrize("name", [b"\xb4innerx", b"\xb4innery", b"\xb4elu"])
def test_a_name_in_a_branch_that_is_no_text_is_a_sentence(tmp_path: Path, name: bytes) -> None:
    """``name`` is written over an input, an output and an operator of a branch."""
    value = helper.make_tensor_value_info
    sound = {b"\xb4innerx": b"_innerx", b"\xb4innery": b"_innery", b"\xb4elu": b"Relu"}[name]
    nodes = [helper.make_node("Relu", ["_innerx"], ["z"]), helper.make_node("Neg", ["z"], ["_innery"])]
    branch = helper.make_graph(nodes, "branch", [], [value("_innery", TensorProto.FLOAT, [1, 4])])
    graph = helper.make_graph(
        [helper.make_node("Abs", ["x"], ["_innerx"]), helper.make_node("If", ["c"], ["y"], then_branch=branch)],
        "g",
        [value("x", TensorProto.FLOAT, [1, 4]), value("c", TensorProto.BOOL, [])],
        [value("y", TensorProto.FLOAT, [1, 4])],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString().replace(sound, name))
    with pytest.raises(WorkloadError, match="names in UTF-8"):
        read_onnx(path)
