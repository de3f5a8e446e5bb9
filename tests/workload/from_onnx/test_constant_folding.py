"""Constants are folded to the values of onnxruntime's kinds, within bounds of memory."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from offramp.workload.from_onnx.constant_folding import MAX_FOLDED_VALUES, constant_tensor, folded, shape_value
from offramp.workload.from_onnx.shape_propagation import propagate_shapes
from tests.workload.from_onnx.onnx_samples import Net

OPSETS = [helper.make_opsetid("", 17)]


def test_integer_division_rounds_towards_zero() -> None:
    node = helper.make_node("Div", ["a", "b"], ["y"])
    found = folded(node, [np.array([7, -7]), np.array(2)], [(2,)], OPSETS)
    assert found is not None
    assert found[0].tolist() == [3, -3]


def test_slices_of_a_shape() -> None:
    assert shape_value(helper.make_node("Shape", ["x"], ["y"], start=1, end=-1), (1, 3, None, 8)) is None
    value = shape_value(helper.make_node("Shape", ["x"], ["y"], start=-1), (1, 3, None, 8))
    assert value is not None
    assert value.tolist() == [8]
    assert shape_value(helper.make_node("Size", ["x"], ["y"]), (2, 3, 5)) == 30


@pytest.mark.parametrize("sizes", [(10**6, 10**6), (MAX_FOLDED_VALUES + 1,)])
def test_a_large_constant_is_never_made(sizes: tuple[int, ...]) -> None:
    net = Net((1, 3, 8, 8))
    large = net.op("ConstantOfShape", net.constant(list(sizes), np.int64))
    facts = propagate_shapes(net.exit(large).model())
    assert large not in facts.values
    assert facts.shapes[large] == sizes


def test_a_large_range_is_never_made() -> None:
    net = Net((1, 3, 8, 8))
    limits = (net.constant(value, np.int64) for value in (0, 10**12, 1))
    large = net.op("Range", *limits)
    assert large not in propagate_shapes(net.exit(large).model()).values


def test_random_values_are_no_constants() -> None:
    net = Net((1, 3, 8, 8))
    noise = net.op("RandomNormalLike", net.constant([1.0, 2.0]))
    facts = propagate_shapes(net.exit(noise).model())
    assert noise not in facts.values
    assert facts.shapes[noise] == (2,)


def test_stripped_and_external_constants_have_no_value() -> None:
    stripped = helper.make_tensor("w", TensorProto.INT64, (2,), [1, 2])
    stripped.ClearField("int64_data")
    assert constant_tensor(stripped) is None
    external = helper.make_tensor("w", TensorProto.INT64, (2,), [1, 2])
    external.data_location = TensorProto.EXTERNAL
    assert constant_tensor(external) is None


@pytest.mark.parametrize("kind", [object, np.str_])
def test_text_is_not_computed(kind: type) -> None:
    """Joined with itself again and again, it would double each time, which no shape shows."""
    node = helper.make_node("StringConcat", ["a", "a"], ["y"])
    text = np.array(["ab"], dtype=kind)
    assert folded(node, [text, text], [(1,)], [helper.make_opsetid("", 20)]) is None
