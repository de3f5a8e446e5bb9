"""The engine of docs/how-to/add-a-cost-engine.md works as it stands, from a package of its own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from offramp.cost.engines.cost_engine import COST_ENGINES, EngineOptions, build_engines
from offramp.hardware.accelerator import CoreKind
from offramp.testing.engine_conformance import CHECKS
from tests.cost.toys import core, dense
from tests.workload.from_onnx import onnx_samples

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "add-a-cost-engine.md"
ENGINE, CHECK = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
(ENTRY_POINT,) = re.findall(r'```toml\n\[project\.entry-points\."(.*?)"\]\n(.*?)```', PAGE.read_text(), re.S)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "native" in COST_ENGINES
    monkeypatch.setattr(COST_ENGINES, "_items", dict(COST_ENGINES._items))
    exec(compile(ENGINE, PAGE.name, "exec"), {"__name__": __name__})


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_worked_example_passes_the_checks(check: Callable[[str], None]) -> None:
    check("roofline")


@pytest.mark.usefixtures("registered")
def test_the_check_of_the_page_runs() -> None:
    exec(compile(CHECK, PAGE.name, "exec"), {"__name__": __name__})


@pytest.fixture
def plug_in(tmp_path: Path) -> Path:
    """A folder on the path of Python with the module and the entry point of an installed package."""
    (tmp_path / "roofline_engine.py").write_text(ENGINE)
    group, line = ENTRY_POINT
    info = tmp_path / "roofline-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: roofline\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line}".replace('"', ""))  # no quotes as in TOML
    return tmp_path


def run_with(plug_in: Path, *words: str) -> str:
    """What a fresh process prints that finds the plug-in on its path."""
    path = os.pathsep.join((str(plug_in), *filter(None, sys.path)))
    environment = os.environ | {"PYTHONPATH": path, "OFFRAMP_CACHE": str(plug_in), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "offramp", *words], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout


def test_an_installed_package_brings_the_engine(plug_in: Path) -> None:
    assert "roofline" in run_with(plug_in, "list", "engines")
    model = onnx_samples.two_exits().save(plug_in)
    priced = json.loads(run_with(plug_in, "cost", str(model), "--engine", "roofline", "--json"))
    assert (priced["engine"], priced["engine_version"]) == ("roofline", "1, mapping optimized")
    assert priced["stages"][-1]["latency_to_exit_cycles"] > 0


@pytest.mark.usefixtures("registered")
def test_a_price_worked_out_by_hand() -> None:
    """160 MACs on 4 multipliers; (160 + 16) bytes in and 10 bytes out through 64 bits a cycle."""
    (engine,) = build_engines("roofline", EngineOptions())
    (cost,) = engine.price([(dense(16), core("npu", CoreKind.COMPUTE))])
    assert (cost.temporal_cycles, cost.stall_cycles, cost.utilization) == (40, 0, 1.0)
    assert (cost.mac_energy_pj, cost.energy_pj) == (80.0, 80.0 + 22 * 1.0 + 2 * 2.0)
    (slow,) = engine.price([(dense(16), core("npu", CoreKind.COMPUTE, width_bits=16))])
    assert (slow.temporal_cycles, slow.stall_cycles, slow.latency_cycles) == (40, 88 - 40, 88)
