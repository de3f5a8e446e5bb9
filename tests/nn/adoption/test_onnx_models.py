"""ONNX files as backbones. A stand-in for the converter gives the torch model that the file was written from."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from offramp.errors import AdoptError, ConfigError
from offramp.nn.adoption.onnx_models import adopt_onnx, check_onnx_backbone
from offramp.run.checks.settings_checks import check_settings
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config

SHAPE = (1, 6, 6)


class Twin(torch.nn.Module):
    """What the file computes: two convolutions, an average, a linear map."""

    def __init__(self, batch: int = -1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, padding=1)
        self.head = torch.nn.Linear(4, 3)
        self.batch = batch

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.second(torch.relu(self.first(images))))
        result: torch.Tensor = self.head(features.mean((2, 3)).reshape(self.batch, 4))
        return result


def written(path: Path, *, batch: int | str = "batch", flat: tuple[int, ...] = (-1, 4)) -> Path:
    """The file of the twin, operator by operator."""
    twin = Twin()
    weights = {
        "w1": twin.first.weight, "b1": twin.first.bias, "w2": twin.second.weight, "b2": twin.second.bias,
        "w3": twin.head.weight, "b3": twin.head.bias,
    }  # fmt: skip
    initializers = [numpy_helper.from_array(value.detach().numpy(), name) for name, value in weights.items()]
    initializers.append(numpy_helper.from_array(np.asarray(flat, dtype=np.int64), "flat"))
    nodes = [
        helper.make_node("Conv", ["images", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Reshape", ["p", "flat"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "twin",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A stand-in for onnx2pytorch; returns the model that was converted last."""
    seen: list[Any] = []

    def convert(model: Any, experimental: bool = False) -> torch.nn.Module:
        seen.append(model)
        shape = next(item for item in model.graph.initializer if item.name == model.graph.node[5].input[1])
        return Twin(int(numpy_helper.to_array(shape)[0]) or -1)

    module = ModuleType("onnx2pytorch")
    module.ConvertModel = convert  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnx2pytorch", module)
    return lambda: seen[-1]


@pytest.mark.parametrize(("batch", "flat"), [("batch", (-1, 4)), (1, (1, 4)), (1, (1, -1))])
def test_a_file_becomes_a_backbone_also_where_it_was_written_for_one_image(
    batch: int | str, flat: tuple[int, ...], converter: Callable[[], Any], tmp_path: Path
) -> None:
    adopted = adopt_onnx(written(tmp_path / "twin.onnx", batch=batch, flat=flat), SHAPE, max_taps=4, freeze=False)
    assert adopted.name == "onnx:twin"
    assert adopted.num_classes == 3
    assert len(adopted.early_taps) == 1
    features = images = torch.randn(5, *SHAPE)
    with torch.no_grad():
        for piece in adopted.pieces:
            features = piece.eval()(features)
        assert torch.equal(features, Twin().eval()(images))


def test_other_sizes_than_those_of_the_data_are_refused(converter: Callable[[], Any], tmp_path: Path) -> None:
    with pytest.raises(AdoptError, match=r"reads images of shape \(1, 6, 6\), the data have \(1, 8, 8\)"):
        adopt_onnx(written(tmp_path / "twin.onnx"), (1, 8, 8), max_taps=4, freeze=False)


def test_a_conversion_that_computes_something_else_is_refused(
    converter: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Twin):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) + 0.1

    monkeypatch.setattr(sys.modules["onnx2pytorch"], "ConvertModel", lambda model, experimental: Other())
    with pytest.raises(AdoptError, match="does not compute as a torch model what it computes in onnxruntime"):
        adopt_onnx(written(tmp_path / "twin.onnx"), SHAPE, max_taps=4, freeze=False)


def test_quantised_files_and_files_with_other_inputs_are_refused(converter: Callable[[], Any], tmp_path: Path) -> None:
    path = written(tmp_path / "twin.onnx")
    model = onnx.load(path)
    two = onnx.ModelProto()
    two.CopyFrom(model)
    two.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, ["batch", 4]))
    onnx.save(two, tmp_path / "two.onnx")
    with pytest.raises(AdoptError, match="one input and one output, got 1 and 2"):
        adopt_onnx(tmp_path / "two.onnx", SHAPE, max_taps=4, freeze=False)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(0.1, dtype=np.float32), "scale"))
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["images", "scale"], ["q"]))
    onnx.save(model, tmp_path / "quantised.onnx")
    with pytest.raises(AdoptError, match=r"is quantised \(QuantizeLinear\)"):
        adopt_onnx(tmp_path / "quantised.onnx", SHAPE, max_taps=4, freeze=False)


def test_missing_files_damaged_files_and_a_missing_converter_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="must be an ONNX file that exists"):
        check_onnx_backbone(tmp_path / "nothing.onnx")
    with pytest.raises(ConfigError, match="must be an ONNX file that exists"):
        check_settings(with_settings(Config(), space__backbone=str(tmp_path / "nothing.onnx")))
    monkeypatch.setitem(sys.modules, "onnx2pytorch", None)
    with pytest.raises(ConfigError, match=r"pip install \"offramp\[onnx-backbone\]\""):
        check_onnx_backbone(written(tmp_path / "twin.onnx"))


def test_a_damaged_file_is_named(converter: Callable[[], Any], tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match="cannot be read as an ONNX file"):
        adopt_onnx(tmp_path / "damaged.onnx", SHAPE, max_taps=4, freeze=False)


def test_the_converter_itself_converts_files_for_one_image(tmp_path: Path) -> None:
    pytest.importorskip("onnx2pytorch")
    adopted = adopt_onnx(written(tmp_path / "twin.onnx", batch=1, flat=(1, 4)), SHAPE, max_taps=4, freeze=False)
    features = images = torch.randn(5, *SHAPE)
    with torch.no_grad():
        for piece in adopted.pieces:
            features = piece.eval()(features)
        torch.testing.assert_close(features, Twin().eval()(images))
