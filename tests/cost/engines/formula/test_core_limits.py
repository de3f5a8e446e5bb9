from dataclasses import replace

import pytest

from offramp.cost.engines.formula.core_limits import why_not
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op
from tests.cost.mapping.channel_split.networks import add, average, conv, depthwise

FORMULAS = load_accelerator("diana").formulas
assert FORMULAS is not None
PLAIN = conv(16, 16, 8)


def reason(core: str, shape: LayerShape, *, first: bool = False) -> str:
    assert FORMULAS is not None
    return why_not(FORMULAS.core(core), shape, first=first)


def test_a_plain_convolution_runs_anywhere() -> None:
    assert [reason(core, PLAIN) for core in ("digital", "analog", "host")] == ["", "", ""]


@pytest.mark.parametrize(
    ("core", "shape", "words"),
    [
        ("analog", depthwise(16, 8), "depthwise convolution sums within one channel"),
        ("analog", conv(4, 4, 8, groups=2), "groups"),
        ("digital", conv(4, 4, 8, groups=2), "groups of several channels"),
        ("analog", LayerShape(Op.DENSE, k=12, c=64), "runs conv, not dense"),
        ("analog", add(16, 8), "not add"),
        ("analog", conv(16, 64, 8, kernel=5), "5x5 kernel takes 1600 rows, the array has 1152"),
        ("digital", average(16, 8), "not avg_pool"),
        ("digital", conv(16, 16, 8, kernel=9), "size 1 or 3 or 5 or 7, not 9x9"),
        ("digital", replace(PLAIN, fx=1), "square"),
        ("digital", conv(16, 16, 8, stride=4), "strides must be equal and 1 or 2"),
        ("digital", replace(PLAIN, dilation_y=2, dilation_x=2), "dilated"),
        ("digital", replace(PLAIN, padding=(0, 0, 1, 1)), "half a kernel on all four sides"),
        ("digital", conv(4, 3, 5), "75 bytes, no multiple of 4"),
        ("digital", replace(PLAIN, weight_bits=16), "8-bit weights, the layer 16-bit"),
        ("digital", replace(PLAIN, activation_bits=32), "8-bit activations"),
    ],
)
def test_what_a_core_cannot_do_is_refused_with_a_reason(core: str, shape: LayerShape, words: str) -> None:
    assert words in reason(core, shape)


def test_the_analog_core_does_not_read_pixels() -> None:
    assert "first layer reads 8-bit pixels" in reason("analog", conv(16, 4, 32), first=True)
    assert reason("digital", conv(16, 3, 32), first=True) == ""


def test_the_host_does_the_rest() -> None:
    for shape in (average(16, 8), conv(4, 4, 8, groups=2), replace(PLAIN, padding=(0, 0, 1, 1), activation_bits=32)):
        assert reason("host", shape) == ""
