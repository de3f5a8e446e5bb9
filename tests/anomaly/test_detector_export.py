"""A detector that does not reproduce its network is not written."""

from pathlib import Path

import onnx
import pytest
import torch

from offramp.anomaly import detector_export
from offramp.anomaly.autoencoder import INPUT_SHAPE, build_autoencoder
from offramp.anomaly.detector_export import export_detector
from offramp.errors import ExportError, InputError
from tests.anomaly.detector_samples import MANIFEST, write_toy_detector


@pytest.fixture(scope="module")
def toy_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_detector(tmp_path_factory.mktemp("detectors") / "toy")


def test_what_does_not_reproduce_the_network_is_not_written(
    toy_detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = [onnx.load(toy_detector / f"stage_{index}.onnx") for index in range(2)]
    monkeypatch.setattr(detector_export, "stage_models", lambda network: graphs)
    checks = torch.randn(3, *INPUT_SHAPE).numpy()
    with pytest.raises(ExportError, match="do not reproduce the network"):
        export_detector(build_autoencoder((1,), seed=1), MANIFEST, tmp_path / "d", checks)
    assert not list(tmp_path.iterdir())
    (tmp_path / "d").mkdir()
    with pytest.raises(InputError, match="exists already"):
        export_detector(build_autoencoder((1,), seed=0), MANIFEST, tmp_path / "d", checks, overwrite=True)
