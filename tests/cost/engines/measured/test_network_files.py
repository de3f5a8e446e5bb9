"""Files of layers and stages that are timed compute what their loop sizes say."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from offramp.cost.engines.measured.calibration_networks import calibration_networks
from offramp.cost.engines.measured.network_files import TimedFile, empty_file, layer_file, output_sizes, stage_files
from offramp.errors import UnsupportedLayerError
from offramp.hardware.runner import Arithmetic
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op

SHAPES = (
    LayerShape(Op.CONV, k=6, c=3, oy=4, ox=4, fy=3, fx=5, iy=8, ix=7, stride_y=2, stride_x=2, padding=(1, 2, 1, 2)),
    LayerShape(Op.CONV, g=4, oy=5, ox=5, fy=3, fx=3, iy=5, ix=5, padding=(1, 1, 1, 1)),
    LayerShape(Op.DENSE, k=7, c=12),
    LayerShape(Op.MAX_POOL, g=4, oy=2, ox=2, fy=2, fx=2, iy=4, ix=4, stride_y=2, stride_x=2),
    LayerShape(Op.AVG_POOL, g=4, fy=4, fx=4, iy=4, ix=4),
    LayerShape(Op.AVG_POOL, g=4, oy=2, ox=2, fy=2, fx=2, iy=4, ix=4, stride_y=2, stride_x=2),
    LayerShape(Op.ADD, g=4, oy=3, ox=3, iy=3, ix=3),
    LayerShape(Op.MULTIPLY, g=4, oy=3, ox=3, iy=3, ix=3),
    LayerShape(Op.CONCAT, g=5, oy=3, ox=3, iy=3, ix=3),
)


def outputs(file: TimedFile) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(file.content, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {
        item.name: rng.integers(0, 256, item.shape, dtype=np.uint8)
        if "uint8" in item.type
        else rng.standard_normal(item.shape, dtype=np.float32)
        for item in session.get_inputs()
    }
    return list(session.run(None, feeds))


@pytest.mark.parametrize("arithmetic", ["float32", "int8"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.op))
def test_a_layer_has_the_output_of_its_sizes_alone_and_as_copies(shape: LayerShape, arithmetic: Arithmetic) -> None:
    for copies in (1, 3):
        (result,) = outputs(layer_file(shape, arithmetic, copies))
        assert result.shape == output_sizes(shape)
        assert result.dtype == (np.uint8 if arithmetic == "int8" else np.float32)


def test_copies_are_so_many_layers_with_weights_of_their_own() -> None:
    model = onnx.load_from_string(layer_file(SHAPES[0], "float32", 4).content)
    assert [node.op_type for node in model.graph.node].count("Conv") == 4
    assert len({node.input[1] for node in model.graph.node if node.op_type == "Conv"}) == 4
    assert [node.op_type for node in model.graph.node].count("Add") == 3


def test_copies_of_an_addition_are_a_chain_of_nothing_else() -> None:
    model = onnx.load_from_string(layer_file(SHAPES[6], "float32", 4).content)
    assert [node.op_type for node in model.graph.node] == ["Add"] * 4


def test_a_call_without_a_layer_hands_its_value_through() -> None:
    (result,) = outputs(empty_file("float32"))
    assert result.shape == (1, 1)


def test_an_integer_layer_is_one_kernel_of_onnxruntime(tmp_path) -> None:  # type: ignore[no-untyped-def]
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(layer_file(SHAPES[0], "int8").content, options, providers=["CPUExecutionProvider"])
    operators = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert operators <= {"QLinearConv", "Transpose"}
    assert "QLinearConv" in operators


@pytest.mark.parametrize("arithmetic", ["float32", "int8"])
def test_stages_hand_over_what_later_stages_read(arithmetic: Arithmetic) -> None:
    network = calibration_networks()[3]
    first, second = (onnx.load_from_string(file.content).graph for file in stage_files(network, arithmetic))
    handed = [value.name for value in second.input]
    assert len(first.output) == 1 + len(handed)
    for file in stage_files(network, arithmetic):
        assert outputs(file)[-1].shape == (1, 10)


def test_a_map_that_a_dense_layer_reads_is_flattened() -> None:
    conv = replace(SHAPES[1], g=1, k=2, c=3)
    layers = (
        Layer("conv", conv, (GRAPH_INPUT,), 0, Role.BACKBONE),
        Layer("act", LayerShape(Op.ACTIVATION, g=2, oy=5, ox=5, iy=5, ix=5), ("conv",), 0, Role.BACKBONE),
        Layer("dense", LayerShape(Op.DENSE, k=4, c=50), ("act",), 0, Role.BRANCH),
    )
    (file,) = stage_files(Workload("flat", layers, ("dense",)), "float32")
    assert outputs(file)[-1].shape == (1, 4)


def test_what_the_sizes_leave_open_is_refused_with_the_name_of_the_layer() -> None:
    dense = Layer("dense", LayerShape(Op.DENSE, k=4, c=49), ("conv",), 0, Role.BRANCH)
    conv = Layer("conv", replace(SHAPES[1], g=1, k=2, c=3), (GRAPH_INPUT,), 0, Role.BACKBONE)
    with pytest.raises(UnsupportedLayerError, match="dense reads 1x49 values of a tensor of 1x2x5x5"):
        stage_files(Workload("open", (conv, dense), ("dense",)), "float32")
    product = Layer("product", LayerShape(Op.CONV, k=2, c=2, oy=5, iy=5), ("conv", "conv"), 0, Role.BRANCH)
    with pytest.raises(UnsupportedLayerError, match="product multiplies two computed matrices"):
        stage_files(Workload("open", (conv, product), ("product",)), "float32")
