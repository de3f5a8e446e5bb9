"""Transformers as ONNX files: the same layers as of the torch network, and counts worked out by hand."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from offramp.deploy.onnx.stage_graphs import joined_model, stage_models
from offramp.errors import UnsupportedLayerError, WorkloadError
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.workload.graph import Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op
from tests.workload.from_onnx.onnx_samples import Net, save, workload_from_onnx
from tests.workload.from_onnx.small_vit import CLASSES, HEADS, SIZE, WIDTH, small_vit

TOKENS = 6


def bundled(network: EarlyExitNetwork) -> Any:
    """As offramp exports it, for any batch."""
    return joined_model(stage_models(network))


def plainly(network: EarlyExitNetwork) -> Any:
    """As torch exports it, for one image."""
    program = torch.onnx.export(network, (torch.zeros(1, 3, SIZE, SIZE),), dynamo=True, verbose=False)
    assert program is not None
    return program.model_proto


def by_the_older_exporter(opset: int) -> Callable[[EarlyExitNetwork], Any]:
    """Before opset 17 norms are written in parts; from then on as operators."""

    def export(network: EarlyExitNetwork) -> Any:
        content = io.BytesIO()
        images = (torch.zeros(1, 3, SIZE, SIZE),)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter is deprecated, and files of it remain
            torch.onnx.export(network, images, content, dynamo=False, opset_version=opset)
        return onnx.load_model_from_string(content.getvalue())

    return export


@pytest.mark.parametrize(
    ("fused", "export"),
    [(True, bundled), (False, plainly), (False, by_the_older_exporter(14)), (False, by_the_older_exporter(17))],
)
def test_a_vit_has_the_layers_of_its_torch_network(
    tmp_path: Path, fused: bool, export: Callable[[EarlyExitNetwork], Any]
) -> None:
    network = small_vit(fused=fused)
    ours = lower(network)
    theirs = workload_from_onnx(save(export(network), tmp_path), weight_bits=32, activation_bits=32)
    ours = ours.with_bits(32, 32, 32, 32)
    assert [layer.shape for layer in theirs.layers] == [layer.shape for layer in ours.layers]
    assert [layer.stage for layer in theirs.layers] == [layer.stage for layer in ours.layers]
    # A norm of all tokens, of which one is classified, looks like the backbone's last layer in a graph.
    roles = [layer.role for layer in ours.layers]
    roles[-2] = Role.BACKBONE
    assert [layer.role for layer in theirs.layers] == roles
    assert theirs.macs_to_exit() == ours.macs_to_exit()
    assert theirs.macs_to_exit()[0] == macs_of_the_first_stage()
    if not fused:
        assert feeds(theirs) == feeds(ours)


def feeds(workload: Workload) -> list[list[int]]:
    """By number, where each layer reads."""
    numbers = {"input": -1} | {layer.name: index for index, layer in enumerate(workload.layers)}
    return [[numbers[name] for name in layer.inputs] for layer in workload.layers]


def macs_of_the_first_stage() -> int:
    tokens, patch = 17, 4 * 4 * 3
    linear = tokens * (WIDTH * 3 * WIDTH + WIDTH * WIDTH + 2 * WIDTH * 2 * WIDTH)
    return 16 * patch * WIDTH + linear + 2 * tokens * tokens * WIDTH + WIDTH * CLASSES


def layers(net: Net, tmp_path: Path, weight_bits: int = 8, activation_bits: int = 8) -> tuple[Layer, ...]:
    path = net.save(tmp_path)
    return workload_from_onnx(path, weight_bits=weight_bits, activation_bits=activation_bits).layers


def tokens(batch: int | str = 1) -> Net:
    return Net((batch, TOKENS, 8))


@pytest.mark.parametrize("kind", ["LayerNormalization", "RMSNormalization", "GroupNormalization"])
def test_a_norm_is_one_pass_over_the_tokens(tmp_path: Path, kind: str) -> None:
    net = Net((1, TOKENS, 8), opset=23)
    scales = [net.weight(8)] if kind == "RMSNormalization" else [net.weight(8), net.weight(8)]
    more: dict[str, Any] = {"num_groups": 2} if kind == "GroupNormalization" else {}
    (layer,) = layers(net.exit(net.op(kind, net.input, *scales, **more)), tmp_path)
    assert layer.shape == LayerShape(Op.MULTIPLY, g=8, oy=TOKENS, iy=TOKENS)


@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_a_product_of_activations_whatever_the_batch(tmp_path: Path, batch: int | str) -> None:
    net = tokens(batch)
    left, right = (net.op("MatMul", net.input, net.weight(8, 8)) for _ in range(2))
    scores = net.op("MatMul", left, net.op("Transpose", right, perm=[0, 2, 1]), name="scores")
    net.exit(net.op("MatMul", net.op("Softmax", scores, axis=-1, name="softmax"), left, name="mixed"))
    first, second, product, softmax, mixed = layers(net, tmp_path, weight_bits=2, activation_bits=6)
    assert (first.shape.b, first.shape.macs) == (TOKENS, TOKENS * 64)
    wanted = LayerShape(Op.CONV, k=TOKENS, c=8, oy=TOKENS, iy=TOKENS, weight_bits=6, activation_bits=6)
    assert product.shape == wanted
    assert product.inputs == (first.name, second.name)
    assert (softmax.shape.op, softmax.shape.num_outputs, softmax.shape.macs) == (Op.MULTIPLY, TOKENS * TOKENS, 0)
    assert (mixed.shape.k, mixed.shape.c, mixed.shape.macs) == (8, TOKENS, TOKENS * TOKENS * 8)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_heads_may_stand_in_the_batch(tmp_path: Path, batch: int | str) -> None:
    net = tokens(batch)
    x = net.op("MatMul", net.input, net.weight(8, 8))
    split = net.op("Reshape", x, net.constant([0, TOKENS, 2, 4], np.int64))
    heads = net.op("Transpose", split, perm=[0, 2, 1, 3])
    flat = net.op("Reshape", heads, net.constant([-1, TOKENS, 4], np.int64))
    scores = net.op("MatMul", flat, net.op("Transpose", flat, perm=[0, 2, 1]))
    *_, product, softmax = layers(net.exit(net.op("Softmax", scores, axis=-1)), tmp_path)
    assert (product.shape.g, product.shape.macs) == (2, TOKENS * TOKENS * 8)
    assert (softmax.shape.b, softmax.shape.num_outputs) == (2, 2 * TOKENS * TOKENS)


def test_the_softmax_of_logits_is_free_and_that_of_a_map_is_not(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    logits = net.op("Softmax", net.head(net.op("Softmax", net.conv(net.input, 4, 3), axis=1), 4))
    assert [layer.shape.op for layer in layers(net.exit(logits), tmp_path)] == [
        Op.CONV,
        Op.MULTIPLY,
        Op.AVG_POOL,
        Op.DENSE,
    ]


def test_slices_splits_and_picks_are_free(tmp_path: Path) -> None:
    net = tokens()
    x = net.op("MatMul", net.input, net.weight(8, 16), name="fc")
    net.nodes.append(onnx.helper.make_node("Split", [x], ["left", "right"], axis=2, num_outputs=2))
    net.opset = 18
    limits = (net.constant([value], np.int64) for value in (0, 2, 1))
    right = net.op("Slice", net.op("Pad", "right", net.constant([0, 0, 0, 0, 1, 0], np.int64)), *limits)
    picked = net.op("Gather", right, net.constant(0, np.int64), axis=1)
    assert [layer.name for layer in layers(net.exit(picked, "left"), tmp_path)] == ["fc"]


def test_means_over_tokens_and_over_maps_with_channels_last(tmp_path: Path) -> None:
    net = tokens()
    found = layers(net.exit(net.op("ReduceMean", net.input, axes=[1], keepdims=1)), tmp_path)
    assert found[0].shape == LayerShape(Op.AVG_POOL, g=8, fy=TOKENS, iy=TOKENS)
    net = Net((1, 5, 4, 3))
    found = layers(net.exit(net.op("ReduceMean", net.input, axes=[1, 2], keepdims=0)), tmp_path)
    assert found[0].shape == LayerShape(Op.AVG_POOL, g=3, fy=5, fx=4, iy=5, ix=4)


def test_three_axes_are_channels_first_where_a_window_slides_over_one(tmp_path: Path) -> None:
    net = Net((1, 6, 20))
    x = net.op("Conv", net.input, net.weight(6, 6, 3), pads=[1, 1])
    added = layers(net.exit(net.op("Add", x, net.input)), tmp_path)[-1]
    assert added.shape == LayerShape(Op.ADD, g=6, ox=20, ix=20)
    net = Net((1, 6, 20))
    x = net.op("MatMul", net.input, net.weight(20, 20))
    assert layers(net.exit(net.op("Add", x, net.input)), tmp_path)[-1].shape == LayerShape(Op.ADD, g=20, oy=6, iy=6)


def test_weights_may_come_first(tmp_path: Path) -> None:
    """A mixer multiplies along the tokens: 10 x 6 weights for each of 8 channels."""
    net = tokens()
    (layer,) = layers(net.exit(net.op("MatMul", net.weight(10, TOKENS), net.input)), tmp_path)
    assert layer.shape == LayerShape(Op.DENSE, b=8, k=10, c=TOKENS)


@pytest.mark.parametrize("leading", [(), (1,), (1, 1)])
def test_weights_with_leading_axes_of_one_are_a_dense_layer(tmp_path: Path, leading: tuple[int, ...]) -> None:
    net = Net((1, 4, 16, 8))
    (layer,) = layers(net.exit(net.op("MatMul", net.input, net.weight(*leading, 8, 32))), tmp_path)
    assert layer.shape == LayerShape(Op.DENSE, b=64, k=32, c=8)


def test_weights_per_head_are_groups(tmp_path: Path) -> None:
    net = Net((1, 4, 16, 8))
    (layer,) = layers(net.exit(net.op("MatMul", net.input, net.weight(1, 4, 8, 32))), tmp_path, weight_bits=2)
    # 4 heads of 16 rows: a 1x1 convolution with 4 groups, whose weights keep the bits of weights.
    assert layer.shape == LayerShape(Op.CONV, g=4, k=32, c=8, oy=16, iy=16, weight_bits=2)
    assert layer.shape.num_weights == 4 * 8 * 32


def test_one_computed_matrix_for_all_heads_is_repeated(tmp_path: Path) -> None:
    net = Net((1, 4, 16, 8))
    pooled = net.op("ReduceMean", net.input, axes=[1], keepdims=1, name="pool")
    scores = net.op("MatMul", net.input, net.op("Transpose", pooled, perm=[0, 1, 3, 2]), name="scores")
    shape = layers(net.exit(scores), tmp_path)[-1].shape
    assert shape == LayerShape(Op.CONV, k=16, c=8, oy=64, iy=64)


def test_matrices_that_do_not_fit_are_named(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    net.exit(net.op("MatMul", net.input, net.conv(net.input, 2, 3)))
    with pytest.raises(
        UnsupportedLayerError, match=r"leading axes differ, of shapes \(1, 3, 8, 8\) and \(1, 2, 8, 8\)"
    ):
        layers(net, tmp_path)


def test_shapes_that_the_file_does_not_fix_are_named(tmp_path: Path) -> None:
    net = Net(("batch", "tokens", 8))
    x = net.op("MatMul", net.input, net.weight(8, 8))
    with pytest.raises(WorkloadError, match=r"must have a fixed size.*image; t0"):
        layers(net.exit(net.op("MatMul", x, net.op("Transpose", x, perm=[0, 2, 1]))), tmp_path)


def test_heads_is_what_the_shapes_say() -> None:
    scores = [layer.shape for layer in lower(small_vit()).layers if layer.shape.op is Op.CONV][1]
    assert (scores.g, scores.c) == (HEADS, WIDTH // HEADS)


def test_a_vector_without_a_batch_axis_is_a_column(tmp_path: Path) -> None:
    net = Net((8,))
    (layer,) = layers(net.exit(net.op("MatMul", net.weight(5, 8), net.input)), tmp_path)
    assert layer.shape == LayerShape(Op.DENSE, k=5, c=8)


def test_a_vector_without_a_batch_axis_is_a_row_on_the_left(tmp_path: Path) -> None:
    net = Net((8,))
    hidden = net.op("MatMul", net.input, net.weight(8, 6))
    product = net.op("MatMul", net.op("Relu", hidden), net.weight(6, 5))
    first, second = layers(net.exit(net.op("MatMul", product, net.weight(5))), tmp_path)[:2]
    assert first.shape == LayerShape(Op.DENSE, k=6, c=8)
    assert second.shape == LayerShape(Op.DENSE, k=5, c=6)


def test_two_computed_vectors_have_one_product_per_value(tmp_path: Path) -> None:
    net = Net((8,))
    products = [net.op("MatMul", net.input, net.weight(8, 6)) for _ in range(2)]
    assert layers(net.exit(net.op("MatMul", *products)), tmp_path)[-1].shape.macs == 6


@pytest.mark.parametrize("batch", [1, 3, "batch"])
def test_a_vector_of_weights_makes_one_output_per_row(tmp_path: Path, batch: int | str) -> None:
    net = Net((batch, TOKENS, 8))
    (layer,) = layers(net.exit(net.op("MatMul", net.input, net.weight(8))), tmp_path)
    assert layer.shape == LayerShape(Op.DENSE, b=TOKENS, k=1, c=8)
