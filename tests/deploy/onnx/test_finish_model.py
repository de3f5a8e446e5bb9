"""The lowest versions of hand-made graphs, by the tables of the ONNX standard."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from offramp.deploy.onnx.finish_model import finish_model_, opset_of


def made(*nodes: Any, constants: tuple[Any, ...] = (), opsets: tuple[Any, ...] = (("", 18),)) -> Any:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "a", "b", "c"])],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*item) for item in opsets])


def node(operator: str, *inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, list(inputs), [output], **attributes)


AXES = ("axes", np.array([2, 3]))

# The operator, the opset that introduced its present definition, and the IR version of that opset's release.
DEFINITIONS = [
    (node("Relu", "x"), (), 14, 7),
    (node("Softmax", "x", axis=1), (), 13, 7),
    (node("GlobalAveragePool", "x"), (), 13, 7),
    (node("Mish", "x"), (), 18, 8),
    (node("ReduceMean", "x", "axes"), (AXES,), 18, 8),
]


@pytest.mark.parametrize(("operator", "constants", "opset", "ir_version"), DEFINITIONS)
def test_the_versions_are_the_lowest_that_hold_the_operators(
    operator: Any, constants: tuple[Any, ...], opset: int, ir_version: int
) -> None:
    model = made(operator, constants=constants)
    model.ir_version = 10
    finish_model_(model)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", opset)]
    assert (opset_of(model), model.ir_version) == (opset, ir_version)


def test_an_operator_inside_a_branch_counts() -> None:
    branches = {
        name: helper.make_graph(
            [node(operator, "x", output=f"{name}_y")],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, ["batch", "a", "b", "c"])],
        )
        for name, operator in (("then_branch", "Mish"), ("else_branch", "Relu"))
    }
    model = made(node("If", "choice", **branches), constants=(("choice", np.array(True)),))
    finish_model_(model)
    assert opset_of(model) == 18


def test_a_domain_is_listed_once_and_only_if_it_is_used() -> None:
    """The standard domain has two names, and stages that are joined each bring an entry."""
    model = made(node("Relu", "x"), opsets=(("", 18), ("ai.onnx", 18), ("", 16), ("ai.onnx.ml", 3)))
    finish_model_(model)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 14)]


def test_constants_that_nothing_reads_are_removed_and_others_stay() -> None:
    """``in_branch`` is read by a graph inside only, ``default`` is an input whose value may be left out."""
    inner = helper.make_graph(
        [node("Add", "x", "in_branch", output="inner_y")],
        "inner",
        [],
        [helper.make_tensor_value_info("inner_y", TensorProto.FLOAT, ["batch", "a", "b", "c"])],
        [numpy_helper.from_array(np.ones(2, np.float32), "unused_inside")],
    )
    names = ("in_branch", "default", "unused")
    constants = tuple((name, np.ones(1, np.float32)) for name in names)
    choice = ("choice", np.array(True))
    model = made(node("If", "choice", then_branch=inner, else_branch=inner), constants=(choice, *constants))
    model.graph.input.append(helper.make_tensor_value_info("default", TensorProto.FLOAT, [1]))
    finish_model_(model)
    assert {tensor.name for tensor in model.graph.initializer} == {"choice", "in_branch", "default"}
    assert all(not attribute.g.initializer for attribute in model.graph.node[0].attribute)


def test_a_graph_whose_shapes_contradict_each_other_is_refused() -> None:
    model = made(node("Add", "x", "c"), constants=(("c", np.ones(5, np.float32)),))
    with pytest.raises(onnx.shape_inference.InferenceError):
        finish_model_(model)
