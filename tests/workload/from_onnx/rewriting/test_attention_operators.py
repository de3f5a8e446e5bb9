"""Attention as one operator costs what its parts cost."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from offramp.errors import UnsupportedLayerError
from offramp.workload.layer import LayerShape
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx

TOKENS, WIDTH, HEADS = 6, 8, 2


def shapes(net: Net, output: str, tmp_path: Path) -> list[LayerShape]:
    workload = workload_from_onnx(net.exit(output).save(tmp_path))
    return [layer.shape for layer in workload.layers]


def projections(net: Net, width: int = WIDTH) -> list[str]:
    return [net.op("MatMul", net.input, net.weight(WIDTH, size)) for size in (WIDTH, width, width)]


def in_parts(tmp_path: Path) -> list[LayerShape]:
    net = Net((1, TOKENS, WIDTH))
    split = net.constant([0, 0, HEADS, -1], np.int64)
    query, key, value = (net.op("Transpose", net.op("Reshape", x, split), perm=[0, 2, 1, 3]) for x in projections(net))
    scores = net.op("MatMul", query, net.op("Transpose", key, perm=[0, 1, 3, 2]))
    found = shapes(net, net.op("MatMul", net.op("Softmax", scores, axis=-1), value), tmp_path)
    # Three projections, scores and weighted values of two heads.
    assert [shape.macs for shape in found] == [384, 384, 384, 36 * 8, 0, 36 * 8]
    return found


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_attention_costs_what_its_parts_cost(tmp_path: Path, domain: str) -> None:
    net = Net((1, TOKENS, WIDTH), opset=23)
    if domain:
        out = net.op("MultiHeadAttention", *projections(net), num_heads=HEADS, domain=domain)
    else:
        out = net.op("Attention", *projections(net), q_num_heads=HEADS, kv_num_heads=HEADS)
    assert shapes(net, out, tmp_path) == in_parts(tmp_path)


def test_fewer_heads_of_keys_save_their_projections_only(tmp_path: Path) -> None:
    net = Net((1, TOKENS, WIDTH), opset=23)
    out = net.op("Attention", *projections(net, WIDTH // 2), q_num_heads=HEADS, kv_num_heads=1)
    assert [shape.macs for shape in shapes(net, out, tmp_path)] == [384, 192, 192, 36 * 8, 0, 36 * 8]


def test_the_projecting_operator_of_onnxruntime(tmp_path: Path) -> None:
    net = Net((1, TOKENS, WIDTH))
    out = net.op("Attention", net.input, net.weight(WIDTH, 3 * WIDTH), net.weight(3 * WIDTH), num_heads=HEADS,
                 domain="com.microsoft")  # fmt: skip
    assert [shape.macs for shape in shapes(net, out, tmp_path)] == [3 * 384, 36 * 8, 0, 36 * 8]


def test_a_computed_mask_is_an_addition(tmp_path: Path) -> None:
    net = Net((1, TOKENS, WIDTH), opset=23)
    mask = net.op("MatMul", net.input, net.weight(WIDTH, TOKENS))
    out = net.op("Attention", *projections(net), mask, q_num_heads=HEADS, kv_num_heads=HEADS)
    assert len(shapes(net, out, tmp_path)) == len(in_parts(tmp_path)) + 2


def test_packed_operands_are_refused(tmp_path: Path) -> None:
    net = Net((1, TOKENS, WIDTH))
    node = helper.make_node("MultiHeadAttention", [net.op("MatMul", net.input, net.weight(WIDTH, WIDTH))], ["y"],
                            name="mha", num_heads=HEADS, domain="com.microsoft")  # fmt: skip
    net.nodes.append(node)
    with pytest.raises(UnsupportedLayerError, match=r"mha .* packed in one tensor; export them as three"):
        shapes(net, "y", tmp_path)
