"""Which outputs are exits, in which order samples may leave, and the stage and role of every layer."""

from pathlib import Path

import pytest
from onnx import helper

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.conversion import network_from_onnx
from offramp.workload.graph import Role
from tests.workload.from_onnx.onnx_samples import Net, places, two_exits, workload_from_onnx


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


def alike(heads: tuple[str, str] = ("", "")) -> tuple[Net, list[str]]:
    """Two heads behind a convolution of 9,216 MACs: with one more such convolution, and with two more."""
    net = Net()
    taps = trunk(net, 2)
    light = net.head(taps[1], 4, name="light")
    heavy = net.head(net.conv(net.conv(taps[0], 4, 4), 4, 4), 4, name="heavy")
    return net, [light, heavy]


def test_the_final_exit_is_the_one_that_runs_longest_if_it_comes_last(tmp_path: Path) -> None:
    net, heads = alike()
    assert workload_from_onnx(net.exit(*heads).save(tmp_path)).exits == ("light/fc", "heavy/fc")


def test_the_final_exit_is_asked_for_where_it_is_not_plain(tmp_path: Path) -> None:
    net, (light, heavy) = alike()
    path = net.exit(heavy, light).save(tmp_path)
    with pytest.raises(WorkloadError, match=rf"`--final NAME` .*; the outputs are {heavy}, {light}\."):
        workload_from_onnx(path)
    assert workload_from_onnx(path, final=heavy).exits == ("light/fc", "heavy/fc")
    assert workload_from_onnx(path, final=light).exits == ("heavy/fc", "light/fc")
    with pytest.raises(WorkloadError, match=rf"must be an output of .*, which are {heavy}, {light}; got 'nobody'"):
        workload_from_onnx(path, final="nobody")


def test_two_equal_heads_are_asked_about_in_any_order(tmp_path: Path) -> None:
    net = Net()
    (tap,) = trunk(net, 1)
    net.exit(net.head(tap, 4, name="one"), net.head(tap, 4, name="other"))
    with pytest.raises(WorkloadError, match="not plain which output"):
        workload_from_onnx(net.save(tmp_path))


def test_a_deeper_exit_with_fewer_macs_is_asked_about(tmp_path: Path) -> None:
    net = Net()
    (tap,) = trunk(net, 1)
    wide = net.head(net.conv(tap, 64, 4), 64, name="wide")
    deep = net.head(net.conv(net.conv(tap, 4, 4), 4, 4), 4, name="deep")
    with pytest.raises(WorkloadError, match="not plain which output"):
        workload_from_onnx(net.exit(wide, deep).save(tmp_path))


@pytest.mark.parametrize("tail", [1, 2, 4, 5])
@pytest.mark.parametrize("final_first", [False, True])
def test_the_order_of_the_outputs_does_not_swap_exits(tmp_path: Path, tail: int, final_first: bool) -> None:
    """A branch with a convolution of stride 2, and a trunk of one or more convolutions of stride 1."""
    net = Net((1, 3, 32, 32))
    x = stem = net.conv(net.input, 16, 3, name="stem")
    branch = net.head(net.conv(stem, 16, 16, strides=[2, 2], name="reduce"), 16, name="early")
    for _ in range(tail):
        x = net.conv(x, 16, 16)
    last = net.head(x, 16, name="last")
    workload = workload_from_onnx(net.exit(*((last, branch) if final_first else (branch, last))).save(tmp_path))
    assert workload.exits == ("early/fc", "last/fc")
    assert workload.static().macs_to_exit() == (16 * 27 * 1024 + tail * 16 * 16 * 9 * 1024 + 160,)


@pytest.mark.parametrize("names", [("exit_0", "exit_1"), ("Exit10", "exit11"), ("aux", "final_logits")])
@pytest.mark.parametrize("swapped", [False, True])
def test_names_say_which_exit_is_final(tmp_path: Path, names: tuple[str, str], swapped: bool) -> None:
    net, (light, heavy) = alike()
    first, last = (heavy, light) if swapped else (light, heavy)
    for name, output in zip(names, (first, last), strict=True):
        net.nodes.append(helper.make_node("Identity", [output], [name]))
    path = net.exit(*names[::-1]).save(tmp_path)
    assert workload_from_onnx(path).exits == (("heavy/fc", "light/fc") if swapped else ("light/fc", "heavy/fc"))


def test_names_that_contradict_the_layers_are_asked_about(tmp_path: Path) -> None:
    net = Net()
    taps = trunk(net, 4)
    for name, tap in zip(("exit_1", "exit_0"), (taps[0], taps[3]), strict=True):
        net.nodes.append(helper.make_node("Identity", [net.head(tap, 4)], [name]))
    with pytest.raises(WorkloadError, match="not plain which output"):
        workload_from_onnx(net.exit("exit_0", "exit_1").save(tmp_path))


def test_a_layer_that_two_early_exits_share_is_no_part_of_the_static_network(tmp_path: Path) -> None:
    """Its place in the file, behind the trunk, makes neither of the two the final exit."""
    net = Net()
    taps = trunk(net, 5)
    last = net.head(taps[4], 4, name="last")
    neck = net.conv(taps[1], 4, 4, name="neck")
    boxes, classes = net.head(neck, 4, name="boxes"), net.head(net.op("Relu", neck), 4, name="classes")
    workload = workload_from_onnx(net.exit(last, boxes, classes).save(tmp_path))
    assert workload.exits == ("boxes/fc", "classes/fc", "last/fc")
    assert places(workload)["neck"] == (0, "branch")
    assert {layer.name for layer in workload.static().layers} == {*(f"c{i}" for i in range(5)), "last/pool", "last/fc"}


def test_exits_are_shown_by_the_names_of_their_outputs(tmp_path: Path) -> None:
    net = two_exits()
    early, last = (output.name for output in net.outputs)
    probabilities = net.op("Softmax", early)
    net.exit(probabilities).outputs.reverse()
    network = network_from_onnx(net.save(tmp_path))
    assert network.workload.exits == ("exit0/fc", "exit1/fc")
    assert network.outputs == (f"{probabilities}, {early}", last)


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
    workload = workload_from_onnx(net.exit(last).save(tmp_path))
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
