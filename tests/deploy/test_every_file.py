"""Every file that a bundle or a detector holds is plain ONNX, as other tools want it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.onnx.finish_model import graphs_of
from offramp.deploy.onnx.static_model import plain_model
from offramp.deploy.targets.web.web_target import export_web
from tests.anomaly.detector_samples import write_toy_detector
from tests.deploy.bundle_kinds import PRECISIONS
from tests.deploy.targets.web.test_web_target import fake_runtime

# The IR version of the first onnx release with an opset: https://github.com/onnx/onnx/blob/main/docs/Versioning.md
IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 21: 10, 25: 13}


@pytest.fixture(scope="module")
def every_file(bundles_of_kinds: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All ONNX files by name; the last four are of a page, a detector, and what `bench` compares with."""
    folder = tmp_path_factory.mktemp("others")
    files = {
        f"{kind}/{path.name}": path
        for kind, bundle in bundles_of_kinds.items()
        for path in sorted(bundle.glob("*.onnx"))
    }
    assert len(files) == 4 * len(PRECISIONS)
    page = export_web(bundles_of_kinds["int8"], folder / "page", runtime=fake_runtime(folder / "runtime")).parent
    detector = write_toy_detector(folder / "detector")
    onnx.save(plain_model(onnx.load(bundles_of_kinds["int8"] / "model.onnx"), 1), folder / "plain.onnx")
    others = [*page.glob("*.onnx"), *sorted(detector.glob("*.onnx")), folder / "plain.onnx"]
    assert len(others) == 4
    return {**files, **{str(path.relative_to(folder)): path for path in others}}


@pytest.fixture(scope="module")
def models(every_file: dict[str, Path]) -> dict[str, Any]:
    return {name: onnx.load(path) for name, path in every_file.items()}


def test_every_file_passes_the_full_check(models: dict[str, Any]) -> None:
    for model in models.values():
        onnx.checker.check_model(model, full_check=True)


def test_every_file_lists_one_opset_and_the_lowest_versions(models: dict[str, Any]) -> None:
    for name, model in models.items():
        assert len(model.opset_import) == 1, name
        (entry,) = model.opset_import
        assert entry.domain == "", name
        assert model.ir_version == IR_VERSIONS[entry.version], name
        # One version lower, at least one operator has another definition.
        definitions = {
            onnx.defs.get_schema(node.op_type, entry.version, "").since_version
            for graph in graphs_of(model.graph)
            for node in graph.node
        }
        assert entry.version == max(definitions), name


def test_float_and_int8_files_need_no_opset_above_18(models: dict[str, Any]) -> None:
    for name, model in models.items():
        narrow = name.startswith(("4_bit", "ternary"))
        assert (model.opset_import[0].version > 18) is narrow, name


def test_no_file_has_constants_that_nothing_reads(models: dict[str, Any]) -> None:
    for name, model in models.items():
        graphs = list(graphs_of(model.graph))
        read = {value for graph in graphs for node in graph.node for value in node.input}
        read |= {item.name for graph in graphs for item in graph.output}
        for graph in graphs:
            assert {tensor.name for tensor in graph.initializer} <= read, name


def test_names_of_nodes_and_values_are_unique(models: dict[str, Any]) -> None:
    """Tools for editing graphs tell nodes apart by their names."""
    for name, model in models.items():
        for graph in graphs_of(model.graph):
            names = [node.name for node in graph.node]
            assert all(names), name
            assert len(set(names)) == len(names), name


@pytest.mark.parametrize("kind", PRECISIONS)
def test_the_manifest_states_the_oldest_runtime(bundles_of_kinds: dict[str, Path], kind: str) -> None:
    assert load_manifest(bundles_of_kinds[kind]).oldest_runtime == PRECISIONS[kind][2]
    files = list(bundles_of_kinds[kind].glob("*.onnx"))
    assert load_manifest(bundles_of_kinds[kind]).opset == max(onnx.load(path).opset_import[0].version for path in files)


class _Samples(CalibrationDataReader):
    def __init__(self, model: Any) -> None:
        (source,) = model.graph.input
        shape = [size.dim_value or 2 for size in source.type.tensor_type.shape.dim]
        rng = np.random.default_rng(0)
        self._feeds = iter([{source.name: rng.normal(size=shape).astype(np.float32)} for _ in range(3)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


@pytest.mark.parametrize("name", ["float/model.onnx", "float/stage_1.onnx", "detector/stage_0.onnx", "int8/model.onnx"])
def test_the_quantiser_of_onnxruntime_takes_the_file(every_file: dict[str, Path], tmp_path: Path, name: str) -> None:
    source = every_file[name]
    quantize_static(source, tmp_path / "q.onnx", _Samples(onnx.load(source)), quant_format=QuantFormat.QDQ)
    made = onnx.load(tmp_path / "q.onnx")
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in made.graph.node}
