"""General matrix products and sums of several layers."""

from pathlib import Path

from offramp.workload.graph import Layer
from offramp.workload.layer import LayerShape, Op
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx


def layers(net: Net, output: str, tmp_path: Path) -> tuple[Layer, ...]:
    return workload_from_onnx(net.exit(output).save(tmp_path)).layers


def test_a_sum_of_three_layers_is_two_additions(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    parts = [net.conv(net.input, 4, 3, name=name) for name in "abc"]
    found = layers(net, net.op("Sum", *parts, name="sum"), tmp_path)
    assert [(x.shape.op, x.inputs) for x in found[3:]] == [(Op.ADD, ("a", "b")), (Op.ADD, (found[3].name, "c"))]
    assert found[-1].name == "sum"


def test_a_choice_between_two_layers_by_a_third(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    a, b, c = (net.conv(net.input, 4, 3, name=name) for name in "abc")
    found = layers(net, net.op("Where", net.op("Greater", a, net.constant(0.0)), b, c), tmp_path)
    assert [x.shape.op for x in found] == [Op.CONV] * 3 + [Op.ADD] * 2


def test_a_bias_that_a_layer_computes_is_added(tmp_path: Path) -> None:
    net = Net((1, 12))
    bias = net.op("Gemm", net.input, net.weight(12, 7), name="bias")
    product, added = layers(net, net.op("Gemm", net.input, net.weight(12, 7), bias, name="both"), tmp_path)[1:]
    assert product.shape == LayerShape(Op.DENSE, k=7, c=12)
    assert (added.name, added.shape.op, set(added.inputs)) == ("both", Op.ADD, {"bias", product.name})


def test_a_product_of_two_computed_matrices_in_a_gemm(tmp_path: Path) -> None:
    net = Net((1, 6, 8))
    left, right = (net.op("Squeeze", net.op("MatMul", net.input, net.weight(8, 8)), net.constant([0], "int64"))  # type: ignore[arg-type]
                   for _ in range(2))  # fmt: skip
    found = layers(net, net.op("Gemm", left, right, transB=1), tmp_path)
    assert found[-1].shape.macs == 6 * 6 * 8
    assert len(found[-1].inputs) == 2
