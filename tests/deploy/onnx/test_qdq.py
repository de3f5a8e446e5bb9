"""Prepared networks as ONNX: fused to integer kernels, weights as narrow as stated, answers as the network's."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from offramp.deploy.onnx.finish_model import opset_of
from offramp.deploy.onnx.integer_weights import OPSET_INT2, OPSET_INT4
from offramp.deploy.onnx.stage_graphs import joined_model, stage_models
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import ExportError
from offramp.exits.confidence_measures import confidence
from offramp.exits.exit_policy import ExitPolicy
from offramp.nn.batch_norm import recalibrate_batch_norm_
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import convert_, prepare_
from offramp.run.checks.settings_checks import check_settings
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.space.architecture import Precision
from tests.deploy import toys
from tests.deploy.conftest import export
from tests.nn import members
from tests.workload.from_onnx.onnx_samples import workload_from_onnx

WEIGHT_ENDS = ("weight.whole", "weight.whole_int4", "weight.whole_int2")


def prepared(backbone: Precision, branches: Precision, *, num_exits: int = 2) -> EarlyExitNetwork:
    network = toys.network(num_exits)
    network.architecture = replace(network.architecture, precision=backbone, branch_precision=branches)
    prepare_(network, [torch.from_numpy(toys.samples(64, seed=5))])
    return network.eval()


class Exported:
    """A joined graph, what onnxruntime makes of it, and its logits on samples."""

    def __init__(self, network: EarlyExitNetwork, folder: Path) -> None:
        self.network = network
        self.stages = stage_models(network)
        self.model = joined_model(self.stages)
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(folder / "optimised.onnx")
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        content = self.model.SerializeToString()
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.samples = toys.samples(100, seed=9)
        self.logits = self.session.run(None, {"images": self.samples})
        optimised = onnx.load(folder / "optimised.onnx")
        self.operators = Counter(node.op_type for node in optimised.graph.node)
        self.types = Counter(tensor.data_type for tensor in self.model.graph.initializer if len(tensor.dims) > 1)

    def largest_share(self) -> float:
        """The largest difference from the network, as a share of the largest logit."""
        shares = [
            np.abs(ours - theirs).max() / max(1.0, np.abs(ours).max())
            for ours, theirs in zip(toys.logits_of(self.network, self.samples), self.logits, strict=True)
        ]
        return float(max(shares))


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(prepared(Precision(8, 8), Precision(8, 8)), tmp_path_factory.mktemp("eight"))


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Ternary weights in the backbone, 4 bits everywhere else."""
    return Exported(prepared(Precision(2, 4, ternary=True), Precision(4, 4)), tmp_path_factory.mktemp("narrow"))


def test_every_convolution_becomes_an_integer_one(eight: Exported, narrow: Exported) -> None:
    num_convolutions = sum(layer.shape.op == "conv" for layer in lower(eight.network).layers)
    for exported in (eight, narrow):
        assert exported.operators["QLinearConv"] == num_convolutions == 4
        assert exported.operators["Conv"] == 0
        # What is done once at loading is not in the graph that runs.
        assert exported.operators["Cast"] == 0


def test_the_file_answers_as_the_network(eight: Exported, narrow: Exported) -> None:
    # One step of the narrowest activations: 8 and 4 bits.
    assert eight.largest_share() <= 1 / 128
    assert narrow.largest_share() <= 1 / 8
    for exported in (eight, narrow):
        for ours, theirs in zip(toys.logits_of(exported.network, exported.samples), exported.logits, strict=True):
            two = np.sort(ours, axis=1)[:, -2:]
            clear = two[:, 1] - two[:, 0] > 2 * np.abs(ours - theirs).max()
            assert clear.mean() > 0.8
            assert (ours.argmax(1) == theirs.argmax(1))[clear].all()


def test_the_integer_network_answers_as_the_file(eight: Exported) -> None:
    network = prepared(Precision(8, 8), Precision(8, 8))
    network.load_state_dict(eight.network.state_dict())
    convert_(network)
    for ours, theirs in zip(toys.logits_of(network, eight.samples), eight.logits, strict=True):
        assert np.abs(ours - theirs).max() <= np.abs(ours).max() / 128


