"""Nodes whose inputs, attributes and shapes do not fit are named; nothing ends in an error of Python."""

from pathlib import Path
from typing import Any

import pytest

from offramp.errors import InputError
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx


def assert_priced_or_named(path: Path) -> None:
    """Any error but an `InputError` fails the test; that one names the node, a tensor or the output."""
    said = ""
    try:
        assert workload_from_onnx(path).layers
    except InputError as exc:
        said = str(exc)
    assert not said or any(word in said for word in ("broken", "not known", "has no layer", "Output"))


BROKEN: list[tuple[str, tuple[tuple[int, ...], ...], dict[str, Any]]] = [
    ("ConvTranspose", ((3, 4, 3, 3),), {"strides": [0, 1]}),
    ("ConvTranspose", ((3,),), {}),
    ("ConvTranspose", (), {}),
    ("LSTM", ((1, 8), (1, 8)), {}),
    ("GRU", (), {"hidden_size": 4}),
    ("Einsum", ((3, 3),), {"equation": "bchw,ij->bqqq"}),
    ("Einsum", ((3, 3),), {"equation": "->"}),
    ("Einsum", (), {}),
    ("Attention", (), {}),
    ("Attention", ((1, 2), (3,)), {"q_num_heads": 5}),
    ("Gemm", (), {"transA": 1}),
    ("MatMul", (), {}),
    ("Conv", ((2, 2, 1, 1),), {"group": 0}),
    ("MaxPool", (), {"kernel_shape": [2, 2], "strides": [0, 1], "ceil_mode": 1}),
    ("MaxPool", (), {"kernel_shape": [2, 2], "pads": [1], "ceil_mode": 1}),
    ("ReduceSum", (), {"axes": [9]}),
    ("ArgMax", (), {"axis": 12}),
    ("Resize", (), {"mode": "linear"}),
    ("Concat", (), {}),
]


@pytest.mark.parametrize(("kind", "weights", "attributes"), BROKEN)
def test_what_does_not_fit_is_a_sentence_or_a_price(
    tmp_path: Path, kind: str, weights: tuple[tuple[int, ...], ...], attributes: dict[str, Any]
) -> None:
    net = Net((1, 3, 8, 8), opset=23)
    x = net.conv(net.input, 3, 3)
    net.exit(net.op(kind, x, *(net.weight(*shape) for shape in weights), name="broken", **attributes))
    assert_priced_or_named(net.save(tmp_path))


@pytest.mark.parametrize(
    "kind", ["FusedMatMul", "Attention", "MultiHeadAttention", "QGemm", "QLinearConcat", "GroupNorm"]
)
def test_operators_of_onnxruntime_without_inputs_are_named(tmp_path: Path, kind: str) -> None:
    net = Net((1, 3, 8, 8))
    net.exit(net.op(kind, net.conv(net.input, 3, 3), name="broken", domain="com.microsoft"))
    assert_priced_or_named(net.save(tmp_path))


def test_attention_without_a_batch_axis_has_all_its_rows(tmp_path: Path) -> None:
    """16 tokens of 12 features in, 4 out: three projections, scores and weighted values of all rows."""
    net = Net((16, 12))
    query, key, value = (net.op("MatMul", net.input, net.weight(12, 4)) for _ in range(3))
    scores = net.op("Softmax", net.op("MatMul", query, net.op("Transpose", key, perm=[1, 0])))
    net.exit(net.op("MatMul", scores, value))
    found = workload_from_onnx(net.save(tmp_path)).layers
    assert sum(layer.shape.macs for layer in found) == 3 * 16 * 12 * 4 + 2 * 16 * 16 * 4
