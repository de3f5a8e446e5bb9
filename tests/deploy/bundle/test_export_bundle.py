import copy
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from offramp.deploy.bundle import export_bundle as bundle_module
from offramp.deploy.bundle.export_bundle import ExportRecord
from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.onnx.nested_if import early_exit_model
from offramp.deploy.onnx.stage_graphs import joined_model
from offramp.errors import ExportError, InputError
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.nn.network import EarlyExitNetwork
from tests.deploy import toys
from tests.deploy.conftest import POLICY, Export, export


def test_bundle_holds_stage_graphs_the_joined_graph_and_the_manifest(record: ExportRecord) -> None:
    names = {"stage_0.onnx", "stage_1.onnx", "stage_2.onnx", "model.onnx", "model_early_exit.onnx", "manifest.json"}
    assert {path.name for path in record.path.iterdir()} == names
    assert [path.name for path in record.path.parent.iterdir()] == ["toy"]
    for file in record.manifest.files:
        content = (record.path / file.name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.size_bytes)


def test_record_states_what_was_compared(record: ExportRecord) -> None:
    assert record.num_compared == 1000
    assert record.decisions_equal
    stated = record.manifest.verification
    assert stated is not None
    assert (stated.num_inputs, stated.num_from_data) == (1000, 70)
    assert (stated.tolerance, stated.stray_share, stated.num_strays, stated.num_moved) == (1e-4, 0.0, 0, 0)
    assert stated.largest_difference == record.largest_difference
    assert 0.0 < record.largest_difference < 1e-4
    assert record.agreement.logit_scale > 1.0


def test_manifest_says_all_of_it(record: ExportRecord, network: EarlyExitNetwork) -> None:
    manifest = load_manifest(record.path)
    assert manifest == record.manifest
    assert manifest.architecture == network.architecture
    assert manifest.policy == POLICY
    assert (manifest.name, manifest.seed, manifest.licence, manifest.test_accuracy) == ("toy", 7, "CC0-1.0", 0.8)
    assert manifest.validation_accuracy == 0.825
    assert [(e.tap, e.branch) for e in manifest.exits] == [(0, "toy_0"), (1, "toy_1"), (None, "toy_final")]
    assert [e.validation_rate for e in manifest.exits] == [0.5, 0.25, 0.25]
    assert [e.cost and e.cost.latency_cycles for e in manifest.exits] == [100.0, 200.0, 300.0]
    # 0.5 * 100 + 0.25 * 200 + 0.25 * 300
    assert manifest.expected_cost is not None
    assert manifest.expected_cost.latency_cycles == 175.0
    assert manifest.cost_origin is not None
    assert manifest.cost_origin.accelerator == "toy-accelerator"
    assert (manifest.preprocessing.height, manifest.preprocessing.width) == (12, 10)
    assert manifest.preprocessing.color_mode == "RGB"
    assert "torch" in manifest.created_by


def test_costs_and_profile_may_be_unknown(network: EarlyExitNetwork, quick_export: Export, tmp_path: Path) -> None:
    manifest = quick_export(network, tmp_path / "bundle", cost=None, profile=None).manifest
    assert manifest.cost_origin is None
    assert manifest.expected_cost is None
    assert manifest.validation_accuracy is None
    assert all(e.cost is None and e.validation_rate is None for e in manifest.exits)


def test_the_manifest_keeps_what_was_promised(network: EarlyExitNetwork, quick_export: Export, tmp_path: Path) -> None:
    promised = Guarantee(0.01, 0.05, "binomial", 400, 0.0075, num_seen=12)
    assert quick_export(network, tmp_path / "bundle", guarantee=promised).manifest.guarantee == promised
    assert load_manifest(tmp_path / "bundle").guarantee == promised