def test_activations_are_unsigned_bytes(eight: Exported, narrow: Exported) -> None:
    for exported in (eight, narrow):
        for node in nodes(exported.model, "QuantizeLinear"):
            zero_point = next(t for t in exported.model.graph.initializer if t.name == node.input[2])
            assert zero_point.data_type == TensorProto.UINT8
    assert not nodes(eight.model, "Clip")
    # 4 bits are limited as integers, which keeps what comes before fused.
    quantised = {node.output[0] for node in nodes(narrow.model, "QuantizeLinear")}
    assert {node.input[0] for node in nodes(narrow.model, "Clip")} <= quantised
    # Per stage two convolutions, sum and average; the second reads features, the first the image of 8 bits.
    assert len(nodes(narrow.model, "Clip")) == 9


def test_weights_of_every_bit_width_have_an_explicit_zero_point_per_channel(eight: Exported, narrow: Exported) -> None:
    """Without one, onnxruntime from 1.18 to 1.27 refuses a linear layer when it runs it."""
    for exported in (eight, narrow):
        constants = {tensor.name: tensor for tensor in exported.model.graph.initializer}
        weights = [node for node in nodes(exported.model, "DequantizeLinear") if node.input[0].endswith(WEIGHT_ENDS)]
        assert len(weights) == 6
        for node in weights:
            scale, zero_point = constants[node.input[1]], constants[node.input[2]]
            assert zero_point.data_type == TensorProto.INT8
            assert list(zero_point.dims) == list(scale.dims)
            assert not onnx.numpy_helper.to_array(zero_point).any()


def nodes(model: Any, operator: str) -> list[Any]:
    return [node for node in model.graph.node if node.op_type == operator]


