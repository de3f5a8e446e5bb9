"""The raw data of tensors are set aside and put back bit for bit; what no writer of ONNX writes is refused."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from offramp.deploy.graph_rules.tensor_facts import RefusedGraph
from offramp.deploy.graph_rules.wire_scan import scan_wire
from offramp.deploy.runtime.graph_check import check_graph
from offramp.errors import BundleError


def weight(name: str, *sizes: int, dtype: Any = np.float32) -> Any:
    values = np.random.default_rng(len(name)).integers(-9, 9, sizes)
    return numpy_helper.from_array(values.astype(dtype), name)


def model(nodes: list[Any], weights: list[Any]) -> Any:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_weights_come_back_bit_for_bit_wherever_they_are() -> None:
    """In the graph, in a node, in a branch, and as small as a mark."""
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Mul", ["b", name], [f"{name}_result"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_result", TensorProto.FLOAT, None)],
            [weight(name, 1, 4)],
        )
        for name in ("then", "else")
    }
    nodes = [
        helper.make_node("Constant", [], ["c"], value=weight("c", 4)),
        helper.make_node("Add", ["x", "c"], ["a"]),
        helper.make_node("Add", ["a", "scalar"], ["b"]),
        helper.make_node("If", ["yes"], ["y"], **branches),
    ]
    yes = numpy_helper.from_array(np.array(True), "yes")
    made = model(nodes, [weight("scalar"), yes, weight("unread", 700)])
    got = check_graph(made.SerializeToString(), "file", branches=True)
    content = got.content()
    again = onnx.load_model_from_string(content)
    assert again == got.model
    assert [item.name for item in again.graph.initializer] == ["scalar", "yes"]
    assert again.graph.initializer[0] == made.graph.initializer[0]
    assert again.graph.node[0].attribute == made.graph.node[0].attribute
    for ours, theirs in zip(again.graph.node[3].attribute, made.graph.node[3].attribute, strict=True):
        assert ours.g.initializer == theirs.g.initializer
    # What was checked passes the check again, and stays as it is.
    assert check_graph(content, "file", branches=True).content() == content


def test_the_structure_holds_no_raw_data() -> None:
    made = model([helper.make_node("Gemm", ["x", "w"], ["y"])], [weight("w", 4, 4)])
    stripped = scan_wire(made.SerializeToString())
    raw = made.graph.initializer[0].raw_data
    assert raw not in stripped.structure
    assert [bytes(item) for item in stripped.raw_data] == [raw]
    (tensor,) = onnx.load_model_from_string(stripped.structure).graph.initializer
    assert bytes(stripped.data_of(tensor)) == raw
    assert stripped.filled(stripped.structure) == made.SerializeToString()


def test_raw_data_that_look_like_a_mark_are_no_mark() -> None:
    """Four zero bytes would be the mark of the first tensor."""
    first = numpy_helper.from_array(np.full((1, 4), 7.0, np.float32), "first")
    second = numpy_helper.from_array(np.zeros(1, np.float32), "second")
    assert second.raw_data == bytes(4)
    nodes = [helper.make_node("Add", ["x", "first"], ["a"]), helper.make_node("Add", ["a", "second"], ["y"])]
    made = model(nodes, [first, second])
    got = onnx.load_model_from_string(check_graph(made.SerializeToString(), "file").content())
    assert list(got.graph.initializer) == [first, second]


def test_of_raw_data_that_are_there_twice_the_last_count() -> None:
    tensor = numpy_helper.from_array(np.ones(1, np.float32), "w")
    content = tensor.SerializeToString() + TensorProto(raw_data=np.float32(5).tobytes()).SerializeToString()
    parsed = TensorProto.FromString(content)
    made = model([helper.make_node("Add", ["x", "w"], ["y"])], [parsed])
    whole = made.SerializeToString()
    assert numpy_helper.to_array(check_graph(whole, "file").model.graph.initializer[0]).tolist() == [5.0]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (b"\x3d\0\0\0\0", "has no field 7 of wire type 5"),  # the graph as four bytes
        (b"\x0b\x0c", "has no field 1 of wire type 3"),  # a group
        (b"\x0a\x00", "has no field 1 of wire type 2"),  # the version as text
        (b"\x3a\x05\x0a", "longer than what it is in"),
    ],
)
def test_fields_of_another_wire_type_are_refused(field: bytes, words: str) -> None:
    content = model([helper.make_node("Relu", ["x"], ["y"])], []).SerializeToString()
    check_graph(content, "file")
    with pytest.raises(BundleError, match=words):
        check_graph(content + field, "file")


def test_messages_that_are_nested_without_end_are_refused() -> None:
    """Sequences of sequences of sequences, as the type of a value."""
    content = b""
    for _ in range(200):
        content = _field(4, _field(1, content))
    with pytest.raises(RefusedGraph, match="nested more than 100 deep"):
        scan_wire(_field(7, _field(11, _field(2, content))))


def test_a_tensor_in_an_attribute_takes_no_data_from_outside() -> None:
    value = numpy_helper.from_array(np.zeros(1, np.float32))
    sizes = numpy_helper.from_array(np.array([1, 4]), "sizes")
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["c"], value=value),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    made = model(nodes, [sizes])
    check_graph(made.SerializeToString(), "file")
    tensor = made.graph.node[0].attribute[0].t
    tensor.raw_data = np.float32(np.nan).tobytes()
    with pytest.raises(BundleError, match="NaN"):
        check_graph(made.SerializeToString(), "file")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    with pytest.raises(BundleError, match="another file"):
        check_graph(made.SerializeToString(), "file")


def _field(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content
