"""How a run divides its time."""

import errno
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.deploy.targets.deployment_target import DEPLOYMENT_TARGETS, DeploymentSource, WrittenTarget
from offramp.deploy.targets.onnx.onnx_target import OnnxTarget
from offramp.errors import InputError, RunError, UnknownNameError
from offramp.exits.quality.sample_outcomes import sample_outcomes
from offramp.exits.risk_control import CertifiedPolicy, certified_policies
from offramp.files.safe_files import write_atomically
from offramp.jsonio import dumps, loads
from offramp.objectives.picking import rule_name
from offramp.progress import SilentReporter
from offramp.records import resume_run
from offramp.records.run_summary import ChosenNetwork, load_summary
from offramp.run.api import search
from offramp.run.context import Context
from offramp.run.factory import build_context, build_dataset
from offramp.run.pipeline import Pipeline, RunEnd
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.train import checkpoint
from offramp.train.checkpoint import load_checkpoint
from tests.conftest import small_config
from tests.deploy.targets.web.test_web_target import fake_runtime

pytestmark = pytest.mark.usefixtures("quick_exporter")


def test_a_full_disk_ends_a_search_with_a_sentence_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(train__epochs=2, train__random_subnets=0)
    real, calls = write_atomically, []

    def no_room_for_the_second(path: Path, content: bytes | str) -> None:
        calls.append(path.name)
        if calls.count("supernet.safetensors") == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", no_room_for_the_second)
    with pytest.raises(RunError, match=r"No space left on device.*All that was recorded before is kept.*--resume"):
        search(config, run=tmp_path / "run")
    # The epoch before is there, and so is a record to go on with.
    store = resume_run(tmp_path / "run")
    assert store.get("phase") == "training"
    assert load_checkpoint(store.checkpoint, context_of(store.config).supernet).epoch == 1
    store.close()
    with pytest.raises(RunError, match="only those of `execution`"):
        search(run=tmp_path / "run", resume=True, seed=4)


def context_of(config: Config) -> Context:
    return build_context(config, build_dataset(config, SilentReporter()))


def test_a_run_may_leave_its_reference_as_it_is_in_the_supernet_and_writes_the_targets_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fake_runtime(tmp_path / "node_modules" / "onnxruntime-web")
    config = small_config(
        train__epochs=1,
        train__random_subnets=0,
        search__evaluations=4,
        search__batch=4,
        fine_tune__picks=("cheapest",),
        fine_tune__reference=False,
        deploy__targets=("web",),
    )
    summary = search(config, run=tmp_path / "run").summary
    assert summary.static_reference.accuracy_test is None
    assert summary.static_reference.name.endswith("as in the supernet")
    names = {"cheapest", *(network.rule for network in summary.static_networks)}
    assert {folder.name for folder in (tmp_path / "run" / "chosen").iterdir()} == names
    assert summary.chosen[0].test is not None
    # The bundle is always there, and the page runs its graph.
    bundle, page = (tmp_path / "run" / "chosen" / "cheapest" / name for name in ("bundle", "web"))
    assert (page / "index.html").is_file()
    graphs = [(folder / "model_early_exit.onnx").read_bytes() for folder in (bundle, page)]
    assert graphs[0] == graphs[1]
    written = (page / "index.html").stat().st_mtime_ns
    search(run=tmp_path / "run", resume=True)
    assert (page / "index.html").stat().st_mtime_ns == written