def test_weights_are_stored_in_the_bits_they_have(eight: Exported, narrow: Exported) -> None:
    assert opset_of(eight.model) < OPSET_INT4
    assert eight.types[TensorProto.INT8] == 6
    assert opset_of(narrow.model) == OPSET_INT2
    assert narrow.types[TensorProto.INT2] == 4
    assert narrow.types[TensorProto.INT4] == 2
    assert narrow.types[TensorProto.INT8] == 0
    for tensor in narrow.model.graph.initializer:
        if tensor.data_type == TensorProto.INT2:
            values = onnx.numpy_helper.to_array(tensor).astype(np.int8)
            assert set(np.unique(values)) <= {-1, 0, 1}
            # Four to a byte.
            assert len(tensor.raw_data or bytes(len(tensor.int32_data))) == -(-values.size // 4)


@pytest.mark.parametrize(
    ("backbone", "branches"),
    [(Precision(32, 32), Precision(8, 8)), (Precision(8, 8), Precision(32, 32)), (Precision(4, 32), Precision(32, 8))],
    ids=str,
)
def test_networks_that_are_quantised_in_part(backbone: Precision, branches: Precision, tmp_path: Path) -> None:
    exported = Exported(prepared(backbone, branches, num_exits=1), tmp_path)
    assert exported.largest_share() <= 1 / 128
    assert exported.types[TensorProto.FLOAT] > 0


def test_a_bundle_is_verified_within_the_stated_tolerance(tmp_path: Path) -> None:
    network = prepared(Precision(8, 8), Precision(4, 6))
    samples = toys.samples(20, seed=3)
    # Half of the samples are surer than the middle between two of them, whatever the weights are.
    surest = np.sort(confidence(toys.logits_of(network, samples)[0], "max_probability"))
    policy = ExitPolicy("max_probability", (float(surest[9:11].mean()),))
    record = export(network, tmp_path / "bundle", policy=policy, cost=None, profile=None)
    assert record.agreement.largest_difference <= record.agreement.logit_scale / 32
    # 4-bit weights are in the branches alone, but all files are written in the opset that has them.
    assert record.manifest.opset == OPSET_INT4
    files = [onnx.load(record.path / file.name) for file in record.manifest.files]
    assert [opset_of(model) for model in files] == [OPSET_INT4] * 4
    assert len({model.ir_version for model in files}) == 1
    assert record.manifest.architecture.branch_precision == Precision(4, 6)
    session = EarlyExitSession(record.path)
    labels = [answer.label for answer in session.predict(samples)]
    exits = policy.decide(toys.logits_of(network, samples))
    expected = [int(toys.logits_of(network, samples)[e][row].argmax()) for row, e in enumerate(exits)]
    assert np.mean(np.array(labels) == expected) >= 0.95
    assert 0 < exits.sum() < len(exits)
    priced = workload_from_onnx(record.path / "model.onnx")
    assert priced.macs_to_exit() == lower(network).macs_to_exit()


def test_a_wrong_file_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are one step off in every channel are beyond the tolerance."""
    from offramp.deploy.bundle import export_bundle as bundle_module

    def spoiled(network: EarlyExitNetwork) -> list[Any]:
        models = stage_models(network)
        for tensor in models[0].graph.initializer:
            if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4:
                values = np.clip(onnx.numpy_helper.to_array(tensor).astype(np.int16) + 8, -128, 127).astype(np.int8)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return models

    monkeypatch.setattr(bundle_module, "stage_models", spoiled)
    network = prepared(Precision(8, 8), Precision(8, 8), num_exits=1)
    with pytest.raises(ExportError, match="does not reproduce the network"):
        export(network, tmp_path / "bundle", policy=ExitPolicy("max_probability", ()), cost=None, profile=None)
    assert not (tmp_path / "bundle").exists()


QUANTISED = {"fine_tune.quantize": True, "cost.weight_bits": 4, "cost.branch_weight_bits": 2}
SEARCHED = {"space.precision": "layer", "space.precisions": ("8/8", "ternary/8")}


@pytest.mark.parametrize("changes", [QUANTISED, SEARCHED])
def test_an_onnxruntime_that_cannot_run_a_quantised_network_is_named_before_a_search(
    changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_settings(Config(), changes)
    check_settings(config)
    monkeypatch.setattr(onnxruntime, "__version__", "1.22.0")
    with pytest.raises(ExportError, match=r"Weights of 2 bits need onnxruntime 1\.24\.1 or newer"):
        check_settings(config)
    check_settings(with_settings(Config(), {"fine_tune.quantize": True, "cost.weight_bits": 6}))
    check_settings(with_settings(Config(), {"cost.weight_bits": 4}))


def test_bits_of_every_kind_in_one_network(tmp_path: Path) -> None:
    """Floating point, 8 and 4 bits and ternary weights side by side, each stored as such."""
    kinds = (Precision(32, 32), Precision(4, 4), Precision(2, 8, ternary=True), Precision(8, 8))
    base = members.member(members.SMALL, max, ((0, "conv"), (2, "pool_linear")))
    stages = tuple(
        replace(stage, precisions=tuple(kinds[(number + index) % 4] for index in range(stage.depth)))
        for number, stage in enumerate(base.stages)
    )
    exits = (replace(base.exits[0], precision=kinds[2]), replace(base.exits[1], precision=kinds[0]))
    network = members.small_supernet().extract(replace(base, stages=stages, exits=exits)).eval()
    recalibrate_batch_norm_(network, [members.images(64, seed=1)])
    prepare_(network, [members.images(64, seed=2)])
    model = joined_model(stage_models(network))
    stored = Counter(tensor.data_type for tensor in model.graph.initializer)
    assert min(stored[TensorProto.INT4], stored[TensorProto.INT2], stored[TensorProto.INT8]) >= 1
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    images = members.images(200, seed=3)
    with torch.no_grad():
        ours = [logits.numpy() for logits in network(images)]
        convert_(network)
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(ours, network(images), strict=True))
    name = session.get_inputs()[0].name
    for mine, theirs in zip(ours, session.run(None, {name: images.numpy()}), strict=True):
        # Nearly always the very same numbers; what strays by a rounding strays by a step of 4 bits at most.
        assert np.isclose(mine, theirs, atol=1e-4 * np.abs(mine).max()).mean() > 0.9
        assert np.abs(mine - theirs).max() <= np.abs(mine).max() / 4
