"""An accelerator file is read once by each command."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.cost.pricing import price_onnx
from offramp.hardware import loader
from offramp.run.api import search
from offramp.run.pipeline import Pipeline
from offramp.settings.cost_config import CostConfig
from tests.conftest import small_config
from tests.workload.from_onnx.onnx_samples import two_exits


class PipelineReachedError(Exception):
    """Everything before the pipeline has been done."""


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the accelerator files read, in order."""
    names: list[str] = []
    read_yaml = loader.read_yaml

    def counted(path: Path) -> object:
        names.append(path.name)
        return read_yaml(path)

    monkeypatch.setattr(loader, "read_yaml", counted)
    return names


@pytest.mark.parametrize("changes", [{}, {"cost__mapping": "optimized"}, {"cost__accelerator": "diana"}])
def test_a_search_reads_it_once(
    reads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, str]
) -> None:
    def reached(_self: Pipeline) -> None:
        raise PipelineReachedError

    monkeypatch.setattr(Pipeline, "run", reached)
    config = small_config(**changes)
    with pytest.raises(PipelineReachedError):
        search(config, run=tmp_path / "run")
    assert reads == [f"{config.cost.accelerator}.yaml"]


def test_pricing_a_graph_reads_it_once(reads: list[str], tmp_path: Path) -> None:
    price_onnx(two_exits().save(tmp_path), CostConfig(accelerator="mcu"))
    assert reads == ["mcu.yaml"]


def test_checking_it_reads_it_once(reads: list[str]) -> None:
    assert CliRunner().invoke(app, ["accelerators", "check", "mcu"]).exit_code == 0
    assert reads == ["mcu.yaml"]
