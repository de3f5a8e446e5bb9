import copy
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offramp.deploy.onnx.stage_graphs import frozen_copy, joined_model, stage_models
from offramp.errors import ExportError
from offramp.nn.network import EarlyExitNetwork
from tests.deploy import toys


def run(model: Any, name: str, inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, {name: inputs})
    return outputs


def names(values: Any) -> list[str]:
    return [value.name for value in values]


def test_stage_graphs_have_linked_names_open_batch_and_the_lowest_opset(models: list[Any]) -> None:
    assert [names(model.graph.input) for model in models] == [["images"], ["features_0"], ["features_1"]]
    assert [names(model.graph.output) for model in models] == [
        ["features_0", "exit_0"],
        ["features_1", "exit_1"],
        ["exit_2"],
    ]
    for model in models:
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 14)]  # that of Relu and Add
        for value in (*model.graph.input, *model.graph.output):
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_chained_stages_give_the_networks_logits(network: EarlyExitNetwork, models: list[Any]) -> None:
    inputs = toys.samples(5)
    features, found = inputs, []
    for model, name in zip(models, ("images", "features_0", "features_1"), strict=True):
        outputs = run(model, name, features)
        features, logits = outputs[0], outputs[-1]
        found.append(logits)
    for ours, theirs in zip(toys.logits_of(network, inputs), found, strict=True):
        assert np.abs(ours - theirs).max() < 1e-4


def test_joined_graph_gives_all_exits_at_any_batch_size(network: EarlyExitNetwork, models: list[Any]) -> None:
    joined = joined_model(models)
    assert names(joined.graph.input) == ["images"]
    assert names(joined.graph.output) == ["exit_0", "exit_1", "exit_2"]
    for count in (1, 2, 9):
        inputs = toys.samples(count)
        for ours, theirs in zip(toys.logits_of(network, inputs), run(joined, "images", inputs), strict=True):
            assert np.abs(ours - theirs).max() < 1e-4


def test_joining_leaves_the_stages_as_they_were(models: list[Any]) -> None:
    before = copy.deepcopy(models)
    joined_model(models)
    assert models == before


def test_graphs_hold_no_trace_of_the_machine_that_made_them(models: list[Any]) -> None:
    for model in (*models, joined_model(models)):
        assert b"site-packages" not in model.SerializeToString()
        assert b".py" not in model.SerializeToString()
        assert not any(node.metadata_props for node in model.graph.node)


def test_batch_norm_is_folded_and_dropout_gone(models: list[Any]) -> None:
    operators = {node.op_type for model in models for node in model.graph.node}
    assert "Conv" in operators
    assert not operators & {"BatchNormalization", "Dropout"}


def test_the_network_itself_stays_in_its_mode_and_precision(network: EarlyExitNetwork) -> None:
    assert network.training
    half = copy.deepcopy(network).to(torch.bfloat16)
    frozen = frozen_copy(half)
    assert half.training
    assert not frozen.training
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in frozen.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_one_exit_gives_one_graph_quietly_and_always_the_same(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    static = toys.network(num_exits=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    models = stage_models(static)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert not list(recwarn)
    assert [names(models[0].graph.input), names(models[0].graph.output)] == [["images"], ["exit_0"]]
    assert stage_models(static) == models
    inputs = toys.samples(3)
    assert np.abs(toys.logits_of(static, inputs)[0] - run(joined_model(models), "images", inputs)[0]).max() < 1e-4


class Flat(nn.Module):
    """Reads the batch size off its input, which the stage before must not be asked for."""

    def forward(self, features: Tensor) -> Tensor:
        return features.reshape(features.shape[0], -1)


def test_stages_that_do_nothing_and_branches_that_read_the_batch_size() -> None:
    def flat() -> nn.Module:
        return nn.Sequential(Flat(), nn.Linear(6 * 6 * 5, len(toys.CLASSES)))

    stages = [toys.stage(3, 6), nn.Identity()]
    odd = toys.shake_(
        EarlyExitNetwork(toys.architecture(2), stages, [flat(), flat()], toys.INPUT_SHAPE, len(toys.CLASSES)), seed=3
    )
    joined = joined_model(stage_models(odd))
    for count in (1, 4):
        inputs = toys.samples(count)
        for ours, theirs in zip(toys.logits_of(odd, inputs), run(joined, "images", inputs), strict=True):
            assert np.abs(ours - theirs).max() < 1e-4


class Undecided(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features * 2 if features.mean() > 0 else features


def test_a_module_without_an_onnx_form_is_an_error_that_names_the_stage(capfd: pytest.CaptureFixture[str]) -> None:
    broken = toys.network(num_exits=1)
    broken.stages[0] = Undecided()
    with pytest.raises(ExportError, match="Stage 0 cannot be written as ONNX: ") as caught:
        stage_models(broken)
    assert "\n" not in str(caught.value)
    captured = capfd.readouterr()
    assert captured.out == ""


def test_joined_graph_passes_the_full_check(models: list[Any]) -> None:
    onnx.checker.check_model(joined_model(models), full_check=True)


def test_memory_layout_does_not_show_in_the_graph() -> None:
    """Training uses channels-last weights, from which pooling used to become an index computation."""
    network = toys.network(1).to(memory_format=torch.channels_last)
    (model,) = stage_models(network)
    assert not {"Range", "Gather", "GatherND"} & {node.op_type for node in model.graph.node}
