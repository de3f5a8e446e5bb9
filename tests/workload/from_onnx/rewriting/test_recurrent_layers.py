"""Recurrent layers are priced as the same steps written with other operators."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from offramp.errors import UnsupportedLayerError
from offramp.workload.graph import Layer
from offramp.workload.layer import Op
from tests.workload.from_onnx.onnx_samples import Net, workload_from_onnx

STEPS, INPUTS, UNITS = 5, 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layers(net: Net, output: str, tmp_path: Path) -> tuple[Layer, ...]:
    return workload_from_onnx(net.exit(output).save(tmp_path)).layers


def sequence(net: Net) -> str:
    """Time first, as ONNX wants it."""
    return net.op("Transpose", net.input, perm=[1, 0, 2])


def recurrent(net: Net, kind: str, directions: int = 1, **more: object) -> str:
    weights = [net.weight(directions, GATES[kind] * UNITS, size) for size in (INPUTS, UNITS)]
    if directions == 2:
        more["direction"] = "bidirectional"
    outputs = ["all", "last", "memory"][: 3 if kind == "LSTM" else 2]
    source = sequence(net)
    net.nodes.append(helper.make_node(kind, [source, *weights], outputs, name="cell", hidden_size=UNITS, **more))
    return "all"


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_each_step_multiplies_input_and_state_by_the_weights_of_all_gates(
    tmp_path: Path, kind: str, directions: int
) -> None:
    net = Net((1, STEPS, INPUTS))
    found = layers(net, recurrent(net, kind, directions), tmp_path)
    macs = directions * STEPS * GATES[kind] * UNITS * (INPUTS + UNITS)
    assert sum(layer.shape.macs for layer in found) == macs
    assert found[-1].shape.op is Op.CONCAT
    assert found[-1].shape.num_outputs == directions * STEPS * UNITS


def test_the_steps_of_an_lstm(tmp_path: Path) -> None:
    net = Net((1, STEPS, INPUTS))
    recurrent(net, "LSTM")
    found = layers(net, "last", tmp_path)
    ops = Counter(layer.shape.op for layer in found)
    # Gates and memory are sums, what is kept and the state are products. At the first step, where the memory is a
    # constant, memory and state are functions of the gates alone.
    assert ops == {Op.DENSE: 1 + STEPS, Op.ADD: 2 * STEPS - 1, Op.MULTIPLY: 2 * STEPS - 2}
    by_name = {layer.name: layer for layer in found}
    assert by_name["cell/0/3/recurrent"].inputs == ("cell/0/2/state",)
    assert by_name["cell/0/3/gates"].shape.num_outputs == 4 * UNITS
    assert by_name["cell/0/3/state"].shape.num_outputs == UNITS


def test_a_recurrent_layer_costs_what_its_steps_cost_when_they_are_written_out(tmp_path: Path) -> None:
    net = Net((1, STEPS, INPUTS))
    recurrent(net, "RNN")
    found = [layer.shape for layer in layers(net, "last", tmp_path)]
    net = Net((1, STEPS, INPUTS))
    products = net.op("MatMul", sequence(net), net.weight(INPUTS, UNITS))
    steps = [net.op("Gather", products, net.constant(step, np.int64), axis=0) for step in range(STEPS)]
    state = steps[0]
    for step in steps:
        state = net.op("Tanh", net.op("Add", step, net.op("MatMul", state, net.weight(UNITS, UNITS))))
    assert found == [layer.shape for layer in layers(net, state, tmp_path)]


@pytest.mark.parametrize("first", [0, 1])
def test_a_gru_may_reset_before_or_after_its_product(tmp_path: Path, first: int) -> None:
    net = Net((1, STEPS, INPUTS))
    found = layers(net, recurrent(net, "GRU", linear_before_reset=first), tmp_path)
    products = [layer for layer in found if layer.shape.op is Op.DENSE]
    assert len(products) == 1 + (1 if first else 2) * STEPS


def test_too_many_steps_are_refused(tmp_path: Path) -> None:
    net = Net((1, 5000, INPUTS))
    with pytest.raises(UnsupportedLayerError, match=r"cell \(RNN\) has 5000 steps; at most 2048"):
        layers(net, recurrent(net, "RNN"), tmp_path)
