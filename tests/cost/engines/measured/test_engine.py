"""Layers are measured once, with their spread, and kept for the device that they were measured on."""

from pathlib import Path

import pytest

from offramp.cost.engines.cost_engine import EngineOptions, build_engines
from offramp.cost.engines.measured.command_runner import PERMISSION
from offramp.cost.engines.measured.engine import measured_engine
from offramp.cost.engines.measured.network_files import empty_file, layer_file
from offramp.cost.price_cache import CachedEngine
from offramp.errors import ConfigError
from offramp.hardware.loader import load_accelerator
from offramp.testing.layer_shapes import square_convolution
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.measured.devices import device

CONV = square_convolution(8, 3, 4, kernel=3)


@pytest.fixture(autouse=True)
def permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PERMISSION, "1")
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "cache"))


def test_a_layer_takes_its_file_less_a_call_and_the_stated_power(tmp_path: Path) -> None:
    board = device(tmp_path)
    (cost,) = measured_engine(board).price([(CONV, board.cores[0])])
    nanoseconds = len(layer_file(CONV, "float32").content) - len(empty_file("float32").content)
    assert cost.latency_cycles == pytest.approx(nanoseconds)
    assert cost.energy_pj == pytest.approx(nanoseconds * 1e-9 * 2.0 * 1e12)


def test_measured_energies_and_spreads_are_kept(tmp_path: Path) -> None:
    script = "for t in 100 300 500; do echo latency_us: $t; echo energy_uj: $(wc -c < $1); done"
    board = device(tmp_path, script, power_w=None)
    (cost,) = measured_engine(board).price([(CONV, board.cores[0])])
    microjoules = len(layer_file(CONV, "float32").content) - len(empty_file("float32").content)
    assert cost.energy_pj == pytest.approx(microjoules * 1e6)
    assert cost.spread_cycles == pytest.approx(100e3)


def test_each_distinct_layer_is_measured_once_also_by_a_later_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    board = device(tmp_path, f"echo run >> {log}\necho latency_us: 5\necho latency_us: 6")
    jobs = [(CONV, board.cores[0]), (CONV, board.cores[0])]
    first = CachedEngine(measured_engine(board), tmp_path / "prices.sqlite").price(jobs)
    assert log.read_text().split() == ["run"] * 2  # the layer and a call
    again = CachedEngine(measured_engine(board), tmp_path / "prices.sqlite").price(jobs)
    assert again == first
    assert log.read_text().split() == ["run"] * 2
    other = device(tmp_path, f"echo run >> {log}\necho latency_us: 5\necho latency_us: 6", version="2")
    CachedEngine(measured_engine(other), tmp_path / "prices.sqlite").price([(CONV, other.cores[0])])
    assert log.read_text().split() == ["run"] * 4


def test_activation_functions_are_part_of_the_layer_before(tmp_path: Path) -> None:
    board = device(tmp_path, "exit 1")
    (cost,) = measured_engine(board).price([(LayerShape(Op.ACTIVATION, g=4), board.cores[0])])
    assert cost.latency_cycles == 0


def test_an_accelerator_without_a_runner_is_refused() -> None:
    with pytest.raises(ConfigError, match="names a `runner`, got 'mcu'"):
        build_engines("measured", EngineOptions(accelerator=load_accelerator("mcu")))
    with pytest.raises(ConfigError, match="needs the accelerator"):
        build_engines("measured", EngineOptions())
