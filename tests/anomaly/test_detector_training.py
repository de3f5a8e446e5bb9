"""`offramp detect` on machines that hum: from sounds to a detector that stops early."""

import hashlib
import importlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from offramp.anomaly import detector as detector_module
from offramp.anomaly.anomaly_rule import AnomalyPolicy, Band, ScoreScale
from offramp.anomaly.autoencoder import INPUT_SHAPE, build_autoencoder
from offramp.anomaly.detector import DetectorManifest, DetectorSession, export_detector, normalised_windows
from offramp.anomaly.machine_sounds import load_machine_sounds
from offramp.anomaly.reconstruction import sound_errors
from offramp.anomaly.train_detector import DetectorRecord, DetectSettings, detect
from offramp.cli.main import main
from offramp.data.labelled_data import Preprocessing
from offramp.errors import BundleError, ConfigError, ExportError, InputError
from offramp.jsonio import loads
from offramp.train.compute import Compute
from tests.data.sounds import write_machine_sounds

detect_module = importlib.import_module("offramp.anomaly.train_detector")

UNIT = ScoreScale(0.0, 1.0)
POLICY = AnomalyPolicy((UNIT, UNIT), (Band(-0.1, 0.1),), 0.0)
MANIFEST = DetectorManifest("toy", INPUT_SHAPE, 0.5, 0.25, POLICY, (88_064, 270_336))


