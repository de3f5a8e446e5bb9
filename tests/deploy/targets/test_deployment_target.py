"""Deployment targets: only files that reproduce the network are kept."""

import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from offramp.deploy.bundle import export_bundle as bundle_module
from offramp.deploy.bundle.export_bundle import ExportRecord
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.deploy.targets.deployment_target import (
    DEPLOYMENT_TARGETS,
    DeploymentSource,
    TargetAnswers,
    export_target,
)
from offramp.deploy.targets.onnx.onnx_target import OnnxTarget
from offramp.deploy.targets.web.web_target import WebTarget
from offramp.errors import ExportError, InputError
from offramp.nn.network import EarlyExitNetwork
from offramp.testing.target_conformance import check_answers, check_deployment_target
from tests.deploy import toys
from tests.deploy.targets.web.test_web_target import fake_runtime
from tests.testing.test_exit_rule_conformance import kept_stage_models

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "add-a-deployment-target.md").read_text()
CHECKS = toys.samples(80, seed=4)


# Target "c" takes quantised networks alone; tests/deploy/targets/c checks its answers in the same way.
@pytest.mark.parametrize("name", [name for name in DEPLOYMENT_TARGETS if name != "c"])
def test_every_target_conforms(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "stage_models", kept_stage_models)
    monkeypatch.chdir(tmp_path)
    fake_runtime(tmp_path / "node_modules" / "onnxruntime-web")
    check_deployment_target(name)


