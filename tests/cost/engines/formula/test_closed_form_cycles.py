import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.engines.formula.closed_form_cycles import layer_cycles, padded, unrolling
from offramp.cost.engines.formula.engine import FormulaEngine
from offramp.hardware.chip_formulas import InMemoryArray
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import MATRIX_OPS, LayerShape, Op
from tests.cost.mapping.channel_split.networks import add, average, conv, depthwise, residual_network

DIANA = load_accelerator("diana")
ENGINE = FormulaEngine(DIANA)
CLOCK = 260e6


def cycles(core: str, shape: LayerShape) -> float:
    assert DIANA.formulas is not None
    return layer_cycles(DIANA.formulas.core(core), shape, CLOCK).total


def array() -> InMemoryArray:
    assert DIANA.formulas is not None
    assert DIANA.formulas.analog is not None
    form = DIANA.formulas.analog.cycles
    assert isinstance(form, InMemoryArray)
    return form


@pytest.mark.parametrize(
    ("core", "shape", "expected"),
    [
        ("digital", conv(32, 16, 16), 6144),
        ("analog", conv(32, 16, 16), 2316.8),
        ("digital", depthwise(64, 16), 13312),
        ("digital", conv(16, 3, 32), 4160),
        ("analog", conv(16, 3, 32), 4875.2),
    ],
)
def test_single_layers_take_the_published_cycles(core: str, shape: LayerShape, expected: float) -> None:
    assert cycles(core, shape) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("blocks", "macs", "digital", "analog", "best"),
    [(3, 40.8e6, 257_673, 88_121, 86_964), (1, 12.5e6, 81_545, 31_404, 30_248)],
)
def test_residual_networks_take_the_published_cycles(
    blocks: int, macs: float, digital: int, analog: int, best: int
) -> None:
    """Convolutions and the classifier alone, one after the other, as the published totals count."""
    network = residual_network(blocks)
    assert network.macs_to_exit()[0] == pytest.approx(macs, rel=2e-3)
    shapes = [layer.shape for layer in network.layers if layer.shape.op in MATRIX_OPS]
    on_digital = [cycles("digital", shape) for shape in shapes]
    on_analog = [cycles("analog", shape) for shape in shapes]
    assert sum(on_digital) == pytest.approx(digital, abs=1)
    assert sum(on_analog) == pytest.approx(analog, abs=1)
    assert sum(min(pair) for pair in zip(on_digital, on_analog, strict=True)) == pytest.approx(best, abs=1)


def test_powers_over_time_give_the_published_energies() -> None:
    """24.7 and 9.7 uJ for ResNet-20, 7.8 and 3.5 uJ for ResNet-8, of convolutions and classifier."""
    for blocks, digital_uj, analog_uj in ((3, 24.7, 9.7), (1, 7.8, 3.5)):
        shapes = [x.shape for x in residual_network(blocks).layers if x.shape.op in MATRIX_OPS]
        energy = sum(cost.energy_pj for cost in ENGINE.price([(x, DIANA.core("digital")) for x in shapes]))
        assert energy * 1e-6 == pytest.approx(digital_uj, abs=0.06)
        assert sum(cycles("analog", x) for x in shapes) / CLOCK * 28.74e-3 * 1e6 == pytest.approx(analog_uj, abs=0.06)


def test_outputs_side_by_side_by_hand() -> None:
    # 3x3, 64 channels: 4 positions shift the kernel over 6 columns, 6 * 64 * 3 = 1152 rows; 8 would take 1920.
    assert unrolling(array(), conv(64, 64, 8)) == 4
    # 512 columns hold 300 outputs once.
    assert unrolling(array(), conv(300, 64, 8)) == 1
    # 1x1: 8 * 64 rows, 8 * 64 columns.
    assert unrolling(array(), conv(64, 64, 8, kernel=1)) == 8
    # More inputs come in passes of 128 channels, which fill all rows.
    assert unrolling(array(), conv(32, 256, 8)) == 1
    assert unrolling(array(), conv(32, 64, 8, kernel=5)) is None


def test_deep_layers_take_several_passes() -> None:
    one, two = cycles("analog", conv(512, 128, 8)), cycles("analog", conv(1024, 256, 8))
    writing = 8 * 128 * 9
    assert two - 2 * writing == pytest.approx(4 * (one - writing))


def test_results_are_filled_up_to_whole_words() -> None:
    dense = LayerShape(Op.DENSE, k=10, c=64)
    assert padded(dense, 4).k == 12
    assert padded(conv(10, 4, 8), 4).k == 10  # 64 positions make any number of channels a multiple
    assert padded(conv(5, 4, 3), 4).k == 8
    assert cycles("digital", dense) == 64 + (12 + 64) / 8


def test_the_host_pays_for_every_value_it_reads() -> None:
    assert cycles("host", average(64, 8)) == 1.25 * 4096
    assert cycles("host", add(16, 8)) == 1.25 * 2 * 16 * 64
    assert cycles("host", conv(4, 4, 2, kernel=1)) == 4 * 4 * 4 * 4


def test_additions_wait_for_the_port() -> None:
    assert cycles("vector", add(16, 32)) == 32 * 32 * 48 / 64


@given(st.integers(1, 600), st.integers(1, 300), st.sampled_from([4, 8, 16]), st.sampled_from([1, 3]))
def test_more_channels_never_take_less(channels: int, inputs: int, size: int, kernel: int) -> None:
    for core in ("digital", "analog", "host"):
        few = cycles(core, conv(channels, inputs, size, kernel))
        assert few <= cycles(core, conv(channels + 1, inputs, size, kernel))
        assert few <= cycles(core, conv(channels, inputs + 1, size, kernel))
        peak = DIANA.core(core).peak_macs_per_cycle
        assert math.ceil(conv(channels, inputs, size, kernel).macs / peak) <= few + 1
