"""Networks on a measured device: sums of layers, the fitted error of summing, and whole networks beside them."""

from pathlib import Path

import pytest

from offramp.cost.engines.measured.calibration_networks import calibration_networks
from offramp.cost.engines.measured.command_runner import PERMISSION
from offramp.cost.engines.measured.network_files import stage_files
from offramp.cost.pricing import build_cost_model
from offramp.errors import ConfigError
from offramp.hardware.loader import load_accelerator
from offramp.settings.cost_config import CostConfig
from tests.cost.engines.measured.devices import device_file

NETWORK = calibration_networks()[0]
WITH_LOG = 'echo run >> "$0.log"; echo "latency_ns: $(wc -c < "$1")"\n'


@pytest.fixture(autouse=True)
def permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PERMISSION, "1")
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "cache"))


def test_a_report_adds_up_layers_and_states_the_error_of_summing(tmp_path: Path) -> None:
    path = device_file(tmp_path, WITH_LOG)
    board = load_accelerator(path)
    config = CostConfig(accelerator=str(path))
    model = build_cost_model(config, accelerator=board)
    report = model.estimate(NETWORK, board)
    fit = model.fit  # type: ignore[attr-defined]
    sums = [cost * 1e9 for cost in model._layers_s(NETWORK)]  # type: ignore[attr-defined]
    call = fit.call_s * 1e9
    assert report.stages[0].latency_to_exit_cycles == pytest.approx(call + fit.scale * sums[0])
    assert report.stages[1].latency_to_exit_cycles == pytest.approx(2 * call + fit.scale * sum(sums))
    # 2 W for as long as the stages take.
    assert report.stages[1].energy_to_exit_pj == pytest.approx(report.stages[1].latency_to_exit_cycles * 1e-9 * 2e12)
    assert fit.stages == 22
    assert fit.sentence in report.warnings
    sizes = [len(file.content) for file in stage_files(NETWORK, "float32")]
    assert f"{sizes[0] / 1e3:,.4g} us to {NETWORK.exits[0]}" in report.warnings[-1]
    assert f"{sum(sizes) / 1e3:,.4g} us to {NETWORK.exits[1]}" in report.warnings[-1]


def test_the_fit_is_measured_once_and_candidates_of_a_search_not_whole(tmp_path: Path) -> None:
    path = device_file(tmp_path, WITH_LOG)
    board, config, log = load_accelerator(path), CostConfig(accelerator=str(path)), tmp_path / "timer.sh.log"
    first = build_cost_model(config, coarse=True, accelerator=board).estimate(NETWORK, board)
    runs = len(log.read_text().split())
    again = build_cost_model(config, coarse=True, accelerator=board).estimate(NETWORK, board)
    assert again == first
    assert len(log.read_text().split()) == runs
    assert "Measured whole" not in " ".join(again.warnings)


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ('echo "latency_us: 812.4"\n', "time"),
        ('echo "latency_ns: $(wc -c < "$1")"\necho "energy_uj: 96.1"\n', "energy"),
    ],
)
def test_a_runner_whose_figures_do_not_depend_on_the_file_is_refused(script: str, what: str, tmp_path: Path) -> None:
    path = device_file(tmp_path, script)
    board = load_accelerator(path)
    model = build_cost_model(CostConfig(accelerator=str(path)), accelerator=board)
    with pytest.raises(ConfigError, match=f"no layer of the network takes more {what} than a file without a layer"):
        model.estimate(NETWORK, board)


def test_settings_that_a_measured_device_does_not_know_are_refused(tmp_path: Path) -> None:
    path = device_file(tmp_path)
    for changes in ({"engine": "zigzag"}, {"convention": "published"}, {"loads": "overlap"}):
        settings = CostConfig.model_validate({"accelerator": str(path), **changes})
        with pytest.raises(ConfigError, match="is measured by the runner of its file"):
            build_cost_model(settings)
