"""Rewritten graphs compute what they computed before, in the operators that runtimes know best."""

from collections import Counter
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from offramp.deploy.onnx.simplify import pass_integers_on_, use_global_pooling_

SHAPE = (2, 3, 5, 4)


def run(model: Any, feeds: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results: list[Any] = session.run(None, feeds)
    return results


def mean_model(axes: list[int], keepdims: int | None, shape: tuple[int, ...] = SHAPE) -> Any:
    options = {} if keepdims is None else {"keepdims": keepdims}
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], name="mean", **options)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(axes, dtype=np.int64), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3, -2]])
@pytest.mark.parametrize("keepdims", [0, 1, None])
def test_spatial_means_become_pooling(axes: list[int], keepdims: int | None) -> None:
    model = mean_model(axes, keepdims)
    inputs = {"x": np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)}
    (before,) = run(model, inputs)
    use_global_pooling_(model)
    (after,) = run(model, inputs)
    assert "GlobalAveragePool" in {node.op_type for node in model.graph.node}
    assert "ReduceMean" not in {node.op_type for node in model.graph.node}
    assert after.shape == before.shape
    assert np.abs(after - before).max() < 1e-6


@pytest.mark.parametrize(
    ("axes", "shape"), [([1, 2], SHAPE), ([2], SHAPE), ([1, 2, 3], SHAPE), ([2, 3], (2, 3, 5, 4, 6))]
)
def test_other_means_stay(axes: list[int], shape: tuple[int, ...]) -> None:
    model = mean_model(axes, 1, shape)
    before = model.SerializeToString()
    use_global_pooling_(model)
    assert model.SerializeToString() == before


def grid(name: str, step: float, zero: int) -> list[Any]:
    scale = numpy_helper.from_array(np.array(step, dtype=np.float32), f"{name}_step")
    return [scale, numpy_helper.from_array(np.array(zero, dtype=np.uint8), f"{name}_zero")]


def two_graphs(step: float = 0.5, zero: int = 3, *, bare_use: bool = False) -> tuple[Any, Any]:
    """A graph that ends by dequantising to ``f``, and one that begins by quantising it."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "a_step", "a_zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "a_step", "a_zero"], ["f"]),
    ]
    before = helper.make_graph(nodes, "before", [], [], grid("a", 0.5, 3))
    following = [
        helper.make_node("QuantizeLinear", ["f", "b_step", "b_zero"], ["r"]),
        helper.make_node("DequantizeLinear", ["r", "b_step", "b_zero"], ["g"]),
        helper.make_node("Add", ["g", "f" if bare_use else "g"], ["y"]),
    ]
    return before, helper.make_graph(following, "after", [], [], grid("b", step, zero))


def joined(before: Any, after: Any) -> Any:
    graph = helper.make_graph(
        [*before.node, *after.node],
        "joined",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8])],
        [*before.initializer, *after.initializer],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_equal_grids_pass_their_integers_on() -> None:
    before, after = two_graphs()
    inputs = {"x": np.linspace(-4, 200, 8).astype(np.float32)}
    (wanted,) = run(joined(before, after), inputs)
    pass_integers_on_(before, after, "f")
    assert Counter(node.op_type for node in after.node) == {"DequantizeLinear": 1, "Add": 1}
    assert after.node[0].input[0] == "q"
    (found,) = run(joined(before, after), inputs)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("options", [{"step": 0.25}, {"zero": 4}, {"bare_use": True}])
def test_other_grids_and_other_uses_stay(options: dict[str, Any]) -> None:
    before, after = two_graphs(**options)
    unchanged = after.SerializeToString()
    pass_integers_on_(before, after, "f")
    assert after.SerializeToString() == unchanged


def test_floating_point_features_stay() -> None:
    _, after = two_graphs()
    unchanged = after.SerializeToString()
    relu = helper.make_graph([helper.make_node("Relu", ["x"], ["f"])], "before", [], [])
    pass_integers_on_(relu, after, "f")
    pass_integers_on_(relu, after, "elsewhere")
    assert after.SerializeToString() == unchanged
