"""Which layers an early-exit graph has, in which stage and role, and in which order samples may leave."""

import json
from pathlib import Path

import onnx
import pytest

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.conversion import workload_from_onnx
from offramp.workload.graph import Role, Workload
from offramp.workload.layer import Op
from tests.workload.from_onnx.onnx_samples import Net, two_exits

REFERENCE = Path(__file__).parents[4] / "shared" / "reference" / "eenn"
GRAPHS = sorted(REFERENCE.glob("*/**/model.onnx"))
needs_reference = pytest.mark.skipif(not GRAPHS, reason="the reference graphs are not here")


def places(workload: Workload) -> dict[str, tuple[int, str]]:
    return {layer.name: (layer.stage, layer.role.value) for layer in workload.layers}


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
    with pytest.raises(WorkloadError, match="`weight_bits` must be >= 1, got 0"):
        workload_from_onnx(path, weight_bits=0)


def trunk(net: Net, taps: int) -> list[str]:
    """Convolutions c0, c1, ... of 4 channels, and what each gives."""
    x, found = net.input, []
    for index in range(taps):
        x = net.conv(x, 4, 3 if index == 0 else 4, name=f"c{index}")
        found.append(x)
    return found


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_exits_come_in_the_order_in_which_they_leave(tmp_path: Path, order: tuple[int, ...]) -> None:
    net = Net()
    taps = trunk(net, 8)
    heads = [net.head(taps[1], 4, name="early"), net.head(taps[3], 4, name="middle"), net.head(taps[7], 4, name="end")]
    workload = workload_from_onnx(net.exit(*(heads[index] for index in order)).save(tmp_path))
    assert workload.exits == ("early/fc", "middle/fc", "end/fc")
    assert [places(workload)[f"c{index}"] for index in range(8)] == [
        (stage, "backbone") for stage in (0, 0, 1, 1, 2, 2, 2, 2)
    ]


def test_the_longest_tail_is_the_final_one_when_two_outputs_leave_last(tmp_path: Path) -> None:
    net = Net()
    taps = trunk(net, 6)
    side, main = net.head(taps[0], 4, name="side"), net.head(taps[5], 4, name="main")
    assert workload_from_onnx(net.exit(main, side).save(tmp_path)).exits == ("side/fc", "main/fc")


def test_the_last_output_is_the_final_one_when_tails_are_alike(tmp_path: Path) -> None:
    net = Net()
    taps = trunk(net, 2)
    heavy = net.head(net.conv(net.conv(taps[0], 4, 4), 4, 4), 4, name="heavy")
    light = net.head(taps[1], 4, name="light")
    assert workload_from_onnx(net.exit(heavy, light).save(tmp_path)).exits == ("heavy/fc", "light/fc")
    net.outputs.reverse()
    assert workload_from_onnx(net.save(tmp_path)).exits == ("light/fc", "heavy/fc")


def test_layers_come_in_the_order_in_which_they_run(tmp_path: Path) -> None:
    """A graph that computes all its branches after its trunk."""
    net = Net()
    taps = trunk(net, 6)
    heads = [net.head(taps[1], 4, name="h0"), net.head(taps[3], 4, name="h1"), net.head(taps[5], 4, name="h2")]
    workload = workload_from_onnx(net.exit(*heads).save(tmp_path))
    names = [layer.name for layer in workload.layers]
    assert names == ["c0", "c1", "h0/pool", "h0/fc", "c2", "c3", "h1/pool", "h1/fc", "c4", "c5", "h2/pool", "h2/fc"]


def test_residual_and_shared_layers_are_backbone(tmp_path: Path) -> None:
    net = Net()
    first = net.conv(net.input, 4, 3, name="stem")
    shortcut = net.conv(first, 4, 4, kernel=1, name="shortcut")
    early = net.head(first, 4, name="early")
    added = net.op("Add", net.conv(first, 4, 4, name="body"), shortcut, name="add")
    last = net.head(net.conv(added, 4, 4, name="top"), 4, name="last")
    workload = workload_from_onnx(net.exit(early, last).save(tmp_path))
    assert places(workload) == {
        "stem": (0, "backbone"),
        "early/pool": (0, "branch"),
        "early/fc": (0, "branch"),
        "shortcut": (1, "backbone"),
        "body": (1, "backbone"),
        "add": (1, "backbone"),
        "top": (1, "backbone"),
        "last/pool": (1, "branch"),
        "last/fc": (1, "branch"),
    }


