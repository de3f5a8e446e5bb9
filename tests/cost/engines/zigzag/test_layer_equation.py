from dataclasses import replace

import pytest

from offramp.cost.engines.zigzag.layer_equation import layer_to_zigzag, mapping_to_zigzag
from offramp.hardware.accelerator import CoreKind, SpatialLoop
from offramp.workload.layer import LayerShape, Op
from tests.cost.toys import add, conv, core, dense, pool


def loops(shape: LayerShape) -> dict[str, int]:
    data = layer_to_zigzag(shape)
    return dict(zip(data["loop_dims"], data["loop_sizes"], strict=True))


def test_convolution() -> None:
    shape = replace(
        conv(6, 12, 8, 3), stride_x=2, stride_y=1, dilation_y=2, padding=(1, 2, 3, 4), weight_bits=4, iy=9, ix=17
    )
    data = layer_to_zigzag(shape)
    assert loops(shape) == {"B": 1, "K": 12, "G": 1, "OX": 8, "OY": 8, "C": 6, "FX": 3, "FY": 3}
    assert data["dimension_relations"] == ["ix=2*ox+1*fx", "iy=1*oy+2*fy"]
    assert data["pr_loop_sizes"] == [17, 9]
    assert data["padding"] == [[2, 4], [1, 3]]
    assert data["operand_precision"] == {"W": 4, "I": 8, "O": 12, "O_final": 8}
    assert data["operand_source"] == {"W": 0}


def test_depthwise_convolution_loops_over_groups() -> None:
    assert loops(replace(conv(1, 1), g=32))["G"] == 32


def test_dense() -> None:
    assert loops(replace(dense(512, 10), b=3)) == {"D": 3, "K": 10, "C": 512}
    assert layer_to_zigzag(dense(512))["dimension_relations"] == []
    assert loops(replace(dense(8, 4), g=2))["G"] == 2


def test_pooling_slides_over_channels_without_weights() -> None:
    assert loops(pool(320, 8, 2)) == {"B": 1, "K": 320, "OX": 4, "OY": 4, "C": 1, "FX": 2, "FY": 2}
    assert loops(replace(pool(320, 8, 2), c=320))["C"] == 320
    assert layer_to_zigzag(pool())["operand_precision"]["W"] == 0
    assert layer_to_zigzag(replace(pool(), op=Op.AVG_POOL))["equation"] == layer_to_zigzag(pool())["equation"]


def test_element_wise_layers_have_the_width_as_k_and_two_activations() -> None:
    shape = LayerShape(Op.ADD, g=24, oy=16, ox=32, iy=16, ix=32, weight_bits=4)
    assert loops(shape) == {"B": 1, "H": 24, "D": 16, "K": 32}
    assert layer_to_zigzag(shape)["operand_precision"]["W"] == 8
    assert layer_to_zigzag(shape)["operand_source"] == {}
    assert loops(replace(shape, op=Op.MULTIPLY)) == loops(shape)


def test_rule_operators_have_no_loop_nest() -> None:
    for op in (Op.CONCAT, Op.ACTIVATION):
        with pytest.raises(ValueError, match="stated rule"):
            layer_to_zigzag(replace(add(), op=op))


def test_core_with_a_dataflow_keeps_it() -> None:
    plain = core("simd", CoreKind.SIMD)
    assert mapping_to_zigzag(add(), plain)["spatial_mapping"] is None
    fixed = replace(plain, dataflow=(SpatialLoop("D1", "K", 2), SpatialLoop("D1", "OX", 2)))
    assert mapping_to_zigzag(add(), fixed)["spatial_mapping"] == {"D1": ["K, 2", "OX, 2"]}
