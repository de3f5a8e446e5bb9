"""Each rule of an ONNX operator has its counterpart for torch networks, with the same layers, or a stated reason."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, Precision, StageChoice
from offramp.workload.from_onnx.operators import FREE_OPS, RULES
from offramp.workload.from_onnx.rewriting.standard_form import PASSES
from offramp.workload.from_onnx.shape_propagation import propagate_shapes
from offramp.workload.layer import LayerShape
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx

Torch = Callable[[Tensor, Tensor], Tensor]
Onnx = Callable[[Net, str, str], str]


class _Two(nn.Module):
    """A function of two maps of 4 channels, 8x8, that two layers compute."""

    def __init__(self, function: Torch) -> None:
        super().__init__()
        self.first, self.second, self.function = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), function

    def forward(self, images: Tensor) -> Tensor:
        result = self.function(self.first(images), self.second(images))
        return result if result.is_floating_point() else result.float()


def of_torch(function: Torch) -> list[LayerShape]:
    architecture = Architecture("toy", 8, (StageChoice(1, 1, (1,), (1,)),), precision=Precision(8, 8))
    branch = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    network = EarlyExitNetwork(architecture, [_Two(function)], [branch], (3, 8, 8), 2)
    network(network.example_input())
    return [layer.shape for layer in lower(network).layers[2:]]


def of_onnx(write: Onnx, folder: Path, opset: int) -> list[LayerShape]:
    net = Net(opset=opset)
    first, second = (net.conv(net.input, 4, 3, 1) for _ in range(2))
    result = net.op("Flatten", net.op("Cast", write(net, first, second), to=1))
    # The size of the classifier follows from the result.
    size = propagate_shapes(net.exit(result).model()).shapes[result][1]
    net.outputs.clear()
    net.exit(net.op("Gemm", result, net.weight(2, size or 0), transB=1))
    layers = workload_from_onnx(net.save(folder)).layers
    return [layer.shape for layer in layers if layer.shape.op != "conv" or layer.inputs != ("input",)]


def unary(op: str, **attributes: Any) -> Onnx:
    return lambda net, x, _: net.op(op, x, **attributes)


def binary(op: str, **attributes: Any) -> Onnx:
    return lambda net, x, y: net.op(op, x, y, **attributes)


def logical(op: str) -> Onnx:
    return lambda net, x, y: net.op(op, net.op("Cast", x, to=9), net.op("Cast", y, to=9))


def bitwise(op: str, **attributes: Any) -> Onnx:
    return lambda net, x, y: net.op(op, net.op("Cast", x, to=12), net.op("Cast", y, to=12), **attributes)


def axes(op: str, *numbers: int, **attributes: Any) -> Onnx:
    return lambda net, x, _: net.op(op, x, net.constant(numbers, int), **attributes)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def onnx_tokens(net: Net, x: str) -> str:
    return net.op("Transpose", net.op("Reshape", x, net.constant([1, 4, 64], int)), perm=[0, 2, 1])


def recurrent(op: str, gates: int, **attributes: Any) -> Onnx:
    def write(net: Net, x: str, _: str) -> str:
        steps = net.op("Transpose", onnx_tokens(net, x), perm=[1, 0, 2])
        weights = net.weight(1, gates * 5, 4), net.weight(1, gates * 5, 5)
        return net.op("Transpose", net.op(op, steps, *weights, hidden_size=5, **attributes), perm=[2, 0, 1, 3])

    return write


def attention(net: Net, x: str, y: str) -> str:
    return net.op("Attention", *(onnx_tokens(net, z) for z in (x, y, y)), q_num_heads=2, kv_num_heads=2)


def heads(x: Tensor) -> Tensor:
    return tokens(x).unflatten(2, (2, 2)).transpose(1, 2)


_LSTM, _GRU, _RNN = (kind(4, 5, batch_first=True) for kind in (nn.LSTM, nn.GRU, nn.RNN))
_TRANSPOSED = nn.ConvTranspose2d(4, 6, 4, 2)
_EVERY_SECOND = torch.arange(0, 8, 2)
_FIRST = torch.zeros(1, 4, 8, 8, dtype=torch.long)


def _written(x: Tensor, y: Tensor) -> Tensor:
    x = x.clone()
    x[0, 0] = y[0, 0]
    return x


def _scattered_nd(net: Net, x: str, y: str) -> str:
    values = net.op("Slice", y, net.constant([0], int), net.constant([1], int), net.constant([1], int))
    return net.op("ScatterND", x, net.constant([[0, 0]], int), net.op("Squeeze", values, net.constant([0], int)))


def _largest(net: Net, x: str, _: str) -> str:
    values = net.op("TopK", x, net.constant([2], int), axis=1)
    net.nodes[-1].output.append("places")
    return values


PAIRS: dict[str, tuple[Torch, Onnx]] = {
    "Conv": (lambda x, y: F.conv2d(x, torch.ones(6, 2, 3, 3), padding=1, groups=2),
             lambda net, x, y: net.conv(x, 6, 2, group=2)),
    "ConvTranspose": (lambda x, y: _TRANSPOSED(x),
                      lambda net, x, y: net.op("ConvTranspose", x, net.weight(4, 6, 4, 4), strides=[2, 2])),
    "Gemm": (lambda x, y: F.linear(x.flatten(1), torch.ones(5, 256)),
             lambda net, x, y: net.op("Gemm", net.op("Flatten", x), net.weight(5, 256), transB=1)),
    "MatMul": (lambda x, y: x @ y, binary("MatMul")),
    "Einsum": (lambda x, y: torch.einsum("bchw,bdhw->bcd", x, y), binary("Einsum", equation="bchw,bdhw->bcd")),
    "Attention": (lambda x, y: F.scaled_dot_product_attention(heads(x), heads(y), heads(y)).transpose(1, 2).flatten(2),
                  attention),
    "LSTM": (lambda x, y: _LSTM(tokens(x))[0], recurrent("LSTM", 4)),
    "GRU": (lambda x, y: _GRU(tokens(x))[0], recurrent("GRU", 3, linear_before_reset=1)),
    "RNN": (lambda x, y: _RNN(tokens(x))[0], recurrent("RNN", 1)),
    "MaxPool": (lambda x, y: F.max_pool2d(x, 3, 2, 1),
                unary("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)),
    "AveragePool": (lambda x, y: F.avg_pool1d(x.flatten(2), 4),
                    lambda net, x, y: net.op("AveragePool", net.op("Reshape", x, net.constant([1, 4, 64], int)),
                                             kernel_shape=[4], strides=[4])),
    "LpPool": (lambda x, y: F.lp_pool2d(x, 2, 2), unary("LpPool", kernel_shape=[2, 2], strides=[2, 2])),
    "GlobalAveragePool": (lambda x, y: F.adaptive_avg_pool2d(x, 1), unary("GlobalAveragePool")),
    "GlobalMaxPool": (lambda x, y: F.adaptive_max_pool2d(x, 1), unary("GlobalMaxPool")),
    "GlobalLpPool": (lambda x, y: x.norm(2, dim=(2, 3), keepdim=True), unary("GlobalLpPool")),
    "Resize": (lambda x, y: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
               lambda net, x, y: net.op("Resize", x, "", net.constant([1, 1, 2, 2]), mode="linear")),
    "GridSample": (lambda x, y: F.grid_sample(x, torch.zeros(1, 5, 5, 2), align_corners=False),
                   lambda net, x, y: net.op("GridSample", x, net.weight(1, 5, 5, 2), mode="linear")),
    "Col2Im": (lambda x, y: F.fold(F.conv1d(x.flatten(2), torch.ones(9, 4, 1)), (10, 10), 3),
               lambda net, x, y: net.op("Col2Im", net.op("Conv", net.op("Reshape", x, net.constant([1, 4, 64], int)),
                                                         net.weight(9, 4, 1)),
                                        net.constant([10, 10], int), net.constant([3, 3], int))),
    "CumSum": (lambda x, y: x.cumsum(3), axes("CumSum", 3)),
    "Concat": (lambda x, y: torch.cat([x, y], 1), binary("Concat", axis=1)),
    "ScatterElements": (lambda x, y: x.scatter(1, _FIRST, y),
                        lambda net, x, y: net.op("ScatterElements", x, net.constant(_FIRST.numpy(), int), y, axis=1)),
    "ScatterND": (_written, _scattered_nd),
    "TopK": (lambda x, y: x.topk(2, 1)[0],
             _largest),
    "ArgMax": (lambda x, y: x.argmax(1, keepdim=True), unary("ArgMax", axis=1)),
    "ArgMin": (lambda x, y: x.argmin(1, keepdim=True), unary("ArgMin", axis=1)),
    "Softmax": (lambda x, y: x.softmax(1), unary("Softmax", axis=1)),
    "LayerNormalization": (lambda x, y: F.layer_norm(x, (8, 8)),
                           lambda net, x, y: net.op("LayerNormalization", x, net.weight(8, 8), axis=2)),
    "RMSNormalization": (lambda x, y: F.rms_norm(x, (8, 8)),
                         lambda net, x, y: net.op("RMSNormalization", x, net.weight(8, 8), axis=2)),
    "GroupNormalization": (lambda x, y: F.group_norm(x, 2),
                           lambda net, x, y: net.op("GroupNormalization", x, *[net.weight(4)] * 2, num_groups=2)),
    "InstanceNormalization": (lambda x, y: F.instance_norm(x),
                              lambda net, x, y: net.op("InstanceNormalization", x, *[net.weight(4)] * 2)),
    "LRN": (lambda x, y: F.local_response_norm(x, 3), unary("LRN", size=3)),
    "LpNormalization": (lambda x, y: F.normalize(x, dim=1), unary("LpNormalization", axis=1)),
    "Where": (lambda x, y: torch.where(x > 0, x, y),
              lambda net, x, y: net.op("Where", net.op("Greater", x, net.constant([0])), x, y)),
    "PRelu": (lambda x, y: F.prelu(x, torch.ones(4)), lambda net, x, y: net.op("PRelu", x, net.weight(4, 1, 1))),
    "Sum": (lambda x, y: x + y, binary("Sum")),
    "Mean": (lambda x, y: (x + y) / 2, binary("Mean")),
    "Pow": (lambda x, y: x.abs() ** y, lambda net, x, y: net.op("Pow", net.op("Abs", x), y)),
    "Mod": (torch.fmod, binary("Mod", fmod=1)),
    "BitShift": (lambda x, y: x.int() << y.int(), bitwise("BitShift", direction="LEFT")),
    "CastLike": (lambda x, y: x.type_as(y), binary("CastLike")),
    "Gather": (lambda x, y: x.index_select(3, _EVERY_SECOND),
               lambda net, x, y: net.op("Gather", x, net.constant(_EVERY_SECOND.numpy(), int), axis=3)),
    "GatherElements": (lambda x, y: x.gather(1, _FIRST),
                       lambda net, x, y: net.op("GatherElements", x, net.constant(_FIRST.numpy(), int), axis=1)),
    "Split": (lambda x, y: x.chunk(2, 1)[0],
              lambda net, x, y: net.op("Slice", x, *(net.constant([n], int) for n in (0, 2, 1)))),
    "BatchNormalization": (lambda x, y: F.batch_norm(x, torch.zeros(4), torch.ones(4)),
                           lambda net, x, y: net.op("BatchNormalization", x, *[net.weight(4)] * 4)),
    "DepthToSpace": (lambda x, y: F.pixel_shuffle(x, 2), unary("DepthToSpace", blocksize=2, mode="CRD")),
    "SpaceToDepth": (lambda x, y: F.pixel_unshuffle(x, 2), unary("SpaceToDepth", blocksize=2)),
    **{f"Reduce{name}": (function, axes(f"Reduce{name}", 3, keepdims=0)) for name, function in {
        "Mean": lambda x, y: x.mean(3), "Sum": lambda x, y: x.sum(3), "Prod": lambda x, y: x.prod(3),
        "L1": lambda x, y: x.norm(1, dim=3), "L2": lambda x, y: x.norm(2, dim=3), "Max": lambda x, y: x.amax(3),
        "Min": lambda x, y: x.amin(3), "LogSumExp": lambda x, y: x.logsumexp(3),
        "SumSquare": lambda x, y: x.square().sum(3), "LogSum": lambda x, y: x.sum(3).log(),
    }.items()},
    **{name: (function, binary(name)) for name, function in {
        "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Max": torch.maximum,
        "Min": torch.minimum, "Less": torch.lt, "LessOrEqual": torch.le, "Greater": torch.gt,
        "GreaterOrEqual": torch.ge, "Equal": torch.eq,
    }.items()},
    **{name: (lambda x, y, f=function: f(x.bool(), y.bool()), logical(name)) for name, function in {
        "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor,
    }.items()},
    **{name: (lambda x, y, f=function: f(x.int(), y.int()), bitwise(name)) for name, function in {
        "BitwiseAnd": torch.bitwise_and, "BitwiseOr": torch.bitwise_or, "BitwiseXor": torch.bitwise_xor,
    }.items()},
}  # fmt: skip

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": F.relu, "LeakyRelu": F.leaky_relu, "Elu": F.elu, "Selu": F.selu, "Celu": F.celu, "Sigmoid": torch.sigmoid,
    "HardSigmoid": F.hardsigmoid, "HardSwish": F.hardswish, "Mish": F.mish, "Gelu": F.gelu, "Swish": F.silu,
    "Tanh": torch.tanh, "Softplus": F.softplus, "Softsign": F.softsign, "Erf": torch.erf, "Abs": torch.abs,
    "ThresholdedRelu": lambda x: F.threshold(x, 1.0, 0.0), "Shrink": F.hardshrink, "Clip": lambda x: x.clamp(0, 6),
    "Neg": torch.neg, "Exp": torch.exp, "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal, "Log": torch.log,
    "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan, "Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan,
    "Sinh": torch.sinh, "Cosh": torch.cosh, "Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh,
    "Floor": torch.floor, "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign, "IsNaN": torch.isnan,
    "IsInf": torch.isinf, "Not": lambda x: torch.logical_not(x.bool()),
    "BitwiseNot": lambda x: torch.bitwise_not(x.int()),
    "Identity": torch.clone, "Dropout": lambda x: F.dropout(x, training=False), "Cast": lambda x: x.half().float(),
    "Flatten": lambda x: x.flatten(1), "Reshape": lambda x: x.reshape(1, 2, 8, 16), "Squeeze": lambda x: x.squeeze(0),
    "Unsqueeze": lambda x: x.unsqueeze(1), "Transpose": lambda x: x.permute(0, 3, 1, 2),
    "Pad": lambda x: F.pad(x, (1, 1)), "Slice": lambda x: x[:, 1:3], "Expand": lambda x: x[:, :1].expand(1, 4, 8, 8),
    "Tile": lambda x: x.tile(1, 2, 1, 1), "Trilu": torch.triu, "GatherND": lambda x: x[:, [0, 1], [2, 3]],
    "LogSoftmax": lambda x: x.mean((2, 3)).log_softmax(1),
}  # fmt: skip
"""Free in both, but for what the function computes before."""

NO_COUNTERPART = {
    **dict.fromkeys(("MeanVarianceNormalization", "Upsample", "Scatter"),
                    "another name of an operator above"),
    **dict.fromkeys(("ImageScaler", "Crop", "Affine", "ScaledTanh", "ParametricSoftplus"), "of files before ONNX 1.5"),
    **{f"ai.onnx.ml.{op}": "names classes, which are numbers in torch"
       for op in ("ZipMap", "ArrayFeatureExtractor", "LabelEncoder", "CategoryMapper")},
    "Hardmax": "torch has no such function",
    "OneHot": "its input is a class, which no layer computes without a search for the largest value",
    **dict.fromkeys(("ReverseSequence", "CenterCropPad"), "torch has no such function; it is written with slices"),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), "bit widths of torch networks stand in the architecture"),
}  # fmt: skip


def _other_dialect(op: str) -> bool:
    """Operators that quantisers and optimisers of files write: torch networks state bit widths and are not fused."""
    dialects = ("com.microsoft.", "PACTOps", "qonnx", "finn", "onnx.brevitas", "ai.onnx.contrib", "QLinear", "i", "ITA")
    integer = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "RequantShift", "IntegerMean", "IntegerDiv")
    return op.startswith(dialects) or op in (*integer, "TrueIntegerDiv", "RMSNorm", "SimplifiedLayerNormalization")


def test_every_operator_with_a_rule_has_a_torch_counterpart_or_a_reason() -> None:
    operators = {*RULES, *FREE_OPS, *itertools.chain.from_iterable(PASSES)}
    assert {op for op in operators if not _other_dialect(op)} == {*PAIRS, *UNARY, *NO_COUNTERPART}


@pytest.mark.filterwarnings("ignore:.*RNN module weights:UserWarning")
@pytest.mark.parametrize("op", PAIRS)
def test_a_torch_function_has_the_layers_of_its_operator(op: str, tmp_path: Path) -> None:
    function, write = PAIRS[op]
    ours, theirs = of_torch(function), of_onnx(write, tmp_path, 24 if op in ("Attention", "RMSNormalization") else 21)
    assert ours == theirs


@pytest.mark.parametrize("op", UNARY)
def test_a_function_that_is_free_in_a_file_is_free_in_a_torch_network(op: str) -> None:
    *_, classifier = layers = of_torch(lambda x, _: UNARY[op](x))
    assert classifier.op == "dense"
    assert [layer.op for layer in layers[:-1]] == (["avg_pool"] if op == "LogSoftmax" else [])
