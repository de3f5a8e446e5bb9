"""Control flow in a graph: what runs is priced, an early exit is an exit, and all else is refused."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from offramp.errors import UnsupportedLayerError, WorkloadError
from offramp.workload.from_onnx.conversion import OnnxNetwork, network_from_onnx
from tests.workload.from_onnx.onnx_samples import Net

STEM, CONV, LAST = 16 * 3 * 9 * 256, 16 * 16 * 9 * 256, 32 * 16 * 9 * 256
BASE = STEM + CONV + LAST
"""stem 3 -> 16, conv 16 -> 16, what is tested, last 16 -> 32, each 3 x 3 on 16 x 16."""


def info(name: str, shape: Sequence[int] | None = None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(
    nodes: Sequence[onnx.NodeProto],
    *outputs: str,
    inputs: Sequence[onnx.ValueInfoProto] = (),
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.GraphProto:
    return helper.make_graph(nodes, "inner", inputs, [info(name) for name in outputs], constants)  # fmt: skip


def around(build: Callable[[Net, str], str]) -> Net:
    net = Net((1, 3, 16, 16))
    y = net.conv(net.conv(net.input, 16, 3, name="stem"), 16, 16, name="conv")
    return net.exit(net.conv(build(net, y), 32, 16, name="last"))


def read(net: Net, folder: Path) -> OnnxNetwork:
    return network_from_onnx(net.save(folder))


def chosen(net: Net, condition: str, **branches: onnx.GraphProto) -> str:
    return net.op("If", condition, name="if", **branches)


def convolving(net: Net, y: str, result: str = "z") -> onnx.GraphProto:
    weight = numpy_helper.from_array(np.zeros((16, 16, 3, 3), np.float32), "inner_weight")
    return graph([helper.make_node("Conv", [y, "inner_weight"], [result], name="inner", pads=[1] * 4)], result,
                 constants=[weight])  # fmt: skip


def negating(y: str) -> onnx.GraphProto:
    return graph([helper.make_node("Neg", [y], ["z"])], "z")


def dead(y: str) -> onnx.GraphProto:
    """A branch that needs what no rule prices."""
    return graph([helper.make_node("Det", [y], ["z"])], "z")


@pytest.mark.parametrize("taken", [True, False])
def test_the_branch_that_a_constant_chooses_is_priced(tmp_path: Path, taken: bool) -> None:
    def build(net: Net, y: str) -> str:
        branches = {"then_branch": convolving(net, y), "else_branch": negating(y)}
        return chosen(net, net.constant(taken, np.bool_), **branches)

    network = read(around(build), tmp_path)
    assert network.workload.macs_to_exit() == (BASE + (CONV if taken else 0),)


def test_a_condition_on_a_shape_is_a_constant(tmp_path: Path) -> None:
    """As torch writes ``squeeze``: the branch depends on a size, which is fixed."""

    def build(net: Net, y: str) -> str:
        size = net.op("Gather", net.op("Shape", y), net.constant(1, np.int64))
        is_one = net.op("Equal", size, net.constant(1, np.int64))
        return chosen(net, is_one, then_branch=dead(y), else_branch=convolving(net, y))

    assert read(around(build), tmp_path).workload.macs_to_exit() == (BASE + CONV,)  # fmt: skip


def test_branches_within_branches_and_names_that_are_taken(tmp_path: Path) -> None:
    def build(net: Net, y: str) -> str:
        yes = net.constant(True, np.bool_)
        inner = helper.make_node("If", [yes], ["t0"], name="if", then_branch=convolving(net, "u", "z"),
                                 else_branch=dead("u"))  # fmt: skip
        first = helper.make_node("Conv", [y, "w0_inner"], ["u"], name="conv", pads=[1] * 4)
        weight = numpy_helper.from_array(np.zeros((16, 16, 3, 3), np.float32), "w0_inner")
        return chosen(net, yes, then_branch=graph([first, inner], "t0", constants=[weight]), else_branch=dead(y))

    network = read(around(build), tmp_path)
    assert network.workload.macs_to_exit() == (BASE + 2 * CONV,)
    assert len({layer.name for layer in network.workload.layers}) == 5


def test_a_branch_that_hands_on_its_surroundings(tmp_path: Path) -> None:
    def build(net: Net, y: str) -> str:
        return chosen(net, net.constant(True, np.bool_), then_branch=graph([], y), else_branch=dead(y))

    assert read(around(build), tmp_path).workload.macs_to_exit() == (BASE,)


def loop(net: Net, y: str, count: str, *, goes_on: str = "Identity", collects: bool = False) -> str:
    weight = numpy_helper.from_array(np.zeros((16, 16, 3, 3), np.float32), "inner_weight")
    nodes = [
        helper.make_node(goes_on, ["on"], ["still"]),
        helper.make_node("Conv", ["v", "inner_weight"], ["next"], name="inner", pads=[1] * 4),
    ]
    body = graph(nodes, "still", "next", *(["next"] if collects else []), constants=[weight],
                 inputs=[info("i", [], TensorProto.INT64), info("on", [], TensorProto.BOOL), info("v")])  # fmt: skip
    body.output[0].type.CopyFrom(info("x", [], TensorProto.BOOL).type)
    name = f"t{len(net.nodes)}"
    extra = [f"{name}_all"] if collects else []
    true = net.constant(True, np.bool_)
    net.nodes.append(helper.make_node("Loop", [count, true, y], [name, *extra], name="loop", body=body))
    return name


@pytest.mark.parametrize("count", [-3, 0, 1, 5])
def test_a_loop_costs_its_body_as_often_as_it_runs(tmp_path: Path, count: int) -> None:
    network = read(around(lambda net, y: loop(net, y, net.constant(count, np.int64))), tmp_path)
    assert network.workload.macs_to_exit() == (BASE + max(0, count) * CONV,)


@pytest.mark.parametrize(
    "build",
    [
        lambda net, y: loop(net, y, net.constant(5, np.int64), goes_on="Not"),
        lambda net, y: loop(net, y, net.constant(5, np.int64), collects=True),
        lambda net, y: loop(net, y, net.constant(10**6, np.int64)),
        lambda net, y: loop(net, y, net.op("Cast", net.op("ReduceMax", y, keepdims=0), to=7)),
        lambda net, y: chosen(net, net.op("Greater", net.op("ReduceMax", y, keepdims=0), net.constant(0.0)),
                              then_branch=convolving(net, y), else_branch=negating(y)),
    ],
)  # fmt: skip
def test_control_flow_that_depends_on_values_is_refused_by_name(
    tmp_path: Path, build: Callable[[Net, str], str]
) -> None:
    with pytest.raises(UnsupportedLayerError, match=r"(loop \(Loop\)|if \(If\)) .*(constant number|early exit)"):
        read(around(build), tmp_path)


def confident(net: Net, logits: str) -> tuple[str, str]:
    """The largest probability, and whether it is above the threshold."""
    sure = net.op("ReduceMax", net.op("Softmax", logits, axis=-1), axes=[1], keepdims=0)
    return sure, net.op("GreaterOrEqual", sure, net.constant([0.9]))


def as_nodes(model: Net, start: int) -> list[onnx.NodeProto]:
    made = model.nodes[start:]
    del model.nodes[start:]
    return made


def three_exits(swapped: bool = False) -> Net:
    """Three stages in nested `If` nodes, with the outputs logits, exit and confidence."""
    net = Net((1, 3, 16, 16))

    def stage(index: int, x: str) -> list[str]:
        features = net.conv(x, 16, 3 if index == 0 else 16, name=f"stage{index}")
        logits = net.head(features, 16, name=f"head{index}")
        number = net.op("Identity", net.constant([index], np.int64))
        sure, leaves = confident(net, logits)
        if index == 2:
            return [logits, number, sure]
        start = len(net.nodes)
        results = stage(index + 1, features)
        marker = [net.op("Identity", item) for item in results]
        further = graph(as_nodes(net, start), *marker)
        stop = graph([helper.make_node("Identity", [item], [f"{item}_stop{index}"]) for item in (logits, number, sure)],
                     *(f"{item}_stop{index}" for item in (logits, number, sure)))  # fmt: skip
        if swapped:
            leaves = net.op("Not", leaves)
            stop, further = further, stop
        outputs = [f"{name}{index}" if index else name for name in ("logits", "exit", "confidence")]
        net.nodes.append(
            helper.make_node("If", [leaves], outputs, name=f"leave{index}", then_branch=stop, else_branch=further)
        )
        return outputs

    stage(0, net.input)
    return net.exit("logits", "exit", "confidence")


@pytest.mark.parametrize("swapped", [False, True])
def test_an_early_exit_in_an_if_is_an_exit(tmp_path: Path, swapped: bool) -> None:
    network = read(three_exits(swapped), tmp_path)
    first, later, head = 16 * 3 * 9 * 256, 16 * 16 * 9 * 256, 160
    assert network.workload.macs_to_exit() == (first + head, first + later + 2 * head, first + 2 * later + 3 * head)
    assert network.workload.static().macs_to_exit() == (first + 2 * later + head,)
    assert network.outputs == ("logits (leave0)", "logits (leave1)", "logits")
    assert network.notes == (
        "The file decides itself whether a sample leaves, at 2 `If` node(s): the rows are its exits, and the decisions "
        "are not priced.",
    )
    assert {layer.name for layer in network.workload.layers} == {
        f"{name}" for index in range(3) for name in (f"stage{index}", f"head{index}/pool", f"head{index}/fc")
    }


def test_an_if_that_others_read_is_no_early_exit(tmp_path: Path) -> None:
    net = three_exits()
    net.outputs.clear()
    net.exit(net.conv("logits", 4, 10, name="after"))
    with pytest.raises(WorkloadError):
        read(net, tmp_path)


def gated(net: Net, threshold: str, *, layer: bool = False) -> Net:
    """One early exit, whose decision compares a threshold with the exit's count of itself or with a layer."""
    x = net.conv(net.input, 16, 3, name="stem")
    early = net.head(x, 16, name="early")
    sure = (
        net.op("ReduceMax", net.op("MatMul", early, net.weight(10, 4), name="gate"), keepdims=0)
        if layer
        else (net.constant(1.0))
    )
    leaves = net.op("GreaterOrEqual", sure, threshold)
    start = len(net.nodes)
    last = net.head(net.conv(x, 16, 16, name="rest"), 16, name="last")
    further = graph(as_nodes(net, start), last)
    stop = graph([helper.make_node("Identity", [early], ["stopped"])], "stopped")
    net.nodes.append(helper.make_node("If", [leaves], ["y"], name="leave", then_branch=stop, else_branch=further))
    return net.exit("y")  # fmt: skip


