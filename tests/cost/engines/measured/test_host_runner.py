"""onnxruntime on this machine as the runner: times are of the layer, in a unit that all processes share."""

from pathlib import Path

import pytest

from offramp.cost.engines.measured.device_runner import TimedRuns
from offramp.cost.engines.measured.host_runner import HostRunner
from offramp.cost.engines.measured.network_files import TimedFile, layer_file
from offramp.errors import ConfigError
from offramp.hardware.runner import Measurement
from offramp.testing.layer_shapes import square_convolution

QUICK = Measurement(repetitions=5, warm_up=1, power_w=1.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path))
    monkeypatch.setattr("offramp.cost.engines.measured.host_runner._SEARCH_S", 0.02)
    return tmp_path


def test_sixteen_times_the_work_takes_several_times_as_long() -> None:
    small, large = (
        HostRunner(QUICK).measure(layer_file(square_convolution(32, 16, channels, kernel=3), "float32"))
        for channels in (16, 256)
    )
    assert large.seconds > 3 * small.seconds > 0
    assert large.energy_j is None


def test_the_reference_is_kept_for_other_processes(cache: Path) -> None:
    first = HostRunner(QUICK)
    first.measure(layer_file(square_convolution(8, 4, 4, kernel=3), "float32"))
    (kept,) = cache.glob("measured-reference-*.json")
    text = kept.read_text()
    assert first.identity.split(",")[0] in text
    second = HostRunner(QUICK)
    assert second._reference_s == first._reference_s
    kept.write_text("{")
    assert HostRunner(QUICK)._reference_s > 0
    assert kept.read_text() != "{"


def test_every_setting_of_a_measurement_is_in_the_identity() -> None:
    others = (
        Measurement(repetitions=6, warm_up=1),
        Measurement(repetitions=5, warm_up=2),
        Measurement(repetitions=5, warm_up=1, threads=2),
        Measurement(repetitions=5, warm_up=1, arithmetic="int8"),
        Measurement(repetitions=5, warm_up=1, version="b"),
    )
    assert len({HostRunner(item).identity for item in (QUICK, *others)}) == 6


def test_a_file_that_onnxruntime_cannot_run_is_told() -> None:
    with pytest.raises(ConfigError, match="must run a broken file"):
        HostRunner(QUICK).measure(TimedFile(b"no graph", "a broken file"))


def test_the_median_of_undisturbed_runs_counts() -> None:
    assert TimedRuns.of_typical([3.0, 1.0, 2.0]) == TimedRuns(2.0, 0.5)
    assert TimedRuns.of_least([3.0, 1.0, 2.0], [5.0, 4.0, 6.0]) == TimedRuns(1.0, 0.5, 4.0)
