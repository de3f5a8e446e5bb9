"""A network has the same layers however its quantised or fused operators are written."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from offramp.workload.layer import LayerShape, Op
from tests.workload.from_onnx.onnx_samples import Net, save, workload_from_onnx

MICROSOFT = "com.microsoft"


def early_exit_network(folder: Path) -> Path:
    """Two exits; its layers are counted by hand below."""
    rng = np.random.default_rng(0)
    net = Net(("batch", 3, 8, 8))
    conv = net.op("Conv", net.input, net.constant(rng.normal(size=(4, 3, 3, 3))), net.constant(rng.normal(size=4)),
                  pads=[1] * 4, name="first")  # fmt: skip
    x = net.op("Relu", conv)
    early = net.op("Gemm", net.op("Flatten", net.op("GlobalAveragePool", x)), net.constant(rng.normal(size=(4, 5))),
                   net.constant(rng.normal(size=5)), name="early")  # fmt: skip
    second = net.op("Conv", x, net.constant(rng.normal(size=(4, 4, 3, 3))), pads=[1] * 4, name="second")
    x = net.op("Concat", net.op("Add", net.op("LeakyRelu", second), x), x, axis=1)
    final = net.op("MatMul", net.op("Flatten", net.op("GlobalAveragePool", x)), net.constant(rng.normal(size=(8, 5))))
    model = net.exit(early, final).model()
    for output, name in zip(model.graph.output, (early, final), strict=True):
        output.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", 5)))
    path = folder / "float.onnx"
    onnx.save(model, path)
    return path


class Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.batches: Iterator[Any] = iter([{"image": rng.normal(size=(2, 3, 8, 8)).astype(np.float32)}])

    def get_next(self) -> Any:
        return next(self.batches, None)


def static(form: QuantFormat) -> Callable[[Path, Path], None]:
    return lambda source, target: quantize_static(source, target, Samples(), quant_format=form)


def dynamic(kind: QuantType) -> Callable[[Path, Path], None]:
    return lambda source, target: quantize_dynamic(source, target, weight_type=kind)


def optimized(source: Path, target: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


WRITTEN = {
    "quantised nodes between float ones": static(QuantFormat.QDQ),
    "integer operators": static(QuantFormat.QOperator),
    "quantised as it runs, signed": dynamic(QuantType.QInt8),
    "quantised as it runs, unsigned": dynamic(QuantType.QUInt8),
    "fused by a runtime": optimized,
}


@pytest.mark.parametrize("form", WRITTEN)
def test_a_network_has_the_same_layers_however_it_is_written(form: str, tmp_path: Path) -> None:
    source = early_exit_network(tmp_path)
    WRITTEN[form](source, tmp_path / "other.onnx")
    expected, found = workload_from_onnx(source), workload_from_onnx(tmp_path / "other.onnx")
    assert [layer.shape.op for layer in expected.layers] == [
        Op.CONV, Op.AVG_POOL, Op.DENSE, Op.CONV, Op.ADD, Op.CONCAT, Op.AVG_POOL, Op.DENSE,
    ]  # fmt: skip
    # 3 -> 4 and 4 -> 4 channels of 8 x 8 pixels under 3 x 3 kernels, and two classifiers of 5 classes.
    assert expected.macs_to_exit() == (64 * 9 * 12 + 20, 64 * 9 * (12 + 16) + 20 + 40)
    assert [(x.shape, x.stage, x.role) for x in found.layers] == [(x.shape, x.stage, x.role) for x in expected.layers]


def quantized(net: Net, x: str) -> list[str]:
    return [x, net.constant(0.1), net.constant(128, np.uint8)]


ONE_OPERATOR: dict[str, tuple[Callable[[Net, str, str], str], Callable[[Net, str, str], str]]] = {
    "QLinearAdd": (
        lambda n, a, b: n.op("QLinearAdd", *quantized(n, a), *quantized(n, b), *quantized(n, "")[1:], domain=MICROSOFT),
        lambda n, a, b: n.op("Add", a, b),
    ),
    "QLinearMul": (
        lambda n, a, b: n.op("QLinearMul", *quantized(n, a), *quantized(n, b), *quantized(n, "")[1:], domain=MICROSOFT),
        lambda n, a, b: n.op("Mul", a, b),
    ),
    "QLinearConcat": (
        lambda n, a, b: n.op("QLinearConcat", *quantized(n, "")[1:], *quantized(n, a), *quantized(n, b), axis=1,
                             domain=MICROSOFT),
        lambda n, a, b: n.op("Concat", a, b, axis=1),
    ),
    "QLinearMatMul": (
        lambda n, a, b: n.op("QLinearMatMul", *quantized(n, a), *quantized(n, b), *quantized(n, "")[1:]),
        lambda n, a, b: n.op("MatMul", a, b),
    ),
    "QLinearAveragePool": (
        lambda n, a, _: n.op("QLinearAveragePool", *quantized(n, a), *quantized(n, "")[1:], kernel_shape=[2, 2],
                             strides=[2, 2], domain=MICROSOFT),
        lambda n, a, _: n.op("AveragePool", a, kernel_shape=[2, 2], strides=[2, 2]),
    ),
    "QLinearGlobalAveragePool": (
        lambda n, a, _: n.op("QLinearGlobalAveragePool", *quantized(n, a), *quantized(n, "")[1:], channels_last=0,
                             domain=MICROSOFT),
        lambda n, a, _: n.op("GlobalAveragePool", a),
    ),
    "QLinearGlobalAveragePool, channels last": (
        lambda n, a, _: n.op("QLinearGlobalAveragePool", *quantized(n, a), *quantized(n, "")[1:], channels_last=1,
                             domain=MICROSOFT),
        lambda n, a, _: n.op("ReduceMean", a, n.constant([1, 2], np.int64)),
    ),
    "QLinearSigmoid": (
        lambda n, a, _: n.op("QLinearSigmoid", *quantized(n, a), *quantized(n, "")[1:], domain=MICROSOFT),
        lambda n, a, _: n.op("Sigmoid", a),
    ),
    "FusedConv with an addend": (
        lambda n, a, b: n.op("FusedConv", a, n.weight(4, 4, 1, 1), n.weight(4), b, activation="Relu", domain=MICROSOFT),
        lambda n, a, b: n.op("Relu", n.op("Add", n.op("Conv", a, n.weight(4, 4, 1, 1), n.weight(4)), b)),
    ),
    "FusedMatMul": (
        lambda n, a, b: n.op("FusedMatMul", a, b, transB=1, alpha=0.5, domain=MICROSOFT),
        lambda n, a, b: n.op("MatMul", a, n.op("Transpose", b, perm=[0, 1, 3, 2])),
    ),
    "SkipLayerNormalization": (
        lambda n, a, b: n.op("SkipLayerNormalization", a, b, n.weight(8), n.weight(8), domain=MICROSOFT),
        lambda n, a, b: n.op("LayerNormalization", n.op("Add", a, b), n.weight(8), n.weight(8)),
    ),
    "Gelu": (lambda n, a, _: n.op("Gelu", a, domain=MICROSOFT), lambda n, a, _: n.op("Relu", a)),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_OPERATOR)
def test_an_operator_of_onnxruntime_is_the_standard_one(name: str, tmp_path: Path) -> None:
    found: list[list[LayerShape]] = []
    for build in ONE_OPERATOR[name]:
        net = Net((1, 3, 8, 8), opset=18)
        a, b = net.conv(net.input, 4, 3), net.conv(net.input, 4, 3)
        out = build(net, a, b)
        last = out if "Global" in name else net.conv(out, 2, 8 if "Concat" in name else 4, kernel=1)
        workload = workload_from_onnx(net.exit(last).save(tmp_path))
        found.append([layer.shape for layer in workload.layers])
    assert found[0] == found[1]


def test_a_dense_layer_in_integers_is_a_dense_layer(tmp_path: Path) -> None:
    net = Net((1, 12))
    weight = quantized(net, net.weight(7, 12, kind=np.uint8))
    out = net.op("QGemm", *quantized(net, net.input), *weight, "", transB=1, domain=MICROSOFT)
    (layer,) = workload_from_onnx(net.exit(out).save(tmp_path)).layers
    assert layer.shape == LayerShape(Op.DENSE, k=7, c=12)


def test_scales_of_values_that_are_quantised_as_they_come_are_no_layers(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    x = net.conv(net.input, 4, 3, name="conv")
    net.nodes.append(helper.make_node("DynamicQuantizeLinear", [x], ["xq", "scale", "zero"], name="quantise"))
    weight, point = net.weight(5, 4, 3, 3, kind=np.uint8), net.constant(0, np.uint8)
    sums = net.op("Cast", net.op("ConvInteger", "xq", weight, "zero", point, name="integer"), to=TensorProto.FLOAT)
    out = net.op("Mul", sums, net.op("Mul", "scale", net.constant(0.1)))
    found = workload_from_onnx(net.exit(out).save(tmp_path)).layers
    assert [(layer.name, layer.inputs) for layer in found] == [("conv", ("input",)), ("integer", ("conv",))]


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"])
def test_quantisation_in_the_dialects_of_qonnx_is_free(domain: str, tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    scales = [net.constant(0.1), net.constant(0.0), net.constant(4.0)]
    weight = net.op("Quant", net.weight(4, 3, 3, 3), *scales, domain=domain, signed=1, narrow=1)
    x = net.op("Conv", net.op("Quant", net.input, *scales, domain=domain), weight, name="conv")
    x = net.op("Trunc", net.op("BipolarQuant", x, scales[0], domain=domain), *scales, scales[0], domain=domain)
    found = workload_from_onnx(net.exit(net.head(x, 4, name="head")).save(tmp_path))
    assert [layer.name for layer in found.layers] == ["conv", "head/pool", "head/fc"]
    assert found.layers[0].shape.macs == 36 * 4 * 27


@pytest.mark.parametrize("domain", ["", "PACTOps"])
def test_integer_operators_of_deeploy(domain: str, tmp_path: Path) -> None:
    net = Net((1, 6, 8))
    scale = [net.constant(3), net.constant(1)]
    x = net.op("RequantShift", net.op("MatMul", net.input, net.weight(8, 8), name="first"), *scale, domain=domain)
    mean = net.op("IntegerMean", x, axes=1, keepdims=0, domain=domain, name="mean")
    model = net.exit(net.op("MatMul", mean, net.weight(8, 3), name="last")).model()
    model.graph.value_info.append(helper.make_tensor_value_info(mean, TensorProto.FLOAT, (1, 8)))
    found = workload_from_onnx(save(model, tmp_path)).layers
    assert [layer.name for layer in found] == ["first", "mean", "last"]
    assert found[1].shape == LayerShape(Op.AVG_POOL, g=8, fy=6, iy=6)