def test_a_threshold_that_the_user_may_set_is_no_constant(tmp_path: Path) -> None:
    """Its default would never let a sample leave at the early exit, whose head runs all the same."""
    net = Net((1, 3, 16, 16))
    threshold = net.constant(2.0)
    net.inputs.append(info(threshold, []))
    assert read(gated(net, threshold), tmp_path).outputs == ("y (leave)", "y")
    fixed = Net((1, 3, 16, 16))
    assert read(gated(fixed, fixed.constant(2.0)), tmp_path).outputs == ("y",)


def test_a_decision_with_layers_of_its_own_is_refused_by_name(tmp_path: Path) -> None:
    net = Net((1, 3, 16, 16))
    with pytest.raises(WorkloadError, match=r"decision of `If` node 'leave' .* layers of its own: gate"):
        read(gated(net, net.constant(0.5), layer=True), tmp_path)


def test_a_bundle_of_one_exit_is_a_plain_network(tmp_path: Path) -> None:
    net = Net((1, 3, 16, 16))
    logits = net.head(net.conv(net.input, 16, 3, name="stem"), 16, name="head")
    sure, _ = confident(net, logits)
    for source, name in ((logits, "logits"), (net.constant([0], np.int64), "exit"), (sure, "confidence")):
        net.nodes.append(helper.make_node("Identity", [source], [name]))
    network = read(net.exit("logits", "exit", "confidence"), tmp_path)
    assert network.outputs == ("logits",)
    assert network.workload.macs_to_exit() == (16 * 27 * 256 + 160,)


