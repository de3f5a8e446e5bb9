"""Which onnxruntime a bundle needs, and what a user of an older one is told."""

import json
import shutil
from pathlib import Path

import onnxruntime
import pytest

from offramp.anomaly.detector_session import DetectorSession
from offramp.deploy.bundle.manifest import parse_manifest
from offramp.deploy.runtime.oldest_runtime import check_runtime, is_version, oldest_runtime
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import BundleError
from tests.anomaly.detector_samples import write_toy_detector


@pytest.mark.parametrize(
    ("opset", "oldest"),
    [(13, "1.15.0"), (18, "1.15.0"), (19, "1.23.0"), (21, "1.23.0"), (22, "1.24.1"), (25, "1.24.1")],
)
def test_the_oldest_runtime_of_an_opset(opset: int, oldest: str) -> None:
    assert oldest_runtime(opset) == oldest


def test_an_opset_that_was_never_tried_has_no_oldest_runtime() -> None:
    with pytest.raises(ValueError, match="at most 25, got 26"):
        oldest_runtime(26)


@pytest.mark.parametrize(
    ("installed", "oldest", "runs"),
    [
        ("1.15.0", "1.15.0", True),
        ("1.9.0", "1.15.0", False),
        ("1.31.1", "1.24.1", True),
        ("1.24.0", "1.24.1", False),
        ("1.24.1.dev20260101", "1.24.1", True),
        ("2.0.0", "1.24.1", True),
        ("1.23.2", "1.23", True),
        ("1.15.0", None, True),
    ],
)
def test_versions_are_compared_as_numbers(
    monkeypatch: pytest.MonkeyPatch, installed: str, oldest: str | None, runs: bool
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", installed)
    if runs:
        check_runtime(oldest, "It")
    else:
        with pytest.raises(BundleError, match=rf"It needs onnxruntime {oldest} or newer, but {installed} is installed"):
            check_runtime(oldest, "It")


def test_the_way_out_is_named_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.14.0")
    with pytest.raises(BundleError, match="offramp export-int8"):
        check_runtime("1.23.0", "It")
    with pytest.raises(BundleError, match=r"Install a newer onnxruntime\.$"):
        check_runtime("1.15.0", "It")


@pytest.mark.parametrize("text", ["", "1", "1.2.3.4", "1.x", "new", "1.2.", "1.2.3 "])
def test_what_is_no_version(text: str) -> None:
    assert not is_version(text)


def test_a_bundle_states_its_oldest_runtime_and_it_is_checked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert EarlyExitSession(bundle).manifest.oldest_runtime == "1.15.0"
    monkeypatch.setattr(onnxruntime, "__version__", "1.14.1")
    with pytest.raises(BundleError, match=r"needs onnxruntime 1\.15\.0 or newer, but 1\.14\.1 is installed"):
        EarlyExitSession(bundle)


def test_a_detector_states_its_oldest_runtime_and_it_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = write_toy_detector(tmp_path / "toy")
    assert DetectorSession(detector).manifest.oldest_runtime == "1.15.0"
    monkeypatch.setattr(onnxruntime, "__version__", "1.14.1")
    with pytest.raises(BundleError, match=r"needs onnxruntime 1\.15\.0 or newer"):
        DetectorSession(detector)


def test_manifests_without_the_field_are_read_and_a_wrong_one_is_refused(bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["oldest_runtime"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert EarlyExitSession(bundle).manifest.oldest_runtime is None
    with pytest.raises(BundleError, match="`oldest_runtime` must be a version such as"):
        parse_manifest(json.dumps({**manifest, "oldest_runtime": "newest"}))
    detector = write_toy_detector(tmp_path / "toy")
    stated = json.loads((detector / "detector.json").read_text())
    del stated["oldest_runtime"]
    (detector / "detector.json").write_text(json.dumps(stated))
    assert DetectorSession(shutil.copytree(detector, tmp_path / "old")).manifest.oldest_runtime is None
    (detector / "detector.json").write_text(json.dumps({**stated, "oldest_runtime": "newest"}))
    with pytest.raises(BundleError, match="`oldest_runtime` must be a version such as"):
        DetectorSession(detector)
