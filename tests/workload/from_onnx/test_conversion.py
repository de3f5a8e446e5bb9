"""What the layers of whole files are: their bit widths, and those of the reference networks."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from offramp.workload.from_onnx.conversion import network_from_onnx
from offramp.workload.graph import Role
from offramp.workload.layer import Op
from tests.workload.from_onnx.onnx_samples import Net, places, two_exits, workload_from_onnx

REFERENCE = Path(__file__).parents[4] / "shared" / "reference" / "eenn"
GRAPHS = sorted(REFERENCE.glob("*/**/model.onnx"))
needs_reference = pytest.mark.skipif(not GRAPHS, reason="the reference graphs are not here")


def test_two_exits_by_hand(tmp_path: Path) -> None:
    workload = workload_from_onnx(two_exits().save(tmp_path))
    assert places(workload) == {
        "a": (0, "backbone"),
        "exit0/pool": (0, "branch"),
        "exit0/fc": (0, "branch"),
        "b": (1, "backbone"),
        "exit1/pool": (1, "branch"),
        "exit1/fc": (1, "branch"),
    }
    assert workload.name == "net"
    assert workload.exits == ("exit0/fc", "exit1/fc")
    assert [layer.inputs for layer in workload.layers] == [
        ("input",),
        ("a",),
        ("exit0/pool",),
        ("a",),
        ("b",),
        ("exit1/pool",),
    ]
    conv_a, conv_b, head = 8 * 3 * 9 * 64, 8 * 8 * 9 * 16, 80
    assert workload.macs_to_exit() == (conv_a + head, conv_a + head + conv_b + head)


def test_bit_widths_of_backbone_and_branches(tmp_path: Path) -> None:
    path = two_exits().save(tmp_path)
    workload = workload_from_onnx(path, weight_bits=4, activation_bits=6, branch_weight_bits=8)
    for layer in workload.layers:
        wanted = (4, 6) if layer.role is Role.BACKBONE else (8, 6)
        assert (layer.shape.weight_bits, layer.shape.activation_bits) == wanted
    same = workload_from_onnx(path, weight_bits=2)
    assert {layer.shape.weight_bits for layer in same.layers} == {2}
    with pytest.raises(ValueError, match="`weight_bits` must be >= 1, got 0"):
        workload_from_onnx(path, weight_bits=0)


def test_layers_that_no_output_needs_are_left_out(tmp_path: Path) -> None:
    net = two_exits()
    net.op("LayerNormalization", net.conv("t0", 4, 8, name="dead"), net.weight(8))
    assert "dead" not in places(workload_from_onnx(net.save(tmp_path)))


@needs_reference
@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: f"{path.parents[1].name}-{path.parent.name}")
def test_reference_graphs_have_the_published_macs(path: Path) -> None:
    workload = workload_from_onnx(path)
    stats = json.loads(path.with_name("stats.json").read_text())
    backbone = [layer for layer in workload.layers if layer.role is Role.BACKBONE]
    convolutions = [layer for layer in backbone if layer.shape.op is Op.CONV]
    assert len(convolutions) == 36
    assert sum(layer.shape.macs for layer in convolutions) == 195_325_952
    stages = range(workload.num_stages)
    cumulative = [sum(layer.shape.macs for layer in backbone if layer.stage <= stage) for stage in stages]
    branches = [sum(layer.shape.macs for layer in workload.stage_layers(stage, Role.BRANCH)) for stage in stages]
    assert cumulative == stats["backbone_nbr_macs"]
    assert branches == stats["classifiers_nbr_macs"]
    assert workload.macs_to_exit() == tuple(
        backbone_macs + sum(branches[: stage + 1]) for stage, backbone_macs in enumerate(cumulative)
    )


@needs_reference
@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: f"{path.parents[1].name}-{path.parent.name}")
def test_reference_graphs_are_placed_as_their_names_say(path: Path) -> None:
    workload = workload_from_onnx(path)
    for layer in workload.layers:
        in_branch = layer.name.startswith("/classifiers.")
        assert (layer.role is Role.BRANCH) == in_branch
        assert not in_branch or layer.name.startswith(f"/classifiers.{layer.stage}/")
    names = [layer.name for layer in workload.layers]
    file_order = [node.name for node in onnx.load(path).graph.node]
    assert names == [name for name in file_order if name in names]
    assert {layer.shape.op for layer in workload.layers} == {Op.CONV, Op.ADD, Op.MAX_POOL, Op.DENSE}


@needs_reference
def test_reference_depthwise_kernels_are_those_of_the_graph() -> None:
    workload = workload_from_onnx(GRAPHS[0])
    kernels = {
        int(layer.name.split("/")[1].removeprefix("blocks.")): layer.shape.fy
        for layer in workload.layers
        if "depth_conv" in layer.name
    }
    assert [kernels[block] for block in range(12)] == [3] * 7 + [7] * 5
    pool = workload.layer("/classifiers.3/max_pool/MaxPool").shape
    assert (pool.g, pool.iy, pool.oy) == (320, 8, 4)


def test_a_file_without_early_exits_is_a_network_of_one_stage(tmp_path: Path) -> None:
    net = Net()
    stem = net.conv(net.input, 4, 3, name="stem")
    network = network_from_onnx(net.exit(net.head(stem, 4, name="head")).save(tmp_path))
    workload = network.workload
    assert (workload.num_stages, network.outputs) == (1, (net.outputs[0].name,))
    assert workload.static().macs_to_exit() == workload.macs_to_exit() == (4 * 27 * 64 + 40,)
    assert network.notes == ("The file has no early exits: its whole network is one stage.",)


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_rows_that_a_graph_counts_itself_are_one_sample_of_an_open_batch(tmp_path: Path, opset: int) -> None:
    """``view(x.size(0), -1)`` of a batch of open size, as the script-based exporter writes it."""
    net = Net(("b", 3, 32, 32), opset=opset)

    def head(x: str) -> str:
        pooled = net.op("AveragePool", x, kernel_shape=[32, 32], strides=[32, 32])
        size = net.op("Gather", net.op("Shape", pooled), net.constant(0, np.int64), axis=0)
        # The axes of Unsqueeze are an input from opset 13 on.
        axes = {"axes": [0]} if opset < 13 else {}
        rows = net.op("Unsqueeze", size, *([] if axes else [net.constant([0], np.int64)]), **axes)
        flat = net.op("Reshape", pooled, net.op("Concat", rows, net.constant([-1], np.int64), axis=0))
        return net.op("Gemm", flat, net.weight(10, 8), net.weight(10), transB=1)

    first = net.op("Relu", net.conv(net.input, 8, 3))
    net.exit(head(first), head(net.op("Relu", net.conv(first, 8, 8))))
    assert network_from_onnx(net.save(tmp_path)).workload.macs_to_exit() == (221_264, 811_168)
