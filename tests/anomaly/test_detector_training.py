"""`offramp detect` on machines that hum: from sounds to a detector that stops early."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offramp.anomaly import detector_training
from offramp.anomaly.detector_session import DetectorSession
from offramp.anomaly.detector_training import DetectorRecord, DetectorSettings, train_detector
from offramp.anomaly.machine_sounds import load_machine_sounds
from offramp.cli.main import main
from offramp.errors import ConfigError
from offramp.jsonio import loads
from tests.data.sounds import write_machine_sounds

TRAINED = DetectorSettings(epochs=30, windows_per_sound=64, auc_drop=0.05)


@pytest.fixture(scope="module")
def toy_car(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_machine_sounds(tmp_path_factory.mktemp("dev_data") / "ToyCar", num_train=8, num_labelled=10)


@pytest.fixture(scope="module")
def run(toy_car: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "car"
    train_detector(toy_car, folder, TRAINED)
    return folder


@pytest.fixture(scope="module")
def record(run: Path) -> DetectorRecord:
    return loads(DetectorRecord, (run / "detector.json").read_text())


def test_it_learns_to_hear_the_difference_and_saves_work(record: DetectorRecord) -> None:
    assert record.test.auc > 0.8
    assert record.validation.auc >= record.validation.exit_aucs[-1] - 0.05 - 1e-9
    assert record.validation.num_samples == record.test.num_samples == 20
    assert record.static_macs == 264_192
    assert record.expected_validation.macs < record.static_macs
    for found, cost in ((record.validation, record.expected_validation), (record.test, record.expected_test)):
        expected = sum(rate * macs for rate, macs in zip(found.rates, record.macs_to_exit, strict=True))
        assert cost.macs == pytest.approx(expected)


def test_the_exported_detector_says_what_the_record_says(run: Path, toy_car: Path, record: DetectorRecord) -> None:
    session = DetectorSession(run / "detector")
    sounds = load_machine_sounds(toy_car, seed=0).test
    verdicts = [session.detect(features[0]) for features in sounds.features]
    assert len(session.manifest.macs_to_exit) == len(record.exits) + 1
    rates = tuple(sum(v.exit == i for v in verdicts) / 20 for i in range(len(record.macs_to_exit)))
    assert rates == pytest.approx(record.test.rates)
    found = np.array([verdict.anomalous for verdict in verdicts])
    assert found[sounds.anomalous].mean() == pytest.approx(record.test.detections)
    assert found[~sounds.anomalous].mean() == pytest.approx(record.test.false_alarms)
    mean_macs = np.mean([verdict.macs_per_window for verdict in verdicts])
    assert mean_macs == pytest.approx(record.expected_test.macs)


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["offramp", *words])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_from_the_command_line(
    run: Path, toy_car: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    words = ["detect", str(toy_car), "--run", str(folder), "--epochs", "30", "--quiet"]
    assert call(monkeypatch, *words) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert call(monkeypatch, *words, "--resume") == 0
    shown = capsys.readouterr().out
    assert "AUC" in shown
    assert str(folder / "detector") in shown
    sound = str(toy_car / "test" / "anomaly_id_01_00000000.wav")
    assert call(monkeypatch, "predict", str(run / "detector"), sound, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["sound"], set(row)) == (sound, {"sound", "anomalous", "exit", "score", "macs_per_window", "heard"})
    assert row["heard"] == {"start_s": 1.6, "end_s": 7.968, "duration_s": 8.1}
    assert call(monkeypatch, "predict", str(run / "detector"), sound) == 0
    assert ", heard 1.60 to 7.97 s of 8.10 s)" in capsys.readouterr().out
    assert call(monkeypatch, *words, "--exits", "five", "--overwrite") == 2
    assert "--exits must be numbers of layers" in capsys.readouterr().err


def test_a_training_goes_on_only_with_the_sounds_and_the_seed_it_was_begun_with(
    run: Path, toy_car: Path, tmp_path: Path
) -> None:
    folder, sounds = Path(shutil.copytree(run, tmp_path / "run")), Path(shutil.copytree(toy_car, tmp_path / "car"))
    with pytest.raises(ConfigError, match="begun with other sounds and seed"):
        train_detector(sounds, folder, replace(TRAINED, seed=3), resume=True)
    first, other = sorted((sounds / "train").glob("*.wav"))[:2]
    first.write_bytes(other.read_bytes())
    with pytest.raises(ConfigError, match=r"begun with other sounds\. Give the same"):
        train_detector(sounds, folder, TRAINED, resume=True)


def test_a_run_that_cannot_be_is_refused_before_any_work(toy_car: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run to resume"):
        train_detector(toy_car, tmp_path / "new", resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="must be a new or an empty folder"):
        train_detector(toy_car, tmp_path, overwrite=True)
    for changes in ({"epochs": 0}, {"learning_rate": 0.0}, {"seed": -1}, {"auc_drop": 1.5}):
        with pytest.raises(ConfigError):
            replace(DetectorSettings(), **changes)
    with pytest.raises(ConfigError, match="layers 1 to 9, got 12"):
        train_detector(toy_car, tmp_path / "new", DetectorSettings(exits=(12,)))
    assert not (tmp_path / "new").exists()


def test_the_python_of_the_page_runs(
    run: Path, toy_car: Path, record: DetectorRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is checked is mlperf-tiny.md, not the training: a finished run stands in for it."""
    (tmp_path / "dev_data").mkdir()
    (tmp_path / "dev_data" / "ToyCar").symlink_to(toy_car)
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)

    def finished(source: str, folder: Path, settings: DetectorSettings) -> DetectorRecord:
        assert Path(source).is_dir()
        shutil.copytree(run, folder)
        return record

    monkeypatch.setattr(detector_training, "train_detector", finished)
    page = Path(__file__).parents[2] / "docs" / "how-to" / "mlperf-tiny.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    exec(compile(code, page.name, "exec"), {"__name__": "__main__"})