def test_an_exit_that_feeds_the_next_one_is_backbone(tmp_path: Path) -> None:
    net = Net()
    taps = trunk(net, 2)
    early = net.head(taps[0], 4, name="early")
    both = net.op("Add", early, net.head(taps[1], 4, name="late"), name="sum")
    workload = workload_from_onnx(net.exit(early, both).save(tmp_path))
    assert workload.exits == ("early/fc", "sum")
    assert places(workload)["early/fc"] == (0, "backbone")


def test_two_outputs_of_one_layer_are_one_exit(tmp_path: Path) -> None:
    net = two_exits()
    net.exit(net.op("Softmax", net.outputs[0].name))
    assert workload_from_onnx(net.save(tmp_path)).exits == ("exit0/fc", "exit1/fc")


def final_layers(net: Net, last: str, tmp_path: Path) -> set[str]:
    """Branch layers of the only stage."""
    workload = workload_from_onnx(net.exit(last).save(tmp_path), allow_single_exit=True)
    return {layer.name for layer in workload.layers if layer.role is Role.BRANCH}


def test_the_classifier_starts_behind_the_last_convolution(tmp_path: Path) -> None:
    net = Net()
    pooled = net.op("MaxPool", trunk(net, 2)[-1], kernel_shape=[2, 2], strides=[2, 2], name="pool")
    hidden = net.op("Relu", net.op("Gemm", net.op("Flatten", pooled), net.weight(64, 16), name="hidden"))
    last = net.op("Gemm", hidden, net.weight(16, 10), name="fc")
    assert final_layers(net, last, tmp_path) == {"pool", "hidden", "fc"}


def test_pooling_within_the_trunk_is_backbone(tmp_path: Path) -> None:
    net = Net()
    pooled = net.op("MaxPool", trunk(net, 1)[0], kernel_shape=[2, 2], strides=[2, 2], name="pool")
    last = net.head(net.conv(pooled, 4, 4, name="top"), 4, name="head")
    assert final_layers(net, last, tmp_path) == {"head/pool", "head/fc"}


def test_a_convolution_on_one_pixel_is_part_of_the_classifier(tmp_path: Path) -> None:
    net = Net()
    pooled = net.op("GlobalAveragePool", trunk(net, 1)[0], name="pool")
    hidden = net.op("HardSwish", net.conv(pooled, 16, 4, kernel=1, name="hidden"))
    last = net.op("Flatten", net.conv(hidden, 10, 16, kernel=1, name="logits"))
    assert final_layers(net, last, tmp_path) == {"pool", "hidden", "logits"}


def test_squeeze_and_excitation_is_no_classifier(tmp_path: Path) -> None:
    net = Net()
    x = trunk(net, 1)[0]
    gate = net.conv(net.op("GlobalAveragePool", x, name="squeeze"), 4, 4, kernel=1, name="excite")
    last = net.head(net.op("Mul", x, net.op("Sigmoid", gate), name="scale"), 4, name="head")
    assert final_layers(net, last, tmp_path) == {"head/pool", "head/fc"}


def test_without_pooling_or_dense_layer_the_last_layer_classifies(tmp_path: Path) -> None:
    net = Net()
    assert final_layers(net, trunk(net, 3)[-1], tmp_path) == {"c2"}


def test_one_exit_is_refused_unless_allowed(tmp_path: Path) -> None:
    net = Net()
    path = net.exit(net.head(trunk(net, 2)[-1], 4, name="head")).save(tmp_path)
    with pytest.raises(WorkloadError, match=r"one exit only, so it is not an early-exit network.*allow_single_exit"):
        workload_from_onnx(path)
    workload = workload_from_onnx(path, allow_single_exit=True)
    assert workload.num_stages == 1
    assert workload.static().macs_to_exit() == workload.macs_to_exit()


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