def test_wrong_temperatures_in_the_early_exit_graph_are_refused(
    network: EarlyExitNetwork, quick_export: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        bundle_module,
        "early_exit_model",
        lambda stages, policy, classes: early_exit_model(stages, replace(policy, temperatures=()), classes),
    )
    policy = ExitPolicy("max_probability", (0.7, 0.7), (3.0, 3.0, 3.0))
    with pytest.raises(ExportError, match="decides otherwise"):
        quick_export(network, tmp_path / "bundle", policy=policy)


def test_the_network_is_left_in_training_mode(network: EarlyExitNetwork, quick_export: Export, tmp_path: Path) -> None:
    before = copy.deepcopy(network.state_dict())
    quick_export(network, tmp_path / "bundle")
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def nudge(models: list[Any], stage: int, amount: float) -> list[Any]:
    """Stage graphs with every bias of one classifier shifted."""
    changed = copy.deepcopy(models)
    tensor = next(t for t in changed[stage].graph.initializer if t.name == "branch.3.bias")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(amount), tensor.name))
    return changed


@pytest.mark.parametrize("stage", [0, 2])
def test_a_wrong_graph_is_refused_and_nothing_written(
    network: EarlyExitNetwork, models: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stage: int
) -> None:
    monkeypatch.setattr(bundle_module, "stage_models", lambda network: nudge(models, stage, 0.25))
    with pytest.raises(ExportError, match=rf"exit {stage} logits differ by up to 0\.25.*nothing was written"):
        export(network, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_joined_graph_is_refused(
    network: EarlyExitNetwork, models: list[Any], quick_export: Export, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(bundle_module, "joined_model", lambda stages: joined_model(nudge(models, 1, 0.25)))
    with pytest.raises(ExportError, match=r"model\.onnx does not reproduce the network: at exit 1"):
        quick_export(network, tmp_path / "bundle")


def test_a_wrong_early_exit_graph_is_refused(
    network: EarlyExitNetwork, models: list[Any], quick_export: Export, monkeypatch: Any, tmp_path: Path
) -> None:
    def wrong_logits(stages: list[Any], policy: ExitPolicy, classes: int) -> Any:
        return early_exit_model(nudge(models, 2, 0.25), policy, classes)

    def wrong_thresholds(stages: list[Any], policy: ExitPolicy, classes: int) -> Any:
        return early_exit_model(stages, ExitPolicy(policy.measure, (0.7, 0.95)), classes)

    for wrong, words in ((wrong_logits, "does not reproduce"), (wrong_thresholds, "decides otherwise")):
        monkeypatch.setattr(bundle_module, "early_exit_model", wrong)
        with pytest.raises(ExportError, match=rf"model_early_exit\.onnx {words}"):
            quick_export(network, tmp_path / "bundle")
        assert list(tmp_path.iterdir()) == []


def test_tolerance_is_the_callers(
    network: EarlyExitNetwork, models: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bundle_module, "stage_models", lambda network: nudge(models, 0, 0.01))
    with pytest.raises(ExportError, match="allowed are"):
        export(network, tmp_path / "bundle")
    record = export(network, tmp_path / "bundle", tolerance=0.01)
    assert record.largest_difference == pytest.approx(0.01, abs=1e-4)


def test_other_decisions_are_refused(
    network: EarlyExitNetwork, quick_export: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exits = bundle_module.described_exits
    monkeypatch.setattr(
        bundle_module,
        "described_exits",
        lambda network, policy, *rest: exits(network, ExitPolicy("margin", (0.3, 0.3)), *rest),
    )
    with pytest.raises(ExportError, match=r"decides otherwise.*instead of"):
        quick_export(network, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_sample_on_the_threshold_is_no_reason_to_refuse(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path
) -> None:
    checks = toys.samples(70)
    probabilities = torch.softmax(torch.from_numpy(toys.logits_of(network, checks)[0]).double(), dim=1)
    policy = ExitPolicy("max_probability", (float(probabilities[5].max()), 0.6))
    record = quick_export(network, tmp_path / "bundle", checks=checks, policy=policy)
    assert record.agreement.num_on_threshold >= 1
    assert record.agreement.num_moved <= record.agreement.num_on_threshold


def test_a_network_that_gives_nan_is_refused(network: EarlyExitNetwork, quick_export: Export, tmp_path: Path) -> None:
    broken = copy.deepcopy(network)
    with torch.no_grad():
        next(broken.branches[1].parameters()).fill_(float("nan"))
    with pytest.raises(ExportError, match="NaN"):
        quick_export(broken, tmp_path / "bundle")


def test_an_existing_bundle_is_replaced_only_on_request(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path
) -> None:
    quick_export(network, tmp_path / "deep" / "bundle", name="first")
    (tmp_path / "deep" / "bundle" / "left over.txt").write_text("old")
    with pytest.raises(InputError, match="already"):
        quick_export(network, tmp_path / "deep" / "bundle", name="second")
    assert load_manifest(tmp_path / "deep" / "bundle").name == "first"
    with pytest.raises(InputError, match=r"left over\.txt"):
        quick_export(network, tmp_path / "deep" / "bundle", name="second", overwrite=True)
    assert load_manifest(tmp_path / "deep" / "bundle").name == "first"
    (tmp_path / "deep" / "bundle" / "left over.txt").unlink()
    quick_export(network, tmp_path / "deep" / "bundle", name="second", overwrite=True)
    assert load_manifest(tmp_path / "deep" / "bundle").name == "second"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["bundle"]


def test_a_failed_replacement_keeps_the_old_bundle(
    network: EarlyExitNetwork, models: list[Any], quick_export: Export, monkeypatch: Any, tmp_path: Path
) -> None:
    quick_export(network, tmp_path / "bundle", name="first")
    monkeypatch.setattr(bundle_module, "stage_models", lambda network: nudge(models, 0, 1.0))
    with pytest.raises(ExportError):
        export(network, tmp_path / "bundle", name="second", overwrite=True)
    assert load_manifest(tmp_path / "bundle").name == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_folders_and_files_that_are_no_bundles_are_never_replaced(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"dear")
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for name in ("photos", "file", "link"):
        with pytest.raises(InputError, match="path"):
            quick_export(network, tmp_path / name, overwrite=True)
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"dear"
    (tmp_path / "empty").mkdir()
    assert quick_export(network, tmp_path / "empty").path == tmp_path / "empty"


def test_a_place_that_cannot_be_written_is_a_sentence(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="cannot be written"):
        quick_export(network, tmp_path / "file" / "bundle")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": ("cat",)}, "class_names.* must have 5 entries, got 1"),
        ({"policy": ExitPolicy("margin", (0.5,))}, "thresholds.* must have 2 entries, got 1"),
        ({"policy": ExitPolicy("margin", (0.5, float("nan")))}, "must be numbers"),
        ({"cost": toys.cost_report(2)}, "cost.stages. must have 3 entries, got 2"),
        ({"profile": ExitProfile((1.0,), (1.0,), (1.0,), 1.0, 5)}, "rates. must have 3 entries, got 1"),
        ({"checks": toys.samples(0)}, "N >= 1"),
        ({"checks": toys.samples(3)[:, :1]}, "shape"),
        ({"checks": toys.samples(3).astype(np.int64)}, "normalised inputs"),
        ({"checks": np.full((1, *toys.INPUT_SHAPE), np.inf, np.float32)}, "finite"),
        ({"mean": (0.5,)}, "mean.*per channel"),
        ({"std": (0.1, 0.0, 0.1)}, "std.* > 0"),
        ({"test_accuracy": 97.0}, "from 0 to 1"),
    ],
)
def test_parts_that_do_not_fit_the_network_are_refused(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        quick_export(network, tmp_path / "bundle", **changes)
    assert list(tmp_path.iterdir()) == []


def test_architecture_must_have_the_networks_exits(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path
) -> None:
    other = copy.deepcopy(network)
    other.architecture = toys.architecture(2)
    with pytest.raises(InputError, match=r"architecture\.exits.* must have 2 entries, got 1"):
        quick_export(other, tmp_path / "bundle")
