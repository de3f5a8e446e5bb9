"""A narrow bundle and its copy in 8 bits: the same weights, the same answers, on older runtimes."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.bundle.widened_bundle import has_narrow_weights, widen_bundle
from offramp.deploy.onnx.finish_model import graphs_of, opset_of
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import BundleError, InputError
from tests.deploy import toys
from tests.deploy.bundle_kinds import PRECISIONS

NARROW = ("4_bit", "4_bit_branches", "ternary")


def weights(path: Path) -> dict[str, Any]:
    """Integer weights of a file by name, whatever they are stored in."""
    found = {}
    for graph in graphs_of(onnx.load(path).graph):
        for tensor in graph.initializer:
            if tensor.data_type in (TensorProto.INT8, TensorProto.INT4, TensorProto.INT2) and len(tensor.dims) > 1:
                found[tensor.name.removesuffix("/stored")] = numpy_helper.to_array(tensor).astype(np.int8)
    return found


@pytest.mark.parametrize("kind", NARROW)
def test_the_copy_has_the_same_weights_in_8_bits_and_gives_the_same_answers(
    bundles_of_kinds: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    narrow = bundles_of_kinds[kind]
    manifest = widen_bundle(narrow, tmp_path / "wide")
    assert manifest.oldest_runtime == "1.15.0"
    assert has_narrow_weights(load_manifest(bundles_of_kinds[kind]))
    assert not has_narrow_weights(manifest)
    for path in sorted(narrow.glob("*.onnx")):
        copy = tmp_path / "wide" / path.name
        assert weights(copy).keys() == weights(path).keys() != set()
        for name, values in weights(path).items():
            assert np.array_equal(weights(copy)[name], values), name
        model = onnx.load(copy)
        onnx.checker.check_model(model, full_check=True)
        assert opset_of(model) <= 18
        types = {tensor.data_type for graph in graphs_of(model.graph) for tensor in graph.initializer}
        assert not types & {TensorProto.INT4, TensorProto.INT2}
    samples = toys.samples(40, seed=2)
    ours, theirs = EarlyExitSession(narrow), EarlyExitSession(tmp_path / "wide")
    for first, second in zip(ours.all_logits(samples), theirs.all_logits(samples), strict=True):
        assert np.array_equal(first, second)
    assert ours.predict(samples) == theirs.predict(samples)


def test_a_narrow_bundle_is_widened_where_the_runtime_is_too_old_to_run_it(
    bundles_of_kinds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.22.0")
    source = bundles_of_kinds["ternary"]
    with pytest.raises(BundleError, match=r"needs onnxruntime 1\.24\.1 or newer.*offramp export-int8"):
        EarlyExitSession(source)
    done = CliRunner().invoke(app, ["export-int8", str(source), str(tmp_path / "wide")])
    assert done.exit_code == 0, done.output
    assert "onnxruntime 1.15.0 or newer" in done.output
    assert len(EarlyExitSession(tmp_path / "wide").predict(toys.samples(3))) == 3


def as_written_before(bundle: Path) -> Path:
    """Make of a bundle what earlier versions wrote: no zero points of weights, IR version 10, one opset a stage."""
    for path in bundle.glob("*.onnx"):
        model = onnx.load(path)
        for graph in graphs_of(model.graph):
            for node in graph.node:
                if node.op_type == "DequantizeLinear" and node.input[-1].endswith("/zero_point"):
                    del node.input[2:]
            stated = [tensor for tensor in graph.initializer if tensor.name.endswith("/zero_point")]
            for tensor in stated:
                graph.initializer.remove(tensor)
        version = max(18, opset_of(model))
        del model.opset_import[:]
        model.opset_import.extend([onnx.helper.make_opsetid("", version)] * (2 if path.name == "model.onnx" else 1))
        model.ir_version = max(10, model.ir_version)
        path.write_bytes(model.SerializeToString())
    return restate(bundle)


def restate(bundle: Path) -> Path:
    """Write the checksums of files that were changed, and leave out what earlier manifests did not have."""
    import hashlib

    manifest = json.loads((bundle / "manifest.json").read_text())
    for entry in manifest["files"]:
        content = (bundle / entry["name"]).read_bytes()
        entry |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    del manifest["oldest_runtime"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


@pytest.mark.parametrize("kind", PRECISIONS)
def test_bundles_of_earlier_versions_are_read_and_rewritten_for_older_runtimes(
    bundles_of_kinds: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    before = as_written_before(Path(shutil.copytree(bundles_of_kinds[kind], tmp_path / "before")))
    samples = toys.samples(20, seed=4)
    session = EarlyExitSession(before)
    assert session.manifest.oldest_runtime is None
    answers = session.predict(samples)
    assert widen_bundle(before, tmp_path / "after").oldest_runtime == "1.15.0"
    # Linear layers may be computed in integers now, which rounds otherwise.
    for first, second in zip(EarlyExitSession(tmp_path / "after").predict(samples), answers, strict=True):
        assert (first.label, first.exit) == (second.label, second.exit)
        assert first.confidence == pytest.approx(second.confidence, abs=1e-5)
    for path in (tmp_path / "after").glob("*.onnx"):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert len(model.opset_import) == 1
        for graph in graphs_of(model.graph):
            whole = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.INT8}
            for node in graph.node:
                assert node.op_type != "DequantizeLinear" or node.input[0] not in whole or len(node.input) == 3


def test_a_copy_never_replaces_anything_unasked(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    source = bundles_of_kinds["4_bit"]
    widen_bundle(source, tmp_path / "wide")
    with pytest.raises(InputError, match="is a bundle already"):
        widen_bundle(source, tmp_path / "wide")
    widen_bundle(source, tmp_path / "wide", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files than a bundle"):
        widen_bundle(source, tmp_path / "other", overwrite=True)


def test_a_damaged_bundle_is_not_copied(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(bundles_of_kinds["4_bit"], tmp_path / "bundle"))
    content = (bundle / "stage_1.onnx").read_bytes()
    (bundle / "stage_1.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match="not the file that was exported"):
        widen_bundle(bundle, tmp_path / "wide")
    assert not (tmp_path / "wide").exists()
