"""The network without its early exits, and its multiply-accumulates, by hand."""

from typing import Any

import numpy as np
import pytest

from offramp.deploy.onnx.stage_graphs import joined_model
from offramp.deploy.onnx.static_model import count_macs, macs_to_exits, static_model
from offramp.deploy.onnx.value_names import IMAGES, exit_name
from offramp.deploy.runtime.graph_sessions import start_content
from offramp.nn.network import EarlyExitNetwork
from tests.deploy import toys


@pytest.fixture(scope="module")
def joined(models: list[Any]) -> Any:
    return joined_model(models)


def macs_by_hand() -> tuple[list[int], list[int]]:
    """Backbone stages and branches of the toy network: 3x3 convolutions of stride 2, then one of stride 1."""
    widths, height, width = (3, 6, 8, 10), 12, 10
    stages, branches = [], []
    for i in range(3):
        height, width = -(-height // 2), -(-width // 2)
        stages.append(height * width * 9 * (widths[i] + widths[i + 1]) * widths[i + 1])
        branches.append(widths[i + 1] * len(toys.CLASSES))
    return stages, branches


def test_macs_to_every_exit_charge_the_branches_on_the_way(joined: Any) -> None:
    stages, branches = macs_by_hand()
    assert macs_to_exits(joined) == tuple(sum(stages[: i + 1]) + sum(branches[: i + 1]) for i in range(3))


def test_the_static_model_has_the_backbone_and_one_classifier(joined: Any) -> None:
    stages, branches = macs_by_hand()
    static = static_model(joined)
    assert count_macs(static) == sum(stages) + branches[-1]
    assert [output.name for output in static.graph.output] == [exit_name(2)]
    assert len(static.graph.node) < len(joined.graph.node)
    assert not {"branch.3.weight"} & {tensor.name for tensor in static.graph.initializer}


def test_it_answers_as_the_final_exit(joined: Any, network: EarlyExitNetwork) -> None:
    inputs = toys.samples(6)
    session = start_content(static_model(joined).SerializeToString(), "static", 1)
    (found,) = session.run(None, {IMAGES: inputs})
    assert np.abs(found - toys.logits_of(network, inputs)[-1]).max() < 1e-4