def test_the_target_of_the_how_to_page_conforms(
    record: ExportRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file outside the package: its module registers the target, the page checks it and exports a bundle."""
    code = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.S | re.M)
    assert len(code) == 3
    list(DEPLOYMENT_TARGETS)
    module = types.ModuleType("compressed_onnx")
    monkeypatch.setattr(bundle_module, "stage_models", kept_stage_models)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(DEPLOYMENT_TARGETS, "_items", dict(DEPLOYMENT_TARGETS._items))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-bundle").symlink_to(record.path)
    for block in code:
        exec(compile(block, "add-a-deployment-target.md", "exec"), module.__dict__)
    assert sorted(path.name for path in (tmp_path / "compressed").iterdir()) == ["classes.txt", "network.onnx.gz"]
    assert (tmp_path / "compressed" / "classes.txt").read_text().split() == list(toys.CLASSES)
    assert list(DEPLOYMENT_TARGETS) == ["c", "compressed_onnx", "int8", "onnx", "web"]


def test_the_bundle_as_a_target_is_the_bundle(record: ExportRecord, network: EarlyExitNetwork, tmp_path: Path) -> None:
    agreement = export_target(OnnxTarget(), DeploymentSource(record.path, network), tmp_path / "copy", checks=CHECKS)
    assert agreement.num_moved <= agreement.num_on_threshold < 8
    assert agreement.largest_difference < 1e-4
    for path in record.path.iterdir():
        assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@dataclass(frozen=True)
class Wrong(OnnxTarget):
    """Answers otherwise than its files do."""

    how: str = ""

    def answers(self, folder: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
        right = super().answers(folder, inputs)
        exits, logits = right.exits.copy(), right.logits.copy()
        if self.how == "logits":
            logits[17] += 0.1
        elif self.how == "not a number":
            logits[17] = np.nan
        elif self.how == "another exit":
            exits[17] = (exits[17] + 1) % 3
        elif self.how == "no such exit":
            exits[17] = 3
        elif self.how == "shape":
            logits = logits[:-1]
        return TargetAnswers(exits, logits)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("logits", "'onnx' does not reproduce the network: at exit . logits differ by up to 0.1"),
        ("not a number", "does not reproduce the network"),
        ("another exit", "does not reproduce the network"),
        ("no such exit", r"exits from 0 to 2, got \[.*3\]"),
        ("shape", "must answer with 80 exits and logits of 5 classes each"),
    ],
)
@pytest.mark.parametrize("with_network", [True, False])
def test_files_that_answer_otherwise_are_not_kept(
    record: ExportRecord, network: EarlyExitNetwork, tmp_path: Path, how: str, words: str, with_network: bool
) -> None:
    source = DeploymentSource(record.path, network if with_network else None)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "before").write_text("kept")
    with pytest.raises(ExportError, match=words):
        export_target(Wrong(how=how), source, tmp_path / "there", checks=CHECKS, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there" / "before").read_text() == "kept"


@dataclass(frozen=True)
class Misbehaving(OnnxTarget):
    """Breaks the protocol in one of several ways."""

    how: str = ""

    def check_ready(self) -> None:
        if self.how == "check raises":
            raise RuntimeError("no licence server")

    def export(self, source: DeploymentSource, folder: Path) -> None:
        if self.how == "export raises":
            raise RuntimeError("no compiler")
        if self.how == "export exits":
            raise SystemExit(3)
        if self.how == "writes nothing":
            (folder / "empty").mkdir()
        else:
            super().export(source, folder)

    def answers(self, folder: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
        if self.how == "answers raise":
            raise FileNotFoundError("no interpreter")
        right = super().answers(folder, inputs)
        wrong: dict[str, Any] = {
            "a tuple": (right.exits, right.logits),
            "lists": TargetAnswers(right.exits.tolist(), right.logits),
            "exits of floats": TargetAnswers(right.exits.astype(float), right.logits),
            "logits of text": TargetAnswers(right.exits, right.logits.astype(str)),
        }
        return cast(TargetAnswers, wrong[self.how])


@pytest.mark.parametrize(
    ("how", "words", "cause"),
    [
        ("check raises", "failed in its `check_ready`: RuntimeError: no licence server; nothing", RuntimeError),
        ("export raises", "failed in its `export`: RuntimeError: no compiler; nothing was written", RuntimeError),
        ("export exits", "failed in its `export`: SystemExit: 3; nothing was written", SystemExit),
        ("answers raise", "failed in its `answers`: FileNotFoundError: no interpreter; nothing", FileNotFoundError),
        ("writes nothing", "must write files, but its `export` wrote none", None),
        ("a tuple", "must answer with TargetAnswers, got tuple", None),
        ("lists", "must answer with exits in a NumPy array of integers, got list", None),
        ("exits of floats", "must answer with exits in a NumPy array of integers, got an array of float64", None),
        ("logits of text", "must answer with logits in a NumPy array of floating-point numbers, got an array", None),
    ],
)
def test_a_misbehaving_target_is_named_and_leaves_nothing(
    record: ExportRecord, tmp_path: Path, how: str, words: str, cause: type[BaseException] | None
) -> None:
    with pytest.raises(ExportError, match=f"^Target 'onnx' {words}") as caught:
        export_target(Misbehaving(how=how), DeploymentSource(record.path), tmp_path / "new", checks=CHECKS)
    assert type(caught.value.__cause__) is (type(None) if cause is None else cause)
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class AlwaysFinal(OnnxTarget):
    """Sends every sample to the final exit, and gives the right logits of that exit."""

    def answers(self, folder: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
        return TargetAnswers(np.full(len(inputs), 2), EarlyExitSession(folder).all_logits(inputs)[2])


def test_a_decision_that_no_rounding_explains_is_found(record: ExportRecord, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'onnx' decides otherwise than the network for"):
        export_target(AlwaysFinal(), DeploymentSource(record.path), tmp_path / "late", checks=CHECKS)
    assert not (tmp_path / "late").exists()


def test_folders_that_hold_something_and_missing_tools_are_refused(record: ExportRecord, tmp_path: Path) -> None:
    source = DeploymentSource(record.path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="new or empty folder"):
        export_target(OnnxTarget(), source, tmp_path, checks=CHECKS)
    with pytest.raises(InputError, match="is something else"):
        export_target(OnnxTarget(), source, tmp_path / "file", checks=CHECKS)
    with pytest.raises(InputError, match="npm install onnxruntime-web"):
        export_target(WebTarget(tmp_path / "nowhere"), source, tmp_path / "page", checks=CHECKS)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_replaced_where_that_is_wanted(record: ExportRecord, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "stale").write_text("x")
    export_target(OnnxTarget(), DeploymentSource(record.path), tmp_path / "old", checks=CHECKS, overwrite=True)
    assert not (tmp_path / "old" / "stale").exists()
    assert (tmp_path / "old" / "manifest.json").is_file()


@dataclass(frozen=True)
class Counting(OnnxTarget):
    """Answers by the place of a sample, and from no file."""

    def answers(self, folder: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
        return TargetAnswers(np.arange(len(inputs)) % 3, np.zeros((len(inputs), 5), np.float32))


@dataclass(frozen=True)
class FromMemory(OnnxTarget):
    """Answers from no file."""

    def answers(self, folder: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
        return TargetAnswers(np.zeros(len(inputs), int), np.zeros((len(inputs), 5), np.float32))


@pytest.mark.parametrize(
    ("target", "words"), [(Counting(), "whatever came before"), (FromMemory(), "without the files")]
)
def test_answers_that_are_not_those_of_the_files_are_found_out(target: OnnxTarget, words: str, tmp_path: Path) -> None:
    (tmp_path / "network").write_text("x")
    with pytest.raises(AssertionError, match=words):
        check_answers(target, tmp_path, toys.samples(8))
