"""Each operator becomes the loop sizes worked out by hand, or is named as one that cannot be priced."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from offramp.errors import UnsupportedLayerError, WorkloadError
from offramp.workload.graph import Layer
from offramp.workload.layer import LayerShape, Op
from tests.workload.from_onnx.onnx_samples import Net, save, workload_from_onnx

Build = Callable[[Net], str]


def layers(net: Net, tmp_path: Path) -> tuple[Layer, ...]:
    return workload_from_onnx(net.save(tmp_path)).layers


def only(net: Net, output: str, tmp_path: Path) -> LayerShape:
    (layer,) = layers(net.exit(output), tmp_path)
    return layer.shape


def test_convolution_with_stride_dilation_and_uneven_padding(tmp_path: Path) -> None:
    net = Net((1, 6, 15, 20))
    weight = net.weight(8, 6, 3, 5)
    out = net.op("Conv", net.input, weight, strides=[2, 3], dilations=[2, 1], pads=[1, 0, 2, 3])
    # y: (15 + 3 - 2 * 2 - 1) // 2 + 1 = 7; x: (20 + 3 - 4 - 1) // 3 + 1 = 7
    assert only(net, out, tmp_path) == LayerShape(
        Op.CONV, 1, 1, 8, 6, 7, 7, 3, 5, 15, 20, stride_y=2, stride_x=3, dilation_y=2, padding=(1, 0, 2, 3)
    )


def test_grouped_and_depthwise_convolution(tmp_path: Path) -> None:
    net = Net((1, 6, 8, 8))
    depthwise = net.conv(net.input, 6, 1, group=6)
    grouped = net.exit(net.conv(depthwise, 9, 2, kernel=1, group=3))
    first, second = (layer.shape for layer in layers(grouped, tmp_path))
    assert (first.g, first.k, first.c, first.macs) == (6, 1, 1, 6 * 64 * 9)
    assert (second.g, second.k, second.c, second.num_weights) == (3, 3, 2, 18)


@pytest.mark.parametrize(("auto", "padding"), [("SAME_UPPER", (0, 0, 1, 1)), ("SAME_LOWER", (1, 1, 0, 0))])
def test_automatic_padding(tmp_path: Path, auto: str, padding: tuple[int, ...]) -> None:
    # 8 -> 4 with kernel 3 and stride 2 needs (4 - 1) * 2 + 3 - 8 = 1 more row
    net = Net()
    out = net.op("Conv", net.input, net.weight(4, 3, 3, 3), strides=[2, 2], auto_pad=auto)
    assert only(net, out, tmp_path).padding == padding


def test_one_dimensional_convolution_has_height_one(tmp_path: Path) -> None:
    net = Net((1, 4, 30))
    shape = only(net, net.op("Conv", net.input, net.weight(5, 4, 3), strides=[2], pads=[1, 0]), tmp_path)
    assert (shape.oy, shape.ox, shape.fy, shape.fx, shape.iy, shape.ix) == (1, 15, 1, 3, 1, 30)
    assert shape.padding == (0, 1, 0, 0)
    assert shape.macs == 15 * 3 * 4 * 5


def test_dense_layers(tmp_path: Path) -> None:
    net = Net((1, 12))
    hidden = net.op("Gemm", net.input, net.weight(12, 7), net.weight(7))
    out = net.op("Add", net.op("MatMul", hidden, net.weight(7, 5)), net.weight(5))
    first, second = (layer.shape for layer in layers(net.exit(out), tmp_path))
    assert first == LayerShape(Op.DENSE, k=7, c=12)
    assert second == LayerShape(Op.DENSE, k=5, c=7)


def test_a_dense_layer_over_tokens_counts_them_as_rows(tmp_path: Path) -> None:
    net = Net((1, 9, 12))
    assert only(net, net.op("MatMul", net.input, net.weight(12, 4)), tmp_path) == LayerShape(Op.DENSE, b=9, k=4, c=12)


@pytest.mark.parametrize(("kind", "op"), [("MaxPool", Op.MAX_POOL), ("AveragePool", Op.AVG_POOL)])
def test_pooling(tmp_path: Path, kind: str, op: Op) -> None:
    net = Net((1, 3, 9, 8))
    out = net.op(kind, net.input, kernel_shape=[3, 2], strides=[2, 2], pads=[0, 0, 0, 0])
    shape = only(net, out, tmp_path)
    assert shape == LayerShape(op, 1, 3, 1, 1, 4, 4, 3, 2, 9, 8, stride_y=2, stride_x=2)
    assert shape.macs == 0


def test_pooling_that_rounds_up(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    shape = only(net, net.op("MaxPool", net.input, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), tmp_path)
    assert (shape.oy, shape.ox) == (4, 4)


def reduce_by_attribute(net: Net) -> str:
    net.opset = 13
    return net.op("ReduceMean", net.input, axes=[-1, -2], keepdims=0)


def reduce_by_input(net: Net) -> str:
    net.opset = 18
    return net.op("ReduceMean", net.input, net.constant([2, 3], np.int64), keepdims=1)


@pytest.mark.parametrize(
    "build", [lambda net: net.op("GlobalAveragePool", net.input), reduce_by_attribute, reduce_by_input]
)
def test_global_pooling(tmp_path: Path, build: Build) -> None:
    net = Net((1, 5, 4, 6))
    assert only(net, build(net), tmp_path) == LayerShape(Op.AVG_POOL, g=5, fy=4, fx=6, iy=4, ix=6)


def test_global_maximum(tmp_path: Path) -> None:
    net = Net((1, 5, 4, 4))
    assert only(net, net.op("GlobalMaxPool", net.input), tmp_path).op is Op.MAX_POOL


def test_elementwise_operators_of_two_layers(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    a, b = net.conv(net.input, 4, 3), net.conv(net.input, 4, 3)
    total = net.op("Add", a, b)
    gate = net.op("Sigmoid", net.conv(net.op("GlobalAveragePool", total), 4, 4, kernel=1))
    found = layers(net.exit(net.op("Mul", total, gate)), tmp_path)
    assert [layer.shape.op for layer in found] == [Op.CONV, Op.CONV, Op.ADD, Op.AVG_POOL, Op.CONV, Op.MULTIPLY]
    assert found[2].shape == LayerShape(Op.ADD, g=4, oy=8, ox=8, iy=8, ix=8)
    assert found[5].shape == LayerShape(Op.MULTIPLY, g=4, oy=8, ox=8, iy=8, ix=8)
    assert found[5].inputs == (found[2].name, found[4].name)


def test_concatenation_of_channels(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    joined = net.op("Concat", net.conv(net.input, 4, 3), net.conv(net.input, 6, 3), axis=-3)
    found = layers(net.exit(joined), tmp_path)
    assert found[-1].shape == LayerShape(Op.CONCAT, g=10, oy=8, ox=8, iy=8, ix=8)


def silu(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("Sigmoid", x))


def hard_swish(net: Net, x: str) -> str:
    clipped = net.op("Clip", net.op("Add", x, net.constant(3.0)), net.constant(0.0), net.constant(6.0))
    return net.op("Div", net.op("Mul", x, clipped), net.constant(6.0))


def normalised(net: Net, x: str) -> str:
    statistics = [net.weight(4) for _ in range(4)]
    return net.op("Dropout", net.op("BatchNormalization", x, *statistics))


def fake_quantised(net: Net, x: str) -> str:
    scale, zero = net.constant(0.1), net.constant(0, np.uint8)
    return net.op("DequantizeLinear", net.op("QuantizeLinear", x, scale, zero), scale, zero)


def exported_flatten(net: Net, x: str) -> str:
    batch = net.op("Gather", net.op("Shape", x), net.constant(0, np.int64), axis=0)
    rows = net.op("Unsqueeze", batch, net.constant([0], np.int64))
    return net.op("Reshape", x, net.op("Concat", rows, net.constant([256], np.int64), axis=0))


def moved_unit_axis(net: Net, x: str) -> str:
    pooled = net.op("Identity", x)
    return net.op("Squeeze", net.op("Transpose", net.op("Unsqueeze", pooled, net.constant([1], np.int64)),
                  perm=[0, 2, 1, 3, 4]), net.constant([2], np.int64))  # fmt: skip


@pytest.mark.parametrize(
    "after",
    [
        lambda net, x: net.op("Relu", x),
        lambda net, x: net.op("HardSwish", x),
        lambda net, x: net.op("Mul", net.op("Add", x, net.weight(1, 4, 1, 1)), net.weight(1, 4, 1, 1)),
        silu,
        hard_swish,
        normalised,
        fake_quantised,
        exported_flatten,
        moved_unit_axis,
        lambda net, x: net.op("Transpose", x, perm=[0, 2, 3, 1]),
    ],
)
def test_what_the_output_stage_computes_is_free(tmp_path: Path, after: Callable[[Net, str], str]) -> None:
    net = Net((1, 3, 8, 8))
    out = after(net, net.conv(net.input, 4, 3, name="conv"))
    found = layers(net.exit(net.op("Relu", out)), tmp_path)
    assert [layer.name for layer in found] == ["conv"]


def test_input_normalisation_is_free(tmp_path: Path) -> None:
    net = Net()
    scaled = net.op("Div", net.op("Sub", net.input, net.constant(0.5)), net.constant(0.25))
    found = layers(net.exit(net.conv(scaled, 4, 3)), tmp_path)
    assert [layer.inputs for layer in found] == [("input",)]


def test_quantised_operators(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    scale, zero = net.constant(0.1), net.constant(0, np.uint8)
    x = net.op("QuantizeLinear", net.input, scale, zero)
    weight = net.weight(4, 3, 3, 3, kind=np.uint8)
    x = net.op("QLinearConv", x, scale, zero, weight, scale, zero, scale, zero, pads=[1] * 4, name="qconv")
    out = net.op("DequantizeLinear", x, scale, zero)
    (layer,) = layers(net.exit(out), tmp_path)
    assert layer.name == "qconv"
    assert layer.shape == LayerShape(Op.CONV, 1, 1, 4, 3, 8, 8, 3, 3, 8, 8, padding=(1, 1, 1, 1))


def test_weights_behind_dequantisation_are_weights(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    scale, zero = net.constant(0.1), net.constant(0, np.uint8)
    weight = net.op("DequantizeLinear", net.weight(4, 3, 1, 1, kind=np.uint8), scale, zero)
    shape = only(net, net.op("Conv", net.input, weight), tmp_path)
    assert (shape.k, shape.c, shape.fy) == (4, 3, 1)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda n: n.op("MaxUnpool", n.input, n.constant([0], np.int64)), r"\(MaxUnpool\) is no operator"),
        (lambda n: n.op("Resize", n.conv(n.input, 3, 3), "", n.constant([1, 1, 2, 2]), mode="odd"), "in mode 'odd'"),
        (lambda n: n.op("ReduceMean", n.input, n.op("NonZero", n.input)), "reads at input 1 what"),
        (lambda n: n.op("Conv", n.weight(1, 3, 8, 8), n.op("Relu", n.input)), "must have an input that is computed"),
        (lambda n: n.op("ReduceSum", n.conv(n.input, 3, 3), n.weight(1)), "reduces axes that are not known"),
        (lambda n: n.op("DFT", n.input), r"\(DFT\) has a number of operations that depends on its algorithm"),
        (lambda n: n.op("NonZero", n.input), r"\(NonZero\) has a result whose size the values of the input decide"),
        (lambda n: n.op("SplitToSequence", n.input), r"\(SplitToSequence\) handles a sequence of tensors"),
        (lambda n: n.op("SoftmaxCrossEntropyLoss", n.input, n.weight(1, 8, 8)), "belongs to training"),
        (lambda n: n.op("ReluGrad", n.input, n.input, domain="com.microsoft"), "belongs to training"),
        (lambda n: n.op("Conv", n.input, n.weight(8, 3, 1, 1), domain="com.microsoft.nchwc"), "for one machine"),
        (lambda n: n.conv(n.input, 0, 3), r"\(Conv\) works on 't0' of shape \(1, 0, 8, 8\), which is empty"),
    ],
)
def test_what_cannot_be_priced_is_named(tmp_path: Path, build: Build, says: str) -> None:
    net = Net((1, 3, 8, 8))
    with pytest.raises(UnsupportedLayerError, match=says):
        layers(net.exit(build(net)), tmp_path)


def test_three_dimensional_convolution_is_refused(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8, 8))
    out = net.op("Conv", net.input, net.weight(4, 3, 3, 3, 3))
    with pytest.raises(UnsupportedLayerError, match="works on a tensor with 5 axes; at most 4 are understood"):
        layers(net.exit(out), tmp_path)


def test_all_unsupported_operators_are_in_one_error(tmp_path: Path) -> None:
    net = Net()
    a = net.op("Softplus", net.op("Det", net.input, name="det"))
    out = net.op("Bernoulli", net.conv(a, 4, 3), name="draw")
    with pytest.raises(UnsupportedLayerError, match=r"has 2 layer\(s\).*det \(Det\).*draw \(Bernoulli\)"):
        layers(net.exit(out), tmp_path)


def test_a_weight_that_does_not_fit_is_a_contradiction(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    model = net.exit(net.conv(net.input, 4, 3, name="conv")).model()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("t0", TensorProto.FLOAT, (1, 5, 8, 8)))
    with pytest.raises(WorkloadError, match=r"contradicts itself: conv \(Conv\): its weight has shape \(4, 3, 3, 3\)"):
        workload_from_onnx(save(model, tmp_path))


def test_a_window_that_does_not_fit_is_a_contradiction(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    model = net.exit(net.conv(net.input, 4, 3, name="conv")).model()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("t0", TensorProto.FLOAT, (1, 4, 7, 8)))
    with pytest.raises(WorkloadError, match="its window makes 8 into 8, but its output has size 7"):
        workload_from_onnx(save(model, tmp_path))


@pytest.mark.parametrize("change", [{"strides": [0, 1]}, {"dilations": [1]}, {"group": 2}, {"pads": [-1, 0, 0, 0]}])
def test_impossible_attributes_are_sentences(tmp_path: Path, change: dict[str, object]) -> None:
    net = Net((1, 3, 8, 8))
    net.exit(net.conv(net.input, 4, 3, name="conv"))
    node = net.nodes[0]
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(key, value) for key, value in ({"pads": [1] * 4} | change).items())
    net.outputs[0].CopyFrom(helper.make_tensor_value_info("t0", TensorProto.FLOAT, (1, 4, 8, 8)))
    with pytest.raises(WorkloadError, match="conv"):
        workload_from_onnx(net.save(tmp_path))


def shapes(net: Net, folder: Path) -> list[LayerShape]:
    return [layer.shape for layer in layers(net, folder)]


def test_operators_of_old_files_and_names_of_classes_are_free(tmp_path: Path) -> None:
    """As tools for Windows wrote them before ONNX 1.5: the image is scaled and cropped, the class gets its name."""
    net = Net((1, 3, 10, 12))
    image = net.op("Crop", net.op("ImageScaler", net.input, bias=[1.0, 2.0, 3.0], scale=2.0), border=[1, 2, 3, 0])
    logits = net.head(net.conv(net.op("ScaledTanh", image), 4, 3), 4)
    named = net.op("ArrayFeatureExtractor", net.weight(10), net.op("ArgMax", logits, axis=1), domain="ai.onnx.ml")
    (conv, pool, dense) = shapes(net.exit(named), tmp_path)
    assert (conv.oy, conv.ox, conv.macs) == (8, 8, 4 * 27 * 64)
    assert (pool.macs, dense.macs) == (0, 40)


def test_a_product_with_packed_weights_of_few_bits_is_a_dense_layer(tmp_path: Path) -> None:
    """`MatMulNBits` of onnxruntime: 24 x 16 weights of 4 bits in blocks of 16."""
    net = Net((1, 7, 16))
    packed, scales = net.weight(24, 1, 8, kind=np.uint8), net.weight(24)
    hidden = net.op("MatMulNBits", net.input, packed, scales, K=16, N=24, bits=4, block_size=16, domain="com.microsoft")
    first, second = shapes(net.exit(net.op("MatMul", hidden, net.weight(24, 2))), tmp_path)
    assert (first.op, first.b, first.c, first.k, first.macs) == (Op.DENSE, 7, 16, 24, 7 * 16 * 24)
    assert second.macs == 7 * 24 * 2
    wrong = net.op("MatMulNBits", net.input, packed, scales, K=15, N=24, bits=4, block_size=16, domain="com.microsoft")
    with pytest.raises(UnsupportedLayerError, match="constant weights of K x N values, got K=15"):
        layers(net.exit(wrong), tmp_path)


def test_overlapping_blocks_are_summed_and_others_are_a_view(tmp_path: Path) -> None:
    for block, strides, ops in ((3, 1, [Op.CONV, Op.ADD]), (2, 2, [Op.CONV])):
        count = ((8 - block) // strides + 1) ** 2
        net = Net((1, 3, count))
        columns = net.op("Conv", net.input, net.weight(2 * block**2, 3, 1))
        sizes = net.constant([8, 8], np.int64), net.constant([block, block], np.int64)
        net.opset = 18
        found = shapes(net.exit(net.op("Col2Im", columns, *sizes, strides=[strides, strides])), tmp_path)
        assert [layer.op for layer in found] == ops
        if len(found) > 1:
            assert found[1].num_outputs == 2 * block**2 * count


@pytest.mark.parametrize(("mode", "op", "taps"), [("linear", Op.AVG_POOL, 2), ("cubic", Op.AVG_POOL, 4)])
def test_a_sampled_value_is_a_mean_of_its_neighbours(tmp_path: Path, mode: str, op: Op, taps: int) -> None:
    net = Net((1, 3, 8, 8), opset=20)
    values = net.conv(net.input, 4, 3)
    points = net.op("Transpose", net.conv(net.input, 2, 3), perm=[0, 2, 3, 1])
    *_, sampled = shapes(net.exit(net.op("GridSample", values, points, mode=mode)), tmp_path)
    assert (sampled.op, sampled.g, sampled.oy, sampled.ox, sampled.fy, sampled.fx) == (op, 4, 8, 8, taps, taps)


def test_a_cast_reads_no_values_of_the_tensor_whose_type_it_takes(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    first, second = net.conv(net.input, 4, 3), net.conv(net.input, 4, 3)
    (layer,) = shapes(net.exit(net.op("CastLike", first, second)), tmp_path)
    assert layer.macs == 4 * 27 * 64