def test_an_unknown_target_or_a_missing_tool_is_answered_before_work_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'web'"):
        search(small_config(deploy__targets=("onnx", "wbe")), run=tmp_path / "run")
    with pytest.raises(InputError, match="npm install onnxruntime-web"):
        search(small_config(deploy__targets=("web",)), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Failing(OnnxTarget):
    """Lacks what it needs, and finds out late."""

    def export(self, source: DeploymentSource, folder: Path) -> None:
        raise RuntimeError("no compiler")


class _Messages(SilentReporter):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def say(self, message: str) -> None:
        self.messages.append(message)


def test_a_failing_target_ends_no_run_and_a_resumed_run_tries_it_again(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shared run, finished once more with another target."""
    list(DEPLOYMENT_TARGETS)
    folder = Path(shutil.copytree(finished_run, tmp_path / "run"))
    for file in ("summary.json", "report.html"):
        (folder / file).unlink()

    def resumed_with(target: OnnxTarget) -> tuple[RunEnd, list[str]]:
        monkeypatch.setitem(DEPLOYMENT_TARGETS._items, "unreliable", target)
        store, reporter = resume_run(folder), _Messages()
        config = with_settings(store.config, deploy__targets=("onnx", "unreliable"))
        try:
            return Pipeline(context_of(config), store, reporter, resume=True).run(), reporter.messages
        finally:
            store.close()

    end, messages = resumed_with(Failing("unreliable"))
    networks = [item.record.rule for item in (*end.finished, *end.statics) if item.record.bundle]
    assert len(networks) == len(end.failed_targets) > 1
    for rule, failure in zip(networks, end.failed_targets, strict=True):
        assert failure.startswith(f"Deployment target 'unreliable' was not written for network {rule!r}: ")
        assert "RuntimeError: no compiler" in failure
        assert (folder / "chosen" / rule / "bundle" / "manifest.json").is_file()
        assert not (folder / "chosen" / rule / "unreliable").exists()
    assert set(end.failed_targets) <= set(messages)
    assert set(end.failed_targets) <= set(load_summary(folder / "summary.json").warnings)
    assert "RuntimeError: no compiler" in (folder / "report.html").read_text()

    end, _ = resumed_with(OnnxTarget("unreliable"))
    assert not end.failed_targets
    assert all((folder / "chosen" / rule / "unreliable" / "manifest.json").is_file() for rule in networks)
    assert not [text for text in load_summary(folder / "summary.json").warnings if "unreliable" in text]


def test_an_exit_alone_that_wins_is_recommended_and_exported_as_one_stage(finished_run: Path, tmp_path: Path) -> None:
    """The records of the shared run, changed by hand: the first exit of a network with exits answers all rightly.

    That network is the only one that is picked.
    """
    folder = Path(shutil.copytree(finished_run, tmp_path / "run"))
    for file in ("summary.json", "report.html"):
        (folder / file).unlink()
    files = [file for file in folder.glob("chosen/*/network.json") if file.parent.name != "reference"]
    records = {file: loads(ChosenNetwork, file.read_text(), what="record") for file in files}
    file, source = max(
        ((file, item) for file, item in records.items() if item.num_exits > 1), key=lambda found: found[1].rule
    )
    first, *others = source.exits_alone
    assert first.test is not None
    perfect = sample_outcomes([True] * first.test.num_samples, [0] * first.test.num_samples, 1)
    first = replace(first, values={**first.values, "accuracy": 1.0}, outcomes=perfect)
    file.write_text(dumps(replace(source, exits_alone=(first, *others))))

    store = resume_run(folder)
    config = with_settings(store.config, fine_tune__picks=tuple(source.rule.split("+")))
    Pipeline(context_of(config), store, SilentReporter(), resume=True).run()
    store.close()
    summary = load_summary(folder / "summary.json")
    picked, recommended = summary.picked, summary.recommended
    assert picked is not None
    assert recommended is not None
    assert picked.match is not None
    assert picked.verdict is not None
    assert (picked.match.name, picked.match.exit_of) == (first.rule, source.rule)
    assert picked.verdict.answer == "do not pay"
    assert (recommended.rule, recommended.exit_of, recommended.num_exits) == (first.rule, source.rule, 1)
    manifest = load_manifest(folder / recommended.bundle)
    assert len(manifest.exits) == 1
    # It answers as the exit does: its figures in the record are those that it was measured with before the change.
    data = context_of(small_config()).dataset
    answers = EarlyExitSession(folder / recommended.bundle).predict(data.splits.test.samples)
    right = np.mean([answer.label == label for answer, label in zip(answers, data.splits.test.labels, strict=True)])
    assert right == pytest.approx(first.test.top1, abs=1.5 / first.test.num_samples)
    page = (folder / "report.html").read_text()
    assert f"an exit of {rule_name(source.rule)} alone" in page
    assert "Early exits do not pay here: the recommended network is static." in page


def test_a_guarantee_that_fails_after_training_falls_back_to_the_static_network_and_says_so_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole run, in which no thresholds pass their test on the samples that were held back."""

    def only_the_one_that_never_exits(*given: Any, **how: Any) -> tuple[CertifiedPolicy, ...]:
        return certified_policies(*given, **how)[:1]

    monkeypatch.setattr("offramp.run.evaluators.operating_point.certified_policies", only_the_one_that_never_exits)
    config = small_config(
        train__random_subnets=0,
        search__evaluations=20,
        fine_tune__epochs=1,
        fine_tune__picks=("knee",),
        fine_tune__reference=False,
        fine_tune__match=False,
        fine_tune__guarantee="0.05@0.9",
    )
    summary = search(config, run=tmp_path / "run").summary
    assert summary is not None
    (network,) = summary.chosen
    # The candidate had early exits; nothing of them is left in the bundle, and nothing of them is paid for.
    assert not network.candidate.is_static
    assert network.num_exits == 1
    assert network.cost.stages[-1].energy_to_exit_pj == network.static.cost.stages[-1].energy_to_exit_pj
    assert len(load_manifest(tmp_path / "run" / network.bundle).exits) == 1
    assert summary.alerts[0].startswith("The guarantee could not be kept by “knee”")
    page = (tmp_path / "run" / "report.html").read_text()
    headline = "The guarantee could not be kept: the recommended network is static."
    assert page.index("The guarantee could not be kept by “knee”") < page.index(headline)


def test_a_teaching_reference_and_dropped_exits_here_and_by_workers(tmp_path: Path) -> None:
    """The reference is finished before its pupils, and workers leave the same weights and records."""
    changes = {
        "space__max_exits": 4,
        "train__epochs": 1,
        "train__random_subnets": 0,
        # Its most accurate network here has exits, some of which do not pay.
        "search__algorithm": "exact",
        "search__evaluations": 6,
        "fine_tune__epochs": 2,
        "fine_tune__picks": ("most_accurate",),
        "fine_tune__teacher": "reference",
        "fine_tune__match": False,
        "fine_tune__drop_exits": True,
    }
    here, there = tmp_path / "here", tmp_path / "there"
    summary = search(small_config(**changes), run=here).summary
    search(small_config(**changes, execution__workers=2), run=there)
    names = ("reference", "most_accurate")
    age = {name: (here / "chosen" / name / "network.json").stat().st_mtime_ns for name in names}
    assert age["reference"] < age["most_accurate"]
    for name in names:
        weights, others = (load_file(folder / "chosen" / name / "weights.safetensors") for folder in (here, there))
        assert all(torch.equal(tensor, others[key]) for key, tensor in weights.items())
    assert summary is not None
    assert summary.static_reference.accuracy_test is not None
    assert [note for note in summary.warnings if "learned from the trained reference" in note]
    assert any(network.dropped for network in summary.chosen)
    assert [note for note in summary.warnings if note.startswith("Exits that did not pay for their branches")]
    found = {item.architecture for item in (*summary.front, *summary.static_front)}
    for network in summary.chosen:
        assert network.candidate in found
        record = Path(network.bundle).with_name("network.json")
        assert (here / record).read_text() == (there / record).read_text()
        manifest = load_manifest(here / network.bundle)
        assert [item.tap for item in manifest.exits[:-1]] == [choice.tap for choice in network.architecture.exits]


def test_a_network_of_narrow_weights_gets_a_copy_in_8_bits_beside_its_bundle(tmp_path: Path) -> None:
    changes = {
        "fine_tune__quantize": True,
        "cost__weight_bits": 4,
        "cost__branch_weight_bits": 4,
        "train__epochs": 1,
        "search__algorithm": "exact",
        "search__evaluations": 4,
        "search__batch": 4,
        "fine_tune__reference": False,
        "fine_tune__picks": ("knee",),
        "fine_tune__match": False,
    }
    result = search(small_config(**changes), run=tmp_path / "run")
    narrow, wide = (tmp_path / "run" / "chosen" / "knee" / name for name in ("bundle", "int8"))
    assert result.written_targets == (WrittenTarget("int8", "knee", wide),)
    assert load_manifest(narrow).oldest_runtime == "1.23.0"
    assert load_manifest(wide).oldest_runtime == "1.15.0"
    pixels = np.random.default_rng(0).integers(0, 256, (20, *load_manifest(wide).input_shape), dtype=np.uint8)
    assert EarlyExitSession(wide).predict(pixels) == EarlyExitSession(narrow).predict(pixels)
    # A resumed run tries the missing one again, and names what was there.
    shutil.rmtree(wide)
    (tmp_path / "run" / "summary.json").unlink()
    assert search(run=tmp_path / "run", resume=True).written_targets == result.written_targets
    assert EarlyExitSession(wide).predict(pixels) == EarlyExitSession(narrow).predict(pixels)
    assert search(run=tmp_path / "run", resume=True).written_targets == result.written_targets


def test_a_full_disk_while_a_bundle_is_written_is_said_like_everywhere_else(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    for bundle in run.glob("chosen/*/bundle"):
        shutil.rmtree(bundle)

    def no_room(path: Path, content: bytes | str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("offramp.deploy.bundle.bundle_folder.write_atomically", no_room)
        with pytest.raises(RunError, match=r"No space left on device.*All that was recorded before is kept.*--resume"):
            search(run=run, resume=True)
    assert search(run=run, resume=True).summary is not None
    assert list(run.glob("chosen/*/bundle/manifest.json"))
