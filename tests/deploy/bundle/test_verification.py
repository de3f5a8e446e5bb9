"""How far a file may be from the network: for all samples, or for all but a few."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from offramp.deploy.bundle import export_bundle as bundle_module
from offramp.deploy.bundle.verification import Comparison, rounding_tolerance
from offramp.errors import ExportError
from offramp.nn.network import EarlyExitNetwork
from tests.deploy import toys
from tests.deploy.conftest import Export

ROWS = np.arange(20)
OURS = np.zeros((20, 3), dtype=np.float32)


def off_by(*differences: float) -> np.ndarray:
    """Logits whose first samples are off by so much."""
    theirs = OURS.copy()
    theirs[: len(differences), 1] = differences
    return theirs


def test_differences_within_the_tolerance_are_remembered() -> None:
    comparison = Comparison(20, num_allowed=0)
    comparison.add("file", 0, ROWS, OURS, off_by(0.1, -0.05), 0.11)
    comparison.add("file", 1, ROWS[1:], OURS[1:], off_by(0.08)[:-1], 0.11)
    assert comparison.largest[:3].tolist() == pytest.approx([0.1, 0.08, 0.0])
    # Any sample may be off as far as another was.
    assert comparison.slack().tolist() == pytest.approx([0.1] * 20)


def test_without_strays_one_sample_is_one_too_many() -> None:
    with pytest.raises(ExportError, match=r"at exit 2 logits differ by up to 0\.3, allowed are 0\.1, which 1 of 20"):
        Comparison(20, num_allowed=0).add("file", 2, ROWS, OURS, off_by(0.3), 0.1)


def test_strays_are_counted_once_over_all_forms_and_exits() -> None:
    comparison = Comparison(20, num_allowed=2)
    for exit_index in range(3):
        comparison.add("file", exit_index, ROWS, OURS, off_by(0.3, 0.02, 0.5), 0.1)
    assert np.flatnonzero(comparison.strays).tolist() == [0, 2]
    # A stray may go elsewhere, the others only by as much as those that are no strays differ.
    assert comparison.slack()[:4].tolist() == pytest.approx([0.3, 0.02, 0.5, 0.02])
    with pytest.raises(ExportError, match="does not reproduce"):
        comparison.add("other", 0, ROWS, OURS, off_by(0.0, 0.2), 0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_never_a_stray(value: float) -> None:
    with pytest.raises(ExportError, match="does not reproduce"):
        Comparison(20, num_allowed=5).add("file", 0, ROWS, OURS, off_by(value), 0.1)


class _Shifted(nn.Module):
    """Adds a large number and takes it away again: float32 loses what is smaller than its last digit there."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, features: Tensor) -> Tensor:
        return features + self.shift - self.shift


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 0.0, 1e-9), (2.0**12, 1e-4, 2.5e-3), (2.0**20, 0.01, 0.01)])
def test_the_tolerance_for_rounding_follows_float32(shift: float, least: float, most: float) -> None:
    # At 2**12 neighbours are 2**-11 apart: an error of up to 2**-12, ten times that at logits of at most one.
    architecture = toys.architecture(1)
    branch = nn.Sequential(_Shifted(shift), nn.Flatten())
    network = EarlyExitNetwork(architecture, [nn.Identity()], [branch], (1, 1, 4), 4)
    inputs = torch.rand(50, 1, 1, 4, generator=torch.Generator().manual_seed(0)).numpy()
    assert least <= rounding_tolerance(network, inputs) <= most


def test_a_network_that_rounds_roughly_is_compared_as_roughly(
    quick_export: Export, network: EarlyExitNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = bundle_module.verify_bundle

    def strict(bundle: Path, expected: Any, inputs: Any, policy: Any, tolerance: float, *rest: Any) -> Any:
        if tolerance < 1e-3:
            raise ExportError("too far off")
        return verify(bundle, expected, inputs, policy, tolerance, *rest)

    monkeypatch.setattr(bundle_module, "verify_bundle", strict)
    with pytest.raises(ExportError, match="too far off"):
        quick_export(network, tmp_path / "even")  # its own rounding is far below 1e-3
    monkeypatch.setattr(bundle_module, "rounding_tolerance", lambda network, inputs: 0.005)
    record = quick_export(network, tmp_path / "rough")
    assert record.manifest.verification is not None
    assert record.manifest.verification.tolerance == 0.005
    with pytest.raises(ExportError, match="too far off"):
        quick_export(network, tmp_path / "given", tolerance=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["rough"]
