"""The MLPerf Tiny backbones equal the reference files, layer by layer."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from offramp.nn.backbone import BACKBONES
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.supernet.supernet import Supernet
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.testing.conformance import check_backbone
from offramp.workload.graph import Workload
from tests.nn.tflite_layers import FileLayer, num_parameters, read_layers

REFERENCES = Path(__file__).parents[3] / "shared" / "reference" / "mlperf_tiny"


@dataclass(frozen=True)
class Case:
    """A reference network and what it is for; MACs and parameters are counted by hand from its layer table."""

    family: str
    file: str
    input_shape: tuple[int, int, int]
    num_classes: int
    num_taps: int
    macs: int
    parameters: int


CASES = (
    # 3x3x3x16 at 32x32; 2 of 3x3x16x16 at 32x32; 3x3x16x32, 3x3x32x32 and 16x32 at 16x16; ... ; 64x10.
    Case("resnet8", "ic_resnet8_float.tflite", (3, 32, 32), 10, 3, 12_501_632, 77_706),
    # 10x4x64 at 25x5; 4 of (9 + 64) x 64 at 25x5; 64x12.
    Case("ds-cnn", "kws_dscnn_float.tflite", (1, 49, 10), 12, 4, 2_656_768, 22_604),
    Case("mobilenetv1", "vww_mobilenetv1_float.tflite", (3, 96, 96), 2, 13, 7_489_664, 210_850),
)
FAMILIES = [(name, case) for case in CASES for name in (case.family, f"mlperf-{case.family}")]


def layers_of(workload: Workload) -> list[FileLayer]:
    """A workload in the terms of the file; batch norm, folded, leaves one bias for each output channel."""
    rows = []
    for layer in workload.layers:
        x = layer.shape
        matrix = x.num_weights > 0
        rows.append(
            FileLayer(
                x.op.value,
                x.g,
                x.k,
                x.c,
                (x.fy, x.fx),
                (x.stride_y, x.stride_x) if matrix else (0, 0),
                (x.oy, x.ox),
                x.num_weights,
                x.g * x.k if matrix else 0,
                x.macs,
            )
        )
    return rows


def network_of(name: str, case: Case) -> EarlyExitNetwork:
    space = BACKBONES.get(name).space(case.input_shape)
    largest = EarlyExitSpace(space, ("global_pool",)).max_architecture()
    return Supernet(space, ("global_pool",), case.input_shape, case.num_classes, seed=0).extract(largest)


@pytest.mark.parametrize(("name", "case"), FAMILIES, ids=lambda x: x if isinstance(x, str) else "")
def test_the_largest_member_is_the_reference_layer_by_layer(name: str, case: Case) -> None:
    path = REFERENCES / case.file
    if not path.is_file():
        pytest.skip(f"the reference file {case.file} is not at hand")
    expected = read_layers(path)
    workload = lower(network_of(name, case))
    assert layers_of(workload) == expected
    assert workload.macs_to_exit() == (sum(layer.macs for layer in expected),)
    assert sum(layer.weights + layer.biases for layer in expected) == num_parameters(path) == case.parameters


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.family)
def test_macs_and_parameters_counted_by_hand(case: Case) -> None:
    network = network_of(case.family, case).eval()
    assert lower(network).macs_to_exit() == (case.macs,)
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential) and hasattr(module, "conv"):
            conv, norm = cast(nn.Conv2d, module.conv), cast(nn.BatchNorm2d, module.norm)
            module.conv, module.norm = fuse_conv_bn_eval(conv, norm), nn.Identity()
    assert sum(parameter.numel() for parameter in network.parameters()) == case.parameters


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.family)
def test_every_block_end_carries_an_exit_and_every_width_halves(case: Case) -> None:
    space = BACKBONES.get(case.family).space(case.input_shape)
    fixed = BACKBONES.get(f"mlperf-{case.family}").space(case.input_shape)
    assert space.num_taps == fixed.num_taps == case.num_taps
    members = EarlyExitSpace(space, ("pool_linear",), max_exits=case.num_taps)
    assert members.active_taps(members.max_architecture()) == tuple(range(case.num_taps - 1))
    assert EarlyExitSpace(fixed, ("pool_linear",), max_exits=1).size == case.num_taps  # no exit, or one of the taps
    for stage, reference in zip(space.stages, fixed.stages, strict=True):
        (full,) = reference.widths
        assert stage.widths == (full // 2, full * 3 // 4, full)


def test_taps_of_resnet8_are_the_ends_of_its_residual_blocks() -> None:
    case = CASES[0]
    space = BACKBONES.get("resnet8").space(case.input_shape)
    members = EarlyExitSpace(space, ("global_pool",))
    supernet = Supernet(space, ("global_pool",), case.input_shape, 10, seed=0)
    with_exits = members.with_all_exits(members.max_architecture(), np.random.default_rng(0))
    features = torch.zeros(2, 3, 32, 32)
    network = supernet.extract(with_exits)
    shapes = []
    for index in range(3):
        features, _ = network.run_stage(index, features)
        shapes.append(tuple(features.shape[1:]))
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    exits = [layer.name for layer in lower(network).layers if layer.shape.op == "add"]
    assert len(exits) == 3


def test_the_keyword_spotter_passes_the_conformance_checks_at_its_own_shape() -> None:
    check_backbone("ds-cnn", (1, 49, 10))


@pytest.mark.parametrize("size", [(49, 10), (48, 9), (50, 11), (1, 1), (2, 3), (10, 4)])
def test_the_stem_of_the_keyword_spotter_halves_every_size_rounding_up(size: tuple[int, int]) -> None:
    space = BACKBONES.get("mlperf-ds-cnn").space((1, *size))
    stem = BACKBONES.get("mlperf-ds-cnn").build(space, 1).stem
    assert tuple(stem(torch.zeros(2, 1, *size)).shape) == (2, 64, -(-size[0] // 2), -(-size[1] // 2))


@pytest.mark.parametrize(
    ("size", "strides", "kernel"),
    [
        ((49, 10), (1, 1, 1, 1), (10, 4)),  # 25 x 5 = 125 places behind the stem, as the reference
        ((49, 28), (1, 1, 1, 1), (10, 4)),  # 25 x 14 = 350
        ((96, 96), (1, 2, 2, 1), (10, 4)),  # 48 x 48 = 2304, then 24 x 24 = 576, then 144: two halvings
        ((98, 40), (1, 2, 1, 1), (10, 4)),  # 49 x 20 = 980, then 250
        ((512, 512), (2, 2, 2, 2), (10, 4)),  # 256 x 256, then 65536 / 4**4 = 256
        ((4, 3), (1, 1, 1, 1), (4, 3)),
        ((1, 100), (1, 1, 1, 1), (1, 4)),
    ],
)
def test_the_elastic_ds_cnn_fits_inputs_of_any_size(
    size: tuple[int, int], strides: tuple[int, ...], kernel: tuple[int, int]
) -> None:
    space = BACKBONES.get("ds-cnn").space((1, *size))
    assert tuple(stage.stride for stage in space.stages) == strides
    assert space.stem_kernel == kernel
    if size[0] < 100:
        check_backbone("ds-cnn", (1, *size))
    # The fixed network is that of the reference.
    assert {stage.stride for stage in BACKBONES.get("mlperf-ds-cnn").space((1, *size)).stages} == {1}
