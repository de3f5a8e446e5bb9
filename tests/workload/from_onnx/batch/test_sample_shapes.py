"""A price is that of one sample, wherever the batch lies and whatever its size was at export."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from offramp.errors import WorkloadError
from offramp.workload.from_onnx.conversion import OnnxNetwork, network_from_onnx
from offramp.workload.from_onnx.file_graph import read_onnx
from offramp.workload.layer import LayerShape
from tests.workload.from_onnx.onnx_samples import Net, save

TIMES, WIDTH, HEADS = 6, 8, 2


def read(net: Net, folder: Path) -> OnnxNetwork:
    return network_from_onnx(net.save(folder))


def shapes(network: OnnxNetwork) -> list[LayerShape]:
    return [layer.shape for layer in network.workload.layers]


def ints(net: Net, *values: int) -> str:
    return net.constant(values, np.int64)


def attention(net: Net, x: str, times: int, batch: int) -> str:
    """Attention over (times, batch, width) as torch exports it: heads are moved to the batch axis by fixed sizes."""

    def heads() -> str:
        projected = net.op("MatMul", x, net.weight(WIDTH, WIDTH))
        split = net.op("Reshape", projected, ints(net, times, batch * HEADS, WIDTH // HEADS))
        return net.op("Transpose", split, perm=[1, 0, 2])

    queries, keys, values = heads(), heads(), heads()
    scores = net.op("Softmax", net.op("MatMul", queries, net.op("Transpose", keys, perm=[0, 2, 1])), axis=-1)
    mixed = net.op("Transpose", net.op("MatMul", scores, values), perm=[1, 0, 2])
    return net.op("Reshape", mixed, ints(net, times, batch, WIDTH))  # fmt: skip


ATTENTION_MACS = 3 * TIMES * WIDTH * WIDTH + 2 * HEADS * TIMES * TIMES * (WIDTH // HEADS)


def time_first(batch: int | str) -> Net:
    """(batch, times, width) -> (times, batch, width) -> attention -> first time -> dense layer of 5."""
    net = Net((batch, TIMES, WIDTH))
    size = 1 if isinstance(batch, str) else batch
    x = attention(net, net.op("Transpose", net.input, perm=[1, 0, 2]), TIMES, size)
    first = net.op("Gather", x, net.constant(0, np.int64), axis=0)
    return net.exit(net.op("Gemm", first, net.weight(WIDTH, 5)))


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 6, 8, 32, "N"])
def test_a_network_with_the_batch_on_its_second_axis_costs_the_same_at_every_batch(
    tmp_path: Path, batch: int | str
) -> None:
    network = read(time_first(batch), tmp_path)
    assert network.workload.macs_to_exit() == (ATTENTION_MACS + WIDTH * 5,)
    assert shapes(network) == shapes(read(time_first(1), tmp_path))


@pytest.mark.parametrize("batch", [1, 4, 6])
def test_an_input_that_has_the_batch_on_its_second_axis_is_followed_from_there(tmp_path: Path, batch: int) -> None:
    net = Net((TIMES, batch, WIDTH))
    network = read(net.exit(attention(net, net.input, TIMES, batch)), tmp_path)
    assert network.workload.macs_to_exit() == (ATTENTION_MACS,)
    note = network.notes[-1]
    if batch == 1:
        assert note.startswith("Axis 0 of input 'image' is no batch axis, since t")
        assert note.endswith("combines its entries; the price is that of the whole input, 6x1x8.")
    else:
        assert note == f"The file is for a batch of {batch} (axis 1 of input 'image'); the price is that of one sample."


@pytest.mark.parametrize("shape", [("T", "batch", 4), (3, "batch_size", 4), (3, "N", 4)])
def test_an_open_axis_that_is_called_batch_is_the_batch(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    net = Net(shape)
    path = net.exit(net.op("MatMul", net.input, net.weight(4, 5))).save(tmp_path)
    if shape[0] == "T":
        with pytest.raises(WorkloadError, match="must have a fixed size"):
            network_from_onnx(path)
    else:
        assert network_from_onnx(path).workload.macs_to_exit() == (3 * 4 * 5,)


@pytest.mark.parametrize("name", ["time", "seq_len", "Sequence"])
def test_an_open_first_axis_that_is_called_otherwise_is_not_taken_for_the_batch(tmp_path: Path, name: str) -> None:
    net = Net((name, 4))
    with pytest.raises(WorkloadError, match="must have a fixed size"):
        read(net.exit(net.op("MatMul", net.input, net.weight(4, 5))), tmp_path)


def test_a_file_of_many_rows_says_that_one_is_priced(tmp_path: Path) -> None:
    net = Net((256, 64))
    network = read(net.exit(net.op("Gemm", net.op("Relu", net.input), net.weight(64, 10))), tmp_path)
    assert network.workload.macs_to_exit() == (640,)
    assert network.notes[-1] == (
        "The file is for a batch of 256 (axis 0 of input 'image'); the price is that of one sample."
    )
    single = Net((1, 64))
    assert not read(single.exit(single.op("Gemm", single.input, single.weight(64, 10))), tmp_path).notes[1:]


def class_token(net: Net, batch: int) -> str:
    """A token before the others, as a constant that the exporter repeated for the batch, then a dense layer."""
    token = net.constant(np.broadcast_to(np.arange(8), (batch, 1, 8)))
    return net.op("MatMul", net.op("Concat", token, net.input, axis=1), net.weight(8, 3))


def expanded_token(net: Net, batch: int) -> str:
    token = net.op("Expand", net.constant(np.arange(8).reshape(1, 1, 8)), ints(net, batch, 1, 8))
    return net.op("MatMul", net.op("Concat", token, net.input, axis=1), net.weight(8, 3))


def repeated_bias(net: Net, batch: int) -> str:
    total = net.op("Add", net.constant(np.ones((batch, 5, 8))), net.input)
    return net.op("MatMul", net.op("Reshape", total, ints(net, batch, -1)), net.weight(40, 3))


def written_into_zeros(net: Net, batch: int) -> str:
    rows = np.stack(np.meshgrid(np.arange(batch), np.arange(5), indexing="ij"), -1)
    zeros = net.constant(np.zeros((batch, 7, 8)))
    written = net.op("ScatterND", zeros, net.constant(rows, np.int64), net.input)
    return net.op("MatMul", written, net.weight(8, 3))


def flat_rows(net: Net, batch: int) -> str:
    """Rows of all samples in one axis and back, in both orders of batch and rows."""
    flat = net.op("Gemm", net.op("Reshape", net.input, ints(net, batch * 5, 8)), net.weight(8, 3))
    swapped = net.op("Transpose", net.op("Reshape", flat, ints(net, batch, 5, 3)), perm=[1, 0, 2])
    return net.op("Gemm", net.op("Reshape", swapped, ints(net, 5 * batch, 3)), net.weight(3, 2))


def einsum_free_chain(net: Net, batch: int) -> str:
    """Columns: the batch is the last axis of the second matrix of a product of constants and activations."""
    columns = net.op("Transpose", net.op("Reshape", net.input, ints(net, batch, 40)), perm=[1, 0])
    back = net.op("Transpose", net.op("Relu", columns), perm=[1, 0])
    return net.op("Gemm", back, net.weight(40, 3))


@pytest.mark.parametrize(
    ("build", "macs"),
    [
        (class_token, 6 * 8 * 3),
        (expanded_token, 6 * 8 * 3),
        (repeated_bias, 40 * 3),
        (written_into_zeros, 7 * 8 * 3),
        (flat_rows, 5 * 8 * 3 + 5 * 3 * 2),
        (einsum_free_chain, 40 * 3),
    ],
)
@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_sizes_of_the_batch_that_an_exporter_wrote_into_constants_do_not_change_the_price(
    tmp_path: Path, build: Callable[[Net, int], str], macs: int, batch: int
) -> None:
    net = Net((batch, 5, 8))
    network = read(net.exit(build(net, batch)), tmp_path)
    assert network.workload.macs_to_exit() == (macs,)


def positions(net: Net) -> str:
    """A constant that differs from row to row: the rows are places, not samples."""
    return net.op("MatMul", net.op("Add", net.input, net.constant(np.arange(12 * 8).reshape(12, 8))), net.weight(8, 3))


def attention_of_rows(net: Net) -> str:
    scores = net.op("MatMul", net.input, net.op("Transpose", net.input, perm=[1, 0]))
    return net.op("MatMul", net.op("MatMul", scores, net.input), net.weight(8, 3))


@pytest.mark.parametrize(
    ("build", "macs"),
    [
        (positions, 12 * 8 * 3),
        (attention_of_rows, 2 * 12 * 8 * 12 + 12 * 8 * 3),
        (lambda net: net.op("MatMul", net.op("Softmax", net.input, axis=0), net.weight(8, 3)), 12 * 8 * 3),
        (
            lambda net: net.op("MatMul", net.op("Reshape", net.input, ints(net, 1, 96)), net.weight(96, 3)),
            96 * 3,
        ),
        (lambda net: net.op("MatMul", net.op("Gather", net.input, ints(net, 2)), net.weight(8, 3)), 8 * 3),
    ],
)
def test_rows_that_depend_on_each_other_are_one_sample(tmp_path: Path, build: Callable[[Net], str], macs: int) -> None:
    net = Net((12, 8))
    network = read(net.exit(build(net)), tmp_path)
    assert network.workload.macs_to_exit() == (macs,)
    assert network.notes[-1].startswith("Axis 0 of input 'image' is no batch axis, since ")
    assert network.notes[-1].endswith("combines its entries; the price is that of the whole input, 12x8.")


def test_an_image_without_a_batch_axis_is_one_sample(tmp_path: Path) -> None:
    net = Net((3, 16, 16))
    image = net.op("Unsqueeze", net.input, ints(net, 0))
    network = read(net.exit(net.conv(image, 4, 3)), tmp_path)
    assert network.workload.macs_to_exit() == (4 * 27 * 256,)
    assert network.notes[-1].endswith("the price is that of the whole input, 3x16x16.")


@pytest.mark.parametrize("batch", [2, 3, 16])
def test_convolutions_windows_and_norms_keep_the_batch_first(tmp_path: Path, batch: int) -> None:
    def build(size: int) -> Net:
        net = Net((size, 3, 16, 16))
        x = net.op("BatchNormalization", net.conv(net.input, 4, 3), *(net.weight(4) for _ in range(4)))
        x = net.op("MaxPool", net.op("PRelu", x, net.weight(4, 1, 1)), kernel_shape=[2, 2], strides=[2, 2])
        parts = net.op("Reshape", x, ints(net, size, 4, 4, 2, 4, 2))
        windows = net.op("Reshape", net.op("Transpose", parts, perm=[0, 2, 4, 3, 5, 1]), ints(net, size * 16, 4, 4))
        normed = net.op("LayerNormalization", net.op("MatMul", windows, net.weight(4, 4)), net.weight(4))
        return net.exit(net.op("MatMul", net.op("Reshape", normed, ints(net, size, 256)), net.weight(256, 10)))

    found, single = read(build(batch), tmp_path), read(build(1), tmp_path)
    assert shapes(found) == shapes(single)
    assert single.workload.macs_to_exit() == (4 * 27 * 256 + 16 * 4 * 4 * 4 + 2560,)


def test_a_batch_that_cannot_be_followed_is_refused_with_the_node(tmp_path: Path) -> None:
    net = Net((4, 5, 8))
    model = net.exit(net.op("MatMul", net.op("Add", net.weight(4, 5, 8), net.input), net.weight(8, 3))).model()
    model.graph.initializer[0].ClearField("raw_data")
    with pytest.raises(
        WorkloadError, match=r"batch of 4 on axis 0, which cannot be followed through t0 \(Add\), since"
    ):
        network_from_onnx(save(model, tmp_path))


def test_a_constant_that_the_graph_computes_for_the_batch_is_followed_to_its_source(tmp_path: Path) -> None:
    """Too large to be computed here: what was expanded is the same for all samples, a triangle is not."""
    sizes = (8, 1, 16384)
    for op, priced in (("Cos", True), ("Trilu", False)):
        net = Net((8, 5, 16384))
        token = net.op("Expand", net.constant(np.ones((1, 1, 16384))), ints(net, *sizes))
        if op == "Trilu":
            token = net.op(
                "Reshape", net.op("Trilu", net.op("Reshape", token, ints(net, 1, 8, 16384))), ints(net, *sizes)
            )
        else:
            token = net.op(op, token)
        net.exit(net.op("MatMul", net.op("Concat", token, net.input, axis=1), net.weight(16384, 2)))
        if priced:
            assert read(net, tmp_path).workload.macs_to_exit() == (6 * 16384 * 2,)
        else:
            with pytest.raises(WorkloadError, match="which cannot be followed through"):
                read(net, tmp_path)


def test_a_tensor_whose_size_at_the_batch_is_unknown_has_no_shape_for_a_sample(tmp_path: Path) -> None:
    net = Net((4, 8))
    kept = net.op("NonZero", net.input)
    net.exit(net.op("Gemm", net.input, net.weight(8, 3)), kept)
    graph = read_onnx(net.save(tmp_path))
    assert graph.shapes["t1"] == (1, 3)
    assert kept not in graph.shapes or None in graph.shapes[kept]


def test_recurrent_layers_have_the_batch_on_their_second_axis(tmp_path: Path) -> None:
    net = Net((7, 4, 5))
    net.nodes.append(
        helper.make_node("LSTM", ["image", net.weight(1, 24, 5), net.weight(1, 24, 6)], ["y", "h"], hidden_size=6)
    )
    net.outputs.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, None))
    graph = read_onnx(net.save(tmp_path))
    assert (graph.shapes["image"], graph.shapes["y"], graph.shapes["h"]) == ((7, 1, 5), (7, 1, 1, 6), (1, 1, 6))
    assert graph.notes == ("The file is for a batch of 4 (axis 1 of input 'image'); the price is that of one sample.",)


def test_what_no_output_needs_may_combine_samples(tmp_path: Path) -> None:
    net = Net((4, 8))
    net.op("CumSum", net.input, net.constant(0, np.int64))
    net.op("ReduceMean", net.input, axes=[0])
    network = read(net.exit(net.op("Gemm", net.input, net.weight(8, 3))), tmp_path)
    assert network.workload.macs_to_exit() == (24,)


def test_attributes_that_contradict_the_shapes_are_a_sentence(tmp_path: Path) -> None:
    net = Net((4, 5, 8))
    moved = net.op("Transpose", net.input, perm=[0, 0, 2])
    model = net.exit(net.op("MatMul", moved, net.weight(8, 3))).model()
    model.graph.value_info.append(helper.make_tensor_value_info("t0", TensorProto.FLOAT, (4, 5, 8)))
    model.graph.node[0].attribute[0].ints[:] = [2, 3, 4]
    with pytest.raises(WorkloadError, match=r"cannot be followed through t0 \(Transpose\)"):
        network_from_onnx(save(model, tmp_path))


@pytest.mark.parametrize("batch", [0, -1])
def test_zero_and_minus_one_are_an_open_batch(tmp_path: Path, batch: int) -> None:
    net = Net((batch, 5, 8))
    network = read(net.exit(net.op("MatMul", net.input, net.weight(8, 3))), tmp_path)
    assert network.workload.macs_to_exit() == (5 * 8 * 3,)


def test_rows_of_images_that_a_recurrent_layer_reads_belong_to_their_sample(tmp_path: Path) -> None:
    """(3 samples, 4 rows, 7 times, 5 features), read as 12 sequences."""
    net = Net((3, 4, 7, 5))
    rows = net.op("Transpose", net.op("Reshape", net.input, ints(net, 12, 7, 5)), perm=[1, 0, 2])
    net.nodes.append(helper.make_node("LSTM", [rows, net.weight(1, 24, 5), net.weight(1, 24, 6)], ["y"], hidden_size=6))
    samples = net.op("Reshape", net.op("Transpose", "y", perm=[2, 0, 1, 3]), ints(net, 3, 4, 7, 6))
    graph = read_onnx(net.exit(samples).save(tmp_path))
    assert (graph.shapes["y"], graph.shapes[samples]) == ((7, 1, 4, 6), (1, 4, 7, 6))


@pytest.mark.parametrize(("first", "told"), [((1, 16), True), (("batch", 16), False), ((16,), False)])
def test_a_batch_of_one_is_told_where_another_input_is_larger(
    tmp_path: Path, first: tuple[int | str, ...], told: bool
) -> None:
    """Either the second input holds 4 samples, or the one sample has 4 rows: the file leaves it open."""
    net = Net(first)
    net.inputs.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, (4, 8)))
    scaled = net.op("Mul", net.op("MatMul", "rows", net.weight(8, 16)), net.input)
    path = net.exit(net.op("MatMul", scaled, net.weight(16, 4))).save(tmp_path)
    notes = [note for note in network_from_onnx(path).notes if "batch of 1" in note]
    assert len(notes) == told
    assert all("larger axis 0: 'rows' (4)." in note for note in notes)


@pytest.mark.parametrize(
    ("shape", "order"),
    [((3, 8, 8, 4), (3, 0, 1, 2)), ((8, 8, 4, 3), (2, 3, 0, 1)), ((8, 4, 8, 3), (1, 3, 0, 2))],
)
def test_a_batch_on_any_axis_of_an_image_is_followed(
    tmp_path: Path, shape: tuple[int, ...], order: tuple[int, ...]
) -> None:
    net = Net(shape)
    images = net.op("Transpose", net.input, perm=order)
    network = read(net.exit(net.head(net.conv(images, 16, 3), 16)), tmp_path)
    assert network.workload.macs_to_exit() == (16 * 27 * 64 + 160,)
    assert f"The file is for a batch of 4 (axis {order[0]} of input 'image'); the price is that of one sample." in (
        network.notes
    )


def test_positions_that_are_picked_from_a_table_for_each_sample_are_followed(tmp_path: Path) -> None:
    """A table of positions that is too large to be computed here; its rows are picked by the same numbers."""
    for numbers, macs in (([[0, 1, 2]] * 4, 3 * 40_000 * 2), ([[0, 1, 2], [1, 2, 0]] * 2, 4 * 3 * 40_000 * 2)):
        net = Net((4, 3, 40_000))
        table = net.constant(np.zeros((3, 40_000)))
        rows = net.op("Gather", table, net.constant(numbers, np.int64), axis=0)
        net.exit(net.op("MatMul", net.op("Add", net.input, rows), net.weight(40_000, 2)))
        assert read(net, tmp_path).workload.macs_to_exit() == (macs,)


@pytest.mark.parametrize(
    ("shape", "weight", "transposed", "macs", "batch"),
    [
        ((5, 8), (4, 8), 1, 4 * 8, 5),
        ((8, 5), (4, 8), 0, 4 * 8 * 5, None),
    ],
)
def test_a_product_with_its_weights_first_has_the_samples_as_columns(
    tmp_path: Path, shape: tuple[int, int], weight: tuple[int, int], transposed: int, macs: int, batch: int | None
) -> None:
    net = Net(shape)
    net.exit(net.op("Gemm", net.weight(*weight), net.input, transB=transposed))
    network = read(net, tmp_path)
    assert network.workload.macs_to_exit() == (macs,)
    assert any("The file is for a batch of 5" in note for note in network.notes) is (batch is not None)
