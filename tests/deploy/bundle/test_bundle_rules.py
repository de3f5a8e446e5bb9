"""Rules that look back at earlier exits: in the manifest, in the one file that stops, and in what is measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.deploy.bench import latency_bench as bench_module
from offramp.deploy.bench.latency_bench import bench
from offramp.deploy.bench.paired_timing import BenchSettings
from offramp.deploy.bundle.export_bundle import ExportRecord
from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.onnx.nested_if import early_exit_model
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import BundleError, InputError
from offramp.exits.exit_policy import profile
from offramp.exits.exit_rule import ExitRule
from offramp.exits.rules.cumulative import CumulativeConfidence
from offramp.exits.rules.patience import Patience
from offramp.nn.network import EarlyExitNetwork
from tests.deploy import toys
from tests.deploy.bench.test_latency_bench import fake
from tests.deploy.conftest import Export
from tests.deploy.onnx.test_nested_if import pass_through, start

LOOKING_BACK: list[ExitRule] = [
    Patience(1),
    Patience(2),
    Patience(3),
    CumulativeConfidence((0.9, 0.97)),
    CumulativeConfidence((0.6, 0.8), "entropy"),
    CumulativeConfidence((0.4, 0.7), "margin"),
]


@pytest.mark.parametrize("rule", LOOKING_BACK, ids=repr)
def test_the_one_file_follows_it(network: EarlyExitNetwork, models: list[Any], rule: ExitRule) -> None:
    inputs = toys.samples(150, seed=21)
    wanted = rule.decide(toys.logits_of(network, inputs))
    model = start(early_exit_model(models, rule, len(toys.CLASSES)))
    assert [int(model.run(["exit"], {"images": inputs[i : i + 1]})[0][0]) for i in range(150)] == wanted.tolist()


def sequence(answers: tuple[int, ...]) -> list[Any]:
    """Stages that ignore their input and say these classes."""
    from onnx import helper, numpy_helper

    stages = pass_through(3, len(answers))
    for index, (model, answer) in enumerate(zip(stages, answers, strict=True)):
        (node,) = (node for node in model.graph.node if node.output[0] == f"exit_{index}")
        logits = numpy_helper.from_array(np.eye(3, dtype=np.float32)[answer : answer + 1], "says")
        model.graph.initializer.append(logits)
        zero = helper.make_node("Sub", ["flat_0", "flat_0"], ["nothing"])
        node.CopyFrom(helper.make_node("Add", ["nothing", "says"], [f"exit_{index}"]))
        model.graph.node.insert(1, zero)
    return stages


@given(st.lists(st.integers(0, 2), min_size=2, max_size=5), st.integers(1, 4))
def test_patience_counts_equal_answers_in_a_row(answers: list[int], num_agreeing: int) -> None:
    wanted = len(answers) - 1
    for index in range(len(answers) - 1):
        if index + 1 >= num_agreeing and len(set(answers[index + 1 - num_agreeing : index + 1])) == 1:
            wanted = index
            break
    model = start(early_exit_model(sequence(tuple(answers)), Patience(num_agreeing), 3))
    assert model.run(["exit"], {"images": np.ones((1, 3, 1, 1), np.float32)})[0].tolist() == [wanted]


@pytest.mark.parametrize("rule", [Patience(2), CumulativeConfidence((0.9, 0.97))], ids=repr)
def test_a_bundle_holds_it_and_every_form_follows(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path, rule: ExitRule
) -> None:
    inputs = toys.samples(120, seed=3)
    logits = toys.logits_of(network, inputs)
    wanted = rule.decide(logits)
    # The toy's first two exits never agree, so that patience sends everybody to the end.
    assert set(wanted) == ({2} if isinstance(rule, Patience) else {0, 1, 2})
    shares = profile(logits, np.zeros(120, dtype=np.int64), rule)
    assert shares.rates == tuple(np.bincount(wanted, minlength=3) / 120)
    # Writing it compares the session and the one file with the rule on 1,000 inputs.
    record = quick_export(network, tmp_path / "bundle", policy=rule, profile=shares)
    assert record.agreement.num_moved <= record.agreement.num_on_threshold < 30
    manifest = load_manifest(record.path)
    assert manifest.policy == rule
    assert manifest.schema == 2
    session = EarlyExitSession(record.path)
    assert session.rule == rule
    for answers in (session.predict(inputs), tuple(session.stream(inputs))):
        assert [answer.exit for answer in answers] == wanted.tolist()
    result = bench(record.path, images=inputs, settings=BenchSettings(rounds=4, warm_up=1))
    assert result.exit_rates == shares.rates


def test_bench_takes_every_exit_whatever_the_answers(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(bench_module, "measure_in_turn", lambda calls, *_: fake(calls, seen))
    bench(quick_export(network, tmp_path / "bundle", policy=Patience(2)).path, settings=BenchSettings(rounds=4))
    for one_file, plain in zip(seen[1:4], seen[7:10], strict=True):
        assert np.allclose(one_file[0], plain[0], atol=1e-4)


def test_plain_thresholds_stay_readable_for_older_readers(record: ExportRecord) -> None:
    data = json.loads((record.path / "manifest.json").read_text())
    assert (data["schema"], data["rule"]) == (1, "threshold")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 1}, "needs schema 2"),
        ({"rule": "guessing"}, "`rule` 'guessing' must be a registered exit rule .*cumulative, patience, threshold"),
        ({"thresholds": (1.5, 1.5)}, "whole numbers from 1 to 3"),
        ({"thresholds": (1.0, 2.0)}, "must all be the same"),
        ({"thresholds": (0.0, 0.0)}, "whole numbers from 1 to 3"),
        ({"thresholds": (1e308, 1e308)}, "whole numbers from 1 to 3"),
        ({"temperature": 2.0}, "no temperatures other than 1"),
    ],
)
def test_manifests_that_make_no_sense_are_refused(
    network: EarlyExitNetwork, bundle: Path, changes: dict[str, Any], words: str
) -> None:
    file = bundle / "manifest.json"
    data = json.loads(file.read_text()) | {"rule": "patience", "schema": 2}
    for index, threshold in enumerate(changes.pop("thresholds", (2.0, 2.0))):
        data["exits"][index]["threshold"] = threshold
    data["exits"][0]["temperature"] = changes.pop("temperature", 1.0)
    file.write_text(json.dumps(data | changes))
    with pytest.raises(BundleError, match=words):
        load_manifest(bundle)


def test_predict_decides_by_the_rule_given(record: ExportRecord, tmp_path: Path) -> None:
    from PIL import Image

    file = str(tmp_path / "a.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(file)

    def exit_by(*rule: str) -> int:
        shown = CliRunner().invoke(app, ["predict", str(record.path), file, "--json", *rule])
        assert shown.exit_code == 0, shown.output
        return int(json.loads(shown.output)[0]["exit"])

    assert exit_by("--rule", "patience:1") == 0
    assert exit_by("--rule", "patience:3") == 2
    assert exit_by("--rule", "threshold:2,-1") == 1
    refused = CliRunner().invoke(app, ["predict", str(record.path), file, "--rule", "threshold:0.5"])
    assert isinstance(refused.exception, InputError)
    assert "must have 2 thresholds" in str(refused.exception)
