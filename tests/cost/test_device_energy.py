"""Static energy and energy of a batch, worked out by hand."""

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.cost.device_energy import device_energy
from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.report import CostReport, StageCost
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.device_power import DevicePower
from offramp.hardware.loader import load_accelerator
from tests.workload.from_onnx.onnx_samples import two_exits

KNOWN = DevicePower(static_w=0.5, start_up_j=0.25, source="data sheet")


def stage(latency: float, energy: float) -> StageCost:
    return StageCost("exit", 0.0, 0.0, 0.0, 0.0, 0.0, latency, energy, 100)


REPORT = CostReport("chip", "native", "1", "offramp", (stage(100.0, 1e12), stage(300.0, 3e12)), layers=())
STATIC = expected_cost(replace(REPORT, stages=REPORT.stages[1:]), (1.0,))


def chip(power: DevicePower | None, clock_hz: float | None = 100.0) -> Accelerator:
    return Accelerator("chip", (), (), clock_hz=clock_hz, device_power=power)


def rated() -> ExpectedCost:
    return expected_cost(REPORT, (0.5, 0.5))


def test_static_energy_and_a_batch_by_hand() -> None:
    found = device_energy(chip(KNOWN), REPORT, rated(), STATIC)
    assert found is not None
    # 0.5 W for 1 and 3 s at 100 Hz.
    assert found.static_to_exit_j == (0.5, 1.5)
    # 1,000 x (0.25 J + 2 J + 0.5 W x 2 s), and 1,000 x (0.25 + 3 + 1.5).
    assert found.batch_j == pytest.approx(3250.0)
    assert found.static_network_batch_j == pytest.approx(4750.0)


def test_what_is_not_known_is_not_said() -> None:
    assert device_energy(chip(None), REPORT, rated(), STATIC) is None
    starts = device_energy(chip(replace(KNOWN, static_w=None), None), REPORT, rated(), STATIC)
    assert starts is not None
    assert starts.static_to_exit_j is None
    assert starts.batch_j == pytest.approx(2250.0)
    waits = device_energy(chip(replace(KNOWN, start_up_j=None)), REPORT, rated(), STATIC)
    assert waits is not None
    assert (waits.batch_j, waits.static_network_batch_j) == (None, None)


def test_several_exits_need_rates_and_one_does_not() -> None:
    unrated = device_energy(chip(KNOWN), REPORT, None, STATIC)
    assert unrated is not None
    assert unrated.batch_j is None
    alone = device_energy(chip(KNOWN), replace(REPORT, stages=REPORT.stages[1:]), None, STATIC)
    assert alone is not None
    assert alone.batch_j == alone.static_network_batch_j


def test_cost_reports_the_figures_of_the_file(tmp_path: Path) -> None:
    path, model = tmp_path / "own.yaml", two_exits().save(tmp_path)
    block = "\ndevice_power: {static_w: 0.012, start_up_j: 0.0009, source: data sheet}\n"
    catalogue = resources.files("offramp.hardware.catalog") / "mcu.yaml"
    path.write_text(catalogue.read_text(encoding="utf-8") + block, encoding="utf-8")
    command = ["cost", str(model), "--accelerator", str(path), "--exit-rates", "0.5,0.5"]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    latency = found["stages"][0]["latency_to_exit_cycles"]
    assert found["device"]["static_to_exit_j"][0] == pytest.approx(0.012 * latency / 216e6)
    expected = found["expected"]
    each = 0.0009 + expected["energy_pj"] * 1e-12 + 0.012 * expected["latency_cycles"] / 216e6
    assert found["device"]["batch_j"] == pytest.approx(1000 * each)
    shown = " ".join(CliRunner().invoke(app, command, env={"COLUMNS": "300"}).output.split())
    assert "Static power of 12.0 mW, not in the table:" in shown
    assert "1,000 inferences with a start of 900 µJ each and static power:" in shown
    plain = json.loads(CliRunner().invoke(app, ["cost", str(model), "--accelerator", "mcu", "--json"]).stdout)
    assert plain["device"] is None


def test_no_shipped_accelerator_guesses_its_power() -> None:
    for name in ("mcu", "diana", "edge-tpu-quad"):
        assert load_accelerator(name).device_power is None
