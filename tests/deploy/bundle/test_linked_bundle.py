"""Bundles whose exits reuse the exit before: every form hands the logits on."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from offramp.deploy.bench.latency_bench import BenchSettings, bench
from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.deploy.targets.web.web_target import WebTarget, export_web
from offramp.errors import BundleError, InputError
from tests.deploy import toys
from tests.deploy.targets.web.test_web_target import fake_runtime

KINDS = ["cascade", "int8_mean"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_reads_the_logits_of_the_exit_before(bundles_of_kinds: dict[str, Path], kind: str) -> None:
    manifest = load_manifest(bundles_of_kinds[kind])
    assert (manifest.schema, [item.reads_logits for item in manifest.exits]) == (3, [False, True])
    read = [[x.name for x in onnx.load(bundles_of_kinds[kind] / f"stage_{i}.onnx").graph.input] for i in range(2)]
    assert read == [["images"], ["features_0", "exit_0"]]
    session, inputs = EarlyExitSession(bundles_of_kinds[kind]), toys.samples(8, seed=2)
    first = session.run_stage(0, inputs)
    assert first.features is not None
    # Other logits give another answer, and none are a refusal.
    moved = session.run_stage(1, first.features, first.logits + np.float32([1, 0, 0, 0, 0]))
    assert not np.allclose(moved.logits, session.run_stage(1, first.features, first.logits).logits)
    with pytest.raises(InputError, match="Stage 1 reads the logits of exit 0"):
        session.run_stage(1, first.features)


@pytest.mark.parametrize("kind", KINDS)
def test_a_web_page_answers_as_the_session_does(bundles_of_kinds: dict[str, Path], kind: str, tmp_path: Path) -> None:
    page = export_web(bundles_of_kinds[kind], tmp_path / "page", runtime=fake_runtime(tmp_path / "runtime")).parent
    inputs = toys.samples(30, seed=4)
    session = EarlyExitSession(bundles_of_kinds[kind])
    answers, expected = WebTarget().answers(page, inputs), session.predict(inputs)
    assert answers.exits.tolist() == [item.exit for item in expected]
    assert set(answers.exits.tolist()) == {0, 1}
    logits = session.all_logits(inputs)
    assert np.allclose(answers.logits, [logits[e][i] for i, e in enumerate(answers.exits)], atol=0.05)


def test_samples_that_wait_keep_their_logits(bundles_of_kinds: dict[str, Path]) -> None:
    """Samples that are regrouped into other batches answer as they do alone."""
    session, inputs = EarlyExitSession(bundles_of_kinds["cascade"]), toys.samples(30, seed=4)
    alone = [session.predict(inputs[row : row + 1])[0] for row in range(len(inputs))]
    for size in (1, 4, 30):
        together = session.predict(inputs, batch_size=size)
        assert [(a.exit, a.label) for a in together] == [(a.exit, a.label) for a in alone]
        assert [a.confidence for a in together] == pytest.approx([a.confidence for a in alone], abs=1e-6)


def test_a_bundle_of_linked_exits_is_timed(bundles_of_kinds: dict[str, Path]) -> None:
    quick = BenchSettings(rounds=4, warm_up=0)
    result = bench(bundles_of_kinds["cascade"], images=toys.samples(4), source="samples", settings=quick)
    assert len(result.exit_rates) == 2


@pytest.mark.parametrize(("kind", "reads", "schema"), [("cascade", False, 3), ("float", True, 3)])
def test_a_manifest_that_says_otherwise_than_its_graphs_is_refused(
    bundles_of_kinds: dict[str, Path], tmp_path: Path, kind: str, reads: bool, schema: int
) -> None:
    bundle = Path(shutil.copytree(bundles_of_kinds[kind], tmp_path / "bundle"))
    data = json.loads((bundle / "manifest.json").read_text())
    data["schema"] = schema
    data["exits"][1]["reads_logits"] = reads
    (bundle / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match=f"must have {2 if reads else 1} input"):
        EarlyExitSession(bundle)
