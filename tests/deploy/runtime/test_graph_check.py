"""Graphs that a bundle must not have, built by hand; each would be dangerous to run, or to trust."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from offramp.deploy.onnx.nested_if import early_exit_model
from offramp.deploy.onnx.stage_graphs import joined_model
from offramp.deploy.runtime.graph_check import check_graph, known_shapes
from offramp.errors import BundleError
from offramp.exits.exit_policy import ExitPolicy
from tests.deploy import toys


def model(nodes: list[Any], initializers: list[Any] | None = None, **options: Any) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers or [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **options)


def ints(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def node(operator: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, list(inputs), ["y"], **attributes)


def refused(made: Any, words: str, **options: Any) -> None:
    with pytest.raises(BundleError, match=words):
        check_graph(made.SerializeToString(), "file", **options)


def test_the_graphs_of_a_bundle_pass(models: list[Any]) -> None:
    policy = ExitPolicy("margin", (0.5, 0.6), (1.0, 2.0, 3.0))
    for made in (*models, joined_model(models)):
        check_graph(made.SerializeToString(), "file")
    nested = early_exit_model(models, policy, len(toys.CLASSES)).SerializeToString()
    check_graph(nested, "file", branches=True)
    with pytest.raises(BundleError, match="'If'"):
        check_graph(nested, "file")


def test_shapes_are_for_one_sample() -> None:
    made = model([node("Gemm", "x", "w")], [numpy_helper.from_array(np.zeros((4, 7), np.float32), "w")])
    assert known_shapes(made) == {"x": (1, 4), "w": (4, 7), "y": (1, 7)}


@pytest.mark.parametrize(
    ("operator", "inputs", "initializers"),
    [
        ("Expand", ("x", "n"), [ints("n", 2**40, 1, 4)]),
        ("Tile", ("x", "n"), [ints("n", 2**20, 2**20)]),
        ("ConstantOfShape", ("n",), [ints("n", 2**20, 2**20)]),
        ("Pad", ("x", "n"), [ints("n", 0, 0, 0, 2**40)]),
        # Each is small; the product of their sizes is not.
        ("Add", ("a", "b"), []),
    ],
)
def test_tensors_of_enormous_size_are_refused(operator: str, inputs: tuple[str, ...], initializers: list[Any]) -> None:
    before = []
    if operator == "Add":
        long = [helper.make_node("ConstantOfShape", [f"{name}_size"], [name]) for name in "ab"]
        before = long
        initializers = [ints("a_size", 100_000, 1), ints("b_size", 1, 100_000)]
    refused(model([*before, node(operator, *inputs)], initializers), "at most 134217728 values|fit together")


def test_a_size_that_depends_on_the_data_is_refused() -> None:
    cast = helper.make_node("Cast", ["x"], ["n"], to=TensorProto.INT64)
    flat = helper.make_node("ReduceMax", ["n", "axis"], ["sizes"], keepdims=0)
    refused(model([cast, flat, node("ConstantOfShape", "sizes")], [ints("axis", 0)]), "no size that can be told")
    refused(model([helper.make_node("NonZero", ["x"], ["n"]), node("Cast", "n", to=1)]), "'NonZero'")


def test_a_size_inside_a_branch_counts_too() -> None:
    result = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    huge = ints("n", 2**40, 1, 4)
    big = helper.make_graph([helper.make_node("Expand", ["x", "n"], ["inner"])], "b", [], result, [huge])
    small = helper.make_graph([helper.make_node("Identity", ["x"], ["inner"])], "s", [], result)
    condition = numpy_helper.from_array(np.array(True), "c")
    refused(model([node("If", "c", then_branch=big, else_branch=small)], [condition]), "at most", branches=True)


def short_of_data(tensor: Any) -> None:
    tensor.raw_data = tensor.raw_data[:-4]


def larger_than_data(tensor: Any) -> None:
    tensor.dims[0] = 2**40


def negative(tensor: Any) -> None:
    tensor.dims[0] = -4


def no_data(tensor: Any) -> None:
    tensor.ClearField("raw_data")


def strings(tensor: Any) -> None:
    tensor.data_type = TensorProto.STRING


def outside(tensor: Any) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")


@pytest.mark.parametrize("change", [short_of_data, larger_than_data, negative, no_data, strings, outside])
def test_weights_that_are_not_what_they_claim_are_refused(change: Callable[[Any], None]) -> None:
    made = model([node("Gemm", "x", "w")], [numpy_helper.from_array(np.zeros((4, 7), np.float32), "w")])
    check_graph(made.SerializeToString(), "file")
    change(made.graph.initializer[0])
    refused(made, "another file|must have|negative|kind that no bundle")
    # The same where a node carries the tensor.
    tensor = made.graph.initializer.pop()
    made.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    refused(made, "another file|must have|negative|kind that no bundle")


def test_typed_weights_are_counted_too() -> None:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [4, 2], [0.0] * 8)
    assert not tensor.raw_data
    check_graph(model([node("Gemm", "x", "w")], [tensor]).SerializeToString(), "file")
    del tensor.float_data[0]
    refused(model([node("Gemm", "x", "w")], [tensor]), "must have 8 values")


def test_operators_of_others_and_loops_are_refused() -> None:
    refused(model([node("Relu", "x", domain="com.microsoft")]), r"'com\.microsoft\.Relu'")
    body = helper.make_graph([], "body", [], [])
    refused(model([node("Loop", "", "", "x", body=body)]), "'Loop'")
    made = model([node("Relu", "x")])
    made.functions.add(name="f", domain="local")
    refused(made, "functions")
    made = model([node("Relu", "x")])
    made.training_info.add()
    refused(made, "training")
    made = model([node("Relu", "x")])
    made.graph.sparse_initializer.add()
    refused(made, "sparse")


def test_graphs_that_contradict_themselves_are_refused() -> None:
    refused(model([node("NoSuchOperator", "x")]), "'NoSuchOperator', which a bundle's graph must not have")
    refused(model([node("MatMul", "x", "w")], [numpy_helper.from_array(np.zeros((5, 2), np.float32), "w")]), "fit")
    for content in (b"", b"\xff\xff", b"\x08\x0a", bytes(100)):
        with pytest.raises(BundleError):
            check_graph(content, "file")


def test_stated_shapes_are_not_believed() -> None:
    made = model([node("Expand", "x", "n")], [ints("n", 2**40, 1, 4)])
    made.graph.value_info.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]))
    refused(made, "at most")


def test_an_opset_that_the_installed_onnx_does_not_know_is_named() -> None:
    newest = onnx.defs.onnx_opset_version()
    made = model([node("Relu", "x")])
    made.opset_import[0].version = newest + 1
    refused(made, rf"opset {newest + 1}, but the installed onnx {onnx.__version__} knows opsets up to {newest}")
