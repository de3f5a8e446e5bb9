"""Bit widths that a file states for its weights, in every form in which tools write them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from offramp.cost.pricing import price_onnx
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.settings.cost_config import CostConfig
from offramp.workload.from_onnx.conversion import network_from_onnx
from tests.workload.from_onnx.onnx_samples import Net

QONNX = "qonnx.custom_op.general"


def packed(net: Net, name: str = "packed", **change: int) -> str:
    """A dense layer of onnxruntime with 16 x 24 weights."""
    attributes = {"K": 16, "N": 24, "bits": 4, "block_size": 16} | change
    weights = net.weight(24, 1, 2 * attributes["bits"], kind=np.uint8), net.weight(24)
    return net.op("MatMulNBits", net.input, *weights, name=name, domain="com.microsoft", **attributes)


def stored(net: Net, kind: int, *shape: int) -> str:
    """Weights of an integer type, as zeros."""
    name = f"w{len(net.weights)}"
    net.weights.append(helper.make_tensor(name, kind, shape, [0] * int(np.prod(shape))))
    return name


def _dequantized(kind: int) -> Callable[[Net], str]:
    return lambda net: net.op("DequantizeLinear", stored(net, kind, 16, 24), net.constant(1.0))


def _quantized(kind: int) -> Callable[[Net], str]:
    """Float weights behind a pair of quantisers, as after training with simulated quantisation."""

    def write(net: Net) -> str:
        scale, zero = net.constant(1.0), stored(net, kind)
        integers = net.op("QuantizeLinear", net.weight(16, 24), scale, zero)
        return net.op("DequantizeLinear", integers, scale, zero)

    return write


def _cast(net: Net) -> str:
    """As offramp writes narrow weights: stored in 4 bits, cast to 8."""
    wide = net.op("Cast", stored(net, TensorProto.INT4, 16, 24), to=TensorProto.INT8)
    return net.op("DequantizeLinear", wide, net.constant(1.0))


def _qonnx(net: Net) -> str:
    turned = net.op("Transpose", net.weight(24, 16), perm=[1, 0])
    others = net.constant(1.0), net.constant(0.0), net.constant(3.0)
    return net.op("Quant", turned, *others, domain=QONNX, signed=1, narrow=1)


def _bipolar(net: Net) -> str:
    return net.op("BipolarQuant", net.weight(16, 24), net.constant(1.0), domain=QONNX)


@pytest.mark.parametrize(
    ("write", "bits"),
    [
        (_dequantized(TensorProto.INT4), 4),
        (_dequantized(TensorProto.UINT4), 4),
        (_dequantized(TensorProto.INT8), 8),
        (_dequantized(TensorProto.INT16), 16),
        (_quantized(TensorProto.INT4), 4),
        (_quantized(TensorProto.UINT8), 8),
        (_cast, 4),
        (_qonnx, 3),
        (_bipolar, 1),
        (lambda net: net.weight(16, 24), None),
        (lambda net: net.weight(16, 24, kind=np.float16), None),
    ],
)
def test_the_width_of_a_dense_layer_is_that_of_its_stored_weights(
    write: Callable[[Net], str], bits: int | None, tmp_path: Path
) -> None:
    net = Net((1, 7, 16), opset=21)
    network = network_from_onnx(net.exit(net.op("MatMul", net.input, write(net), name="dense")).save(tmp_path))
    assert network.weight_bits == ({} if bits is None else {"dense": bits})


def test_packed_weights_have_the_bits_of_their_operator(tmp_path: Path) -> None:
    for bits in (2, 4, 8):
        net = Net((1, 7, 16))
        assert network_from_onnx(net.exit(packed(net, bits=bits)).save(tmp_path)).weight_bits == {"packed": bits}
    net = Net((1, 7, 16))
    weights = net.weight(192, kind=np.uint8), net.weight(24)
    attributes = {"K": 16, "N": 24, "block_size": 16, "quant_type": 1, "domain": "com.microsoft"}
    product = net.op("MatMulBnb4", net.input, *weights, name="packed", **attributes)
    assert network_from_onnx(net.exit(product).save(tmp_path)).weight_bits == {"packed": 4}


def test_integer_operators_state_the_type_of_their_weights(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8), opset=21)
    scale, zero = net.constant(1.0), net.constant(0, np.uint8)
    image = net.op("QuantizeLinear", net.input, scale, zero)
    weights = net.weight(4, 3, 1, 1, kind=np.int8)
    conv = net.op("QLinearConv", image, scale, zero, weights, scale, net.constant(0, np.int8), scale, zero, name="conv")
    network = network_from_onnx(net.exit(net.op("DequantizeLinear", conv, scale, zero)).save(tmp_path))
    assert network.weight_bits == {"conv": 8}


def test_all_parts_of_a_recurrent_layer_have_the_width_of_its_widest_weights(tmp_path: Path) -> None:
    """Both matrices of 4 bits; the gates and the memory have no weights."""
    net = Net((5, 1, 6), opset=21)
    scale = net.constant(1.0)
    inputs = net.op("DequantizeLinear", stored(net, TensorProto.INT4, 1, 12, 6), scale)
    state = net.op("DequantizeLinear", stored(net, TensorProto.INT4, 1, 12, 3), scale)
    network = network_from_onnx(net.exit(net.op("LSTM", net.input, inputs, state, hidden_size=3)).save(tmp_path))
    weighted = [layer.name for layer in network.workload.layers if layer.has_weights]
    assert len(weighted) == 6  # the inputs of all steps at once, and the state of each step
    assert network.weight_bits == dict.fromkeys(weighted, 4)


def test_a_product_of_two_computed_matrices_has_no_stored_weights(tmp_path: Path) -> None:
    net = Net((1, 7, 16), opset=21)
    weights = net.op("DequantizeLinear", stored(net, TensorProto.INT4, 16, 16), net.constant(1.0))
    keys = net.op("MatMul", net.input, weights, name="keys")
    scores = net.op("MatMul", keys, net.op("Transpose", keys, perm=[0, 2, 1]), name="scores")
    network = network_from_onnx(net.exit(scores).save(tmp_path))
    assert network.weight_bits == {"keys": 4}
    assert [layer.has_weights for layer in network.workload.layers] == [True, False]


def two_products(folder: Path) -> Path:
    net = Net((1, 7, 16))
    hidden = packed(net)
    return net.exit(net.op("MatMul", hidden, net.weight(24, 16), name="plain")).save(folder)


def test_packed_weights_are_priced_at_their_own_width(tmp_path: Path) -> None:
    """24 x 16 weights of 4 bits and as many floats, which count 8: 4,608 bits instead of 6,144."""
    model, chip = two_products(tmp_path), "edge-tpu-quad"
    own = price_onnx(model, CostConfig(accelerator=chip))
    wide = price_onnx(model, CostConfig(accelerator=chip, weight_bits=8, branch_weight_bits=8))
    (need,) = own.report.memory[:1]
    assert wide.report.memory[0].needed_bits - need.needed_bits == 24 * 16 * 4
    assert own.report.stages[-1].energy_to_exit_pj < wide.report.stages[-1].energy_to_exit_pj
    (note,) = [text for text in own.report.warnings if "stores" in text]
    assert note.startswith("The file stores the weights of 1 branch layer(s) in 4 bits, and they are priced so.")
    (note,) = [text for text in wide.report.warnings if "stores" in text]
    assert note.endswith("in 4 bits; they are priced at 8, as the setting cost.branch_weight_bits says.")


def test_a_setting_that_is_its_default_counts_as_given(tmp_path: Path) -> None:
    model = two_products(tmp_path)
    given = with_settings(Config(), {"cost.branch_weight_bits": 8}).cost
    assert any("priced at 8" in text for text in price_onnx(model, given).report.warnings)
    assert any("priced so" in text for text in price_onnx(model, with_settings(Config(), {}).cost).report.warnings)
