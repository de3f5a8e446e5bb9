"""One export for all tests of this folder, since each takes seconds."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from offramp.deploy.bundle import export_bundle as bundle_module
from offramp.deploy.bundle.export_bundle import ExportRecord, export_bundle
from offramp.deploy.onnx.stage_graphs import stage_models
from offramp.exits.exit_policy import ExitPolicy
from offramp.nn.network import EarlyExitNetwork
from tests.conftest import made_once
from tests.deploy import bundle_kinds, toys

POLICY = ExitPolicy("max_probability", (0.85, 0.95))

Export = Callable[..., ExportRecord]


@pytest.fixture(scope="session")
def network() -> EarlyExitNetwork:
    """A three-exit network, in training mode, as it comes out of a trainer."""
    return toys.network().train()


@pytest.fixture(scope="session")
def models(network: EarlyExitNetwork, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    def make(folder: Path) -> None:
        folder.mkdir()
        for index, model in enumerate(stage_models(network)):
            onnx.save(model, folder / f"{index}.onnx")

    return [onnx.load(path) for path in sorted(made_once(tmp_path_factory, "stage_models", make).iterdir())]


@pytest.fixture
def quick_export(models: list[Any], monkeypatch: pytest.MonkeyPatch) -> Export:
    """``export_bundle`` of the shared network with everything given, its stage graphs taken from the shared ones."""
    monkeypatch.setattr(bundle_module, "stage_models", lambda network: copy.deepcopy(models))
    return export


def export(network: EarlyExitNetwork, destination: Path, **changes: Any) -> ExportRecord:
    settings: dict[str, Any] = {
        "policy": POLICY,
        "class_names": toys.CLASSES,
        "mean": toys.MEAN,
        "std": toys.STD,
        "checks": toys.samples(70),
        "name": "toy",
        "seed": 7,
        "cost": toys.cost_report(),
        "profile": toys.exit_profile(),
        **changes,
    }
    return export_bundle(network, destination, **settings)


@pytest.fixture(scope="session")
def record(network: EarlyExitNetwork, models: list[Any], tmp_path_factory: pytest.TempPathFactory) -> ExportRecord:
    """The shared bundle, for reading only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_module, "stage_models", lambda network: copy.deepcopy(models))
        return export(network, tmp_path_factory.mktemp("export") / "toy", test_accuracy=0.8, licence="CC0-1.0")


@pytest.fixture
def bundle(record: ExportRecord, tmp_path: Path) -> Path:
    """A copy of the shared bundle to damage."""
    return Path(shutil.copytree(record.path, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def bundles_of_kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of every kind of weights, for reading only, see `write_kind`."""

    def make(folder: Path) -> None:
        for kind in bundle_kinds.PRECISIONS:
            bundle_kinds.write_kind(kind, folder)

    folder = made_once(tmp_path_factory, "bundles_of_kinds", make)
    return {kind: folder / kind for kind in bundle_kinds.PRECISIONS}