def test_names_of_every_kind_of_subgraph_survive_a_round_trip(tmp_path: Path) -> None:
    """The checker of ONNX accepts what is written out."""
    from offramp.workload.from_onnx.subgraphs.written_out import write_out_control_flow

    def build(net: Net, y: str) -> str:
        return loop(net, chosen(net, net.constant(True, np.bool_), then_branch=convolving(net, y),
                                else_branch=negating(y)), net.constant(3, np.int64))  # fmt: skip

    model: Any = around(build).model()
    write_out_control_flow(model)
    model.graph.output[0].CopyFrom(info(model.graph.output[0].name, [1, 32, 16, 16]))
    onnx.checker.check_model(model, full_check=True)
    assert not any(node.op_type in ("If", "Loop") for node in model.graph.node)


@pytest.mark.parametrize("removed", ["attribute", "input", "output of a branch"])
def test_an_incomplete_if_is_refused_in_words(tmp_path: Path, removed: str) -> None:
    net = around(lambda net, y: chosen(net, net.constant(True, np.bool_), then_branch=convolving(net, y),
                                       else_branch=negating(y)))  # fmt: skip
    node = next(node for node in net.nodes if node.op_type == "If")
    if removed == "attribute":
        del node.attribute[:]
    elif removed == "input":
        del node.input[:]
    else:
        for attribute in node.attribute:
            del attribute.g.output[:]
    with pytest.raises(WorkloadError):
        read(net, tmp_path)