@pytest.fixture(scope="module")
def toy_car(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_machine_sounds(tmp_path_factory.mktemp("dev_data") / "ToyCar", num_train=8, num_labelled=10)


@pytest.fixture(scope="module")
def run(toy_car: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "car"
    detect(toy_car, folder, DetectSettings(epochs=30, windows_per_sound=64, auc_drop=0.05))
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
    assert (row["sound"], set(row)) == (sound, {"sound", "anomalous", "exit", "score", "macs_per_window"})
    assert call(monkeypatch, "predict", str(run / "detector"), sound) == 0
    assert "left at exit" in capsys.readouterr().out
    assert call(monkeypatch, *words, "--exits", "five", "--overwrite") == 2
    assert "--exits must be numbers of layers" in capsys.readouterr().err


def test_a_run_that_cannot_be_is_refused_before_any_work(toy_car: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run to go on with"):
        detect(toy_car, tmp_path / "new", resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="must be a new or an empty folder"):
        detect(toy_car, tmp_path, overwrite=True)
    for changes in ({"epochs": 0}, {"learning_rate": 0.0}, {"seed": -1}, {"auc_drop": 1.5}):
        with pytest.raises(ConfigError):
            replace(DetectSettings(), **changes)
    with pytest.raises(ConfigError, match="layers 1 to 9, got 12"):
        detect(toy_car, tmp_path / "new", DetectSettings(exits=(12,)))
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def toy_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, with one exit behind the first layer."""
    checks = np.random.default_rng(0).normal(size=(5, *INPUT_SHAPE)).astype(np.float32)
    path = tmp_path_factory.mktemp("detectors") / "toy"
    assert export_detector(build_autoencoder((1,), seed=0), MANIFEST, path, checks) < 1e-4
    return path


def test_a_session_errs_as_the_network_does_and_stops_where_it_may(toy_detector: Path) -> None:
    features = np.random.default_rng(1).integers(0, 256, (3, 1, 200, 128), dtype=np.uint8)
    network = build_autoencoder((1,), seed=0)
    errors = sound_errors(network, features, Preprocessing((0.5,), (0.25,)), Compute(channels_last=False))
    session = DetectorSession(toy_detector)
    ran: list[int] = []
    plain = session._run

    def watched(index: int, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ran.append(index)
        return plain(index, hidden)

    session._run = watched  # type: ignore[method-assign]
    for row in range(3):
        inputs = normalised_windows(features[row, 0], MANIFEST)
        for index, output in enumerate(session.rebuild(inputs)):
            error = np.square(output - inputs.reshape(196, 640)).mean()
            assert error == pytest.approx(errors[row, index], rel=1e-4)
        ran.clear()
        score = np.log(errors[row, 0])
        sure = AnomalyPolicy((UNIT, UNIT), (Band(score - 1.0, score - 0.5),), 0.0)
        unsure = AnomalyPolicy((UNIT, UNIT), (Band(score - 1.0, score + 1.0),), 100.0)
        session.manifest = replace(MANIFEST, policy=sure)
        verdict = session.detect(features[row, 0])
        assert (verdict.anomalous, verdict.exit, verdict.macs_per_window, ran) == (True, 0, 88_064, [0])
        session.manifest = replace(MANIFEST, policy=unsure)
        verdict = session.detect(features[row, 0])
        assert (verdict.anomalous, verdict.exit, verdict.macs_per_window) == (False, 1, 270_336)


def test_a_damaged_detector_is_refused(toy_detector: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(toy_detector, tmp_path / "copy"))
    whole = (copy / "detector.json").read_text()
    (copy / "detector.json").write_text(whole.replace('"std": 0.25', '"std": 0'))
    with pytest.raises(BundleError, match="`std` must be > 0"):
        DetectorSession(copy)
    (copy / "detector.json").write_text(whole)
    graph = (copy / "stage_0.onnx").read_bytes()
    flipped = graph[:-1] + bytes([graph[-1] ^ 1])
    for content in (flipped, graph[:-1], graph + b" ", (copy / "stage_1.onnx").read_bytes(), b"no graph"):
        (copy / "stage_0.onnx").write_bytes(content)
        with pytest.raises(BundleError, match=r"stage_0.onnx.*(is not the file that was exported|bytes)"):
            DetectorSession(copy)
    (copy / "stage_0.onnx").unlink()
    with pytest.raises(BundleError, match=r"stage_0.*missing or a link"):
        DetectorSession(copy)
    (copy / "stage_0.onnx").symlink_to(toy_detector / "stage_0.onnx")
    with pytest.raises(BundleError, match=r"stage_0.*missing or a link"):
        DetectorSession(copy)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda files: files.pop(), "graphs of all stages, in order"),
        (lambda files: files.reverse(), "graphs of all stages, in order"),
        (lambda files: files[0].update(name="../stage_0.onnx"), "graphs of all stages, in order"),
        (lambda files: files[0].update(sha256="0"), "64 hexadecimal digits"),
        (lambda files: files[1].update(size_bytes=2**27), "stage_1.onnx is too large"),
        (lambda files: files[1].update(size_bytes=0), "must be from 1 to"),
    ],
)
def test_a_listing_that_is_not_of_the_stages_is_refused(
    toy_detector: Path, tmp_path: Path, change: Callable[[list[dict[str, object]]], None], says: str
) -> None:
    copy = Path(shutil.copytree(toy_detector, tmp_path / "copy"))
    data = json.loads((copy / "detector.json").read_text())
    assert [file["name"] for file in data["files"]] == ["stage_0.onnx", "stage_1.onnx"]
    change(data["files"])
    (copy / "detector.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match=says):
        DetectorSession(copy)


def test_graphs_that_are_not_listed_or_not_stages_are_refused(toy_detector: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(toy_detector, tmp_path / "copy"))
    data = json.loads((copy / "detector.json").read_text())
    (copy / "detector.json").write_text(json.dumps({key: value for key, value in data.items() if key != "files"}))
    with pytest.raises(BundleError, match="must list its graphs with their checksums, but lists none"):
        DetectorSession(copy)
    for content, says in (
        ((copy / "stage_1.onnx").read_bytes(), r"stage_0.onnx .* is not stage 0"),
        (b"no graph", "stage_0"),
    ):
        (copy / "stage_0.onnx").write_bytes(content)
        data["files"][0].update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        (copy / "detector.json").write_text(json.dumps(data))
        with pytest.raises(BundleError, match=says):
            DetectorSession(copy)


def test_what_does_not_reproduce_the_network_is_not_written(
    toy_detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = [onnx.load(toy_detector / f"stage_{index}.onnx") for index in range(2)]
    monkeypatch.setattr(detector_module, "stage_models", lambda network: graphs)
    checks = torch.randn(3, *INPUT_SHAPE).numpy()
    with pytest.raises(ExportError, match="do not reproduce the network"):
        export_detector(build_autoencoder((1,), seed=1), MANIFEST, tmp_path / "d", checks)
    assert not list(tmp_path.iterdir())
    (tmp_path / "d").mkdir()
    with pytest.raises(InputError, match="is there already"):
        export_detector(build_autoencoder((1,), seed=0), MANIFEST, tmp_path / "d", checks, overwrite=True)


def test_the_python_of_the_page_runs(
    run: Path, toy_car: Path, record: DetectorRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is checked is mlperf-tiny.md, not the training: a finished run stands in for it."""
    (tmp_path / "dev_data").mkdir()
    (tmp_path / "dev_data" / "ToyCar").symlink_to(toy_car)
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)

    def finished(source: str, folder: Path, settings: DetectSettings) -> DetectorRecord:
        assert Path(source).is_dir()
        shutil.copytree(run, folder)
        return record

    monkeypatch.setattr(detect_module, "detect", finished)
    page = Path(__file__).parents[2] / "docs" / "how-to" / "mlperf-tiny.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    exec(compile(code, page.name, "exec"), {"__name__": "__main__"})
