"""Analog layers of exported files are read as the layers they were."""

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from offramp.cost.mapping.channel_split.channel_split_model import ChannelSplitModel
from offramp.cost.pricing import price_onnx
from offramp.deploy.onnx.stage_graphs import joined_model, stage_models
from offramp.errors import UnsupportedLayerError
from offramp.hardware.loader import load_accelerator
from offramp.nn.analog.make_analog import make_analog_
from offramp.nn.backbone import BACKBONES
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.settings.cost_config import CostConfig
from offramp.space.architecture import Architecture, ExitChoice, StageChoice
from offramp.workload.layer import Op
from tests.nn.analog.test_analog_convolution import ARRAY, NAME, prepared
from tests.workload.from_onnx.onnx_samples import workload_from_onnx


def exported(network: EarlyExitNetwork, path: Path) -> Path:
    onnx.save(joined_model(stage_models(network)), path)
    return path


@functools.cache
def prepared_model(channels: int, width: int = 8, rows: int = 1152) -> Any:
    """The ONNX model of a prepared network, for reading only."""
    return joined_model(stage_models(prepared(channels, width=width, array=replace(ARRAY, rows=rows))))


def exported_again(model: Any, path: Path, change: Callable[[Any], None] | None = None) -> Path:
    model = copy.deepcopy(model)
    if change is not None:
        change(model.graph)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("channels", "width", "rows"),
    # All or some channels; the 8 inputs of a 3x3 kernel in one group, in 3 groups of at most 27 rows, in 8 of 9.
    [(6, 8, 1152), (4, 8, 1152), (6, 8, 27), (4, 8, 27), (4, 8, 9)],
)
def test_layers_shapes_and_price_are_those_of_the_network(channels: int, width: int, rows: int, tmp_path: Path) -> None:
    network = prepared(channels, width=width, array=replace(ARRAY, rows=rows))
    expected = lower(network).with_analog_channels({NAME: channels})
    found = workload_from_onnx(exported_again(prepared_model(channels, width, rows), tmp_path / "m.onnx"))
    assert [x.shape for x in found.layers] == [x.shape for x in expected.layers]
    assert [x.analog_channels for x in found.layers] == [0, channels, 0, 0]
    assert [x.role for x in found.layers] == [x.role for x in expected.layers]
    chip, model = load_accelerator("diana"), ChannelSplitModel(overlapping=True)
    ours, theirs = (model.estimate(workload, chip).stages for workload in (found, expected))
    assert [replace(x, exit="") for x in ours] == [replace(x, exit="") for x in theirs]


@pytest.mark.parametrize("rows", [1152, 72])
def test_layers_that_read_the_same_values_are_told_apart(rows: int, tmp_path: Path) -> None:
    """In residual blocks the first convolution and the shortcut share the loss of bits, and slices of what is left."""
    shape = (3, 8, 8)
    supernet = Supernet(BACKBONES.get("resnet8").space(shape), ("conv",), shape, 4, seed=0)
    stages = tuple(StageChoice(1, width, (3,), (1,)) for width in (8, 16, 32))
    network = supernet.extract(Architecture("resnet8", 8, stages, (ExitChoice(1, "conv"),))).eval()
    layers = lower(network).layers
    analog = {x.name: x.shape.k for x in layers if "block" in x.name and x.shape.op is Op.CONV}
    analog["stages.1.block2.first.conv"] = 12
    samples = [torch.rand(8, *shape, generator=torch.Generator().manual_seed(0))]
    prepare_(network, samples)
    expected = [(x.shape, analog.get(x.name, 0)) for x in lower(network).layers]
    make_analog_(network, analog, replace(ARRAY, rows=rows), samples)
    found = workload_from_onnx(exported(network, tmp_path / "m.onnx"))
    assert sorted((str(x.shape), x.analog_channels) for x in found.layers) == sorted((str(x), n) for x, n in expected)


def test_a_network_without_analog_layers_is_left_to_the_mapper(tmp_path: Path) -> None:
    network = prepared(0)
    found = workload_from_onnx(exported(network, tmp_path / "m.onnx"))
    assert [x.analog_channels for x in found.layers] == [None] * 4


def read_elsewhere(graph: Any) -> None:
    """The converter's result goes to a second place too."""
    (clip,) = [x for x in graph.node if x.op_type == "Clip" and "conv" in producers(graph, x.input[0], 3)]
    graph.output.append(onnx.helper.make_tensor_value_info(clip.output[0], onnx.TensorProto.FLOAT, None))


def producers(graph: Any, tensor: str, steps: int) -> str:
    for _ in range(steps):
        node = next(x for x in graph.node if tensor in x.output)
        tensor = node.input[0]
        if node.op_type == "Conv":
            return "conv"
    return ""


def another_function(graph: Any) -> None:
    """Not a converter's limits but a sine."""
    clips = [x for x in graph.node if x.op_type == "Clip"]
    clips[-1].op_type = "Sin"
    del clips[-1].input[1:]


@pytest.mark.parametrize("change", [read_elsewhere, another_function])
def test_what_is_not_an_analog_layer_step_by_step_is_refused(change: Callable[[Any], None], tmp_path: Path) -> None:
    path = exported_again(prepared_model(6), tmp_path / "m.onnx", change)
    with pytest.raises(UnsupportedLayerError, match="Round"):
        workload_from_onnx(path)


def test_an_accelerator_without_such_a_core_says_so(tmp_path: Path) -> None:
    path = exported_again(prepared_model(4), tmp_path / "m.onnx")
    notes = price_onnx(path, CostConfig(accelerator="edge-tpu-quad")).report.warnings
    assert notes[-1].startswith("1 layer(s) compute as an analog core does")
    assert not [x for x in price_onnx(path, CostConfig(accelerator="diana")).report.warnings if "cannot run" in x]
