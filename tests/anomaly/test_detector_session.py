"""A session decides as the network does, and refuses damaged detectors."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from offramp.anomaly.anomaly_policy import AnomalyPolicy, Band
from offramp.anomaly.autoencoder import build_autoencoder
from offramp.anomaly.detector_session import DetectorSession, normalised_windows
from offramp.anomaly.reconstruction import sound_errors
from offramp.data.labelled_data import Preprocessing
from offramp.errors import BundleError
from offramp.train.compute import Compute
from tests.anomaly.detector_samples import MANIFEST, UNIT, write_toy_detector


@pytest.fixture(scope="module")
def toy_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_detector(tmp_path_factory.mktemp("detectors") / "toy")


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
        data["files"][0].pop("graph", None)
        data["files"][0].update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        (copy / "detector.json").write_text(json.dumps(data))
        with pytest.raises(BundleError, match=says):
            DetectorSession(copy)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("name", ["mean", "std"])
def test_numbers_of_a_detector_that_are_not_finite_are_refused(
    toy_detector: Path, tmp_path: Path, name: str, value: str
) -> None:
    copy = Path(shutil.copytree(toy_detector, tmp_path / "copy"))
    data = json.loads((copy / "detector.json").read_text()) | {name: "HERE"}
    (copy / "detector.json").write_text(json.dumps(data).replace('"HERE"', value))
    with pytest.raises(BundleError, match=r"finite numbers|must be > 0"):
        DetectorSession(copy)


def test_a_hostile_graph_of_a_detector_is_refused(toy_detector: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(toy_detector, tmp_path / "copy"))
    made = onnx.load(copy / "stage_1.onnx")
    tensor = next(item for item in made.graph.initializer if item.data_type == onnx.TensorProto.FLOAT)
    tensor.raw_data = b"\xff" * len(tensor.raw_data)
    replace_listed(copy, 1, made.SerializeToString())
    with pytest.raises(BundleError, match="NaN or infinite values"):
        DetectorSession(copy)
    made.graph.node[0].op_type = "Loop"
    replace_listed(copy, 1, made.SerializeToString())
    with pytest.raises(BundleError, match="stage_1"):
        DetectorSession(copy)


def test_values_of_a_detector_that_are_not_finite_are_an_error(toy_detector: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(toy_detector, tmp_path / "copy"))
    made = onnx.load(copy / "stage_0.onnx")
    for tensor in made.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = np.full(tuple(tensor.dims), 3e38, np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    replace_listed(copy, 0, made.SerializeToString())
    session = DetectorSession(copy)
    _, frames, bands = session.manifest.input_shape
    with pytest.raises(BundleError, match="NaN or infinite values, which are no answer"):
        session.detect(np.full((frames, bands), 255, np.uint8))


def replace_listed(folder: Path, index: int, content: bytes) -> None:
    """Write a graph, and make its entry agree."""
    data = json.loads((folder / "detector.json").read_text())
    entry = data["files"][index]
    (folder / entry["name"]).write_bytes(content)
    entry.update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), graph=None)
    (folder / "detector.json").write_text(json.dumps(data))
