"""Pruning by magnitude: the schedule, what is pruned and stays so, and what is counted afterwards."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from offramp.deadline import Deadline
from offramp.errors import Interrupted
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import convert_, prepare_
from offramp.nn.weight_pruning import (
    RAMP,
    WeightPruner,
    kept_weights,
    matrix_layers,
    measured_densities,
    planned_densities,
    prunable_layers,
)
from offramp.train.loss import LossSettings
from offramp.train.supernet_training import plain_step
from tests.nn.random_networks import random_network
from tests.train.test_trainer import COMPUTE, Note, TwoExits, make_loop


def test_the_schedule_is_the_cubic_one() -> None:
    pruner = WeightPruner(TwoExits(), 0.2)
    assert pruner.density_at(0.0) == 1.0
    # Half way 1 - 0.8 * (1 - 1/8) of the weights are left.
    assert pruner.density_at(RAMP / 2) == pytest.approx(0.3)
    assert pruner.density_at(RAMP) == pruner.density_at(1.0) == 0.2


@pytest.mark.parametrize(("count", "density", "kept"), [(36, 0.25, 9), (10, 0.05, 1), (10, 0.001, 1), (7, 0.5, 4)])
def test_at_least_one_weight_is_left(count: int, density: float, kept: int) -> None:
    assert kept_weights(count, density) == kept


def test_the_smallest_weights_go_and_never_come_back() -> None:
    layer = nn.Linear(5, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[5.0, -4.0, 3.0, -2.0, 1.0], [0.5, -6.0, 7.0, -8.0, 9.0]]))
    pruner = WeightPruner(layer, 0.3)
    pruner.begin(0.0)
    pruner.after_step(0.0)
    assert layer.weight.count_nonzero() == 10
    pruner.after_step(RAMP / 2)  # 1 - 0.7 * 7/8 = 0.3875
    assert layer.weight.tolist() == [[0.0, 0.0, 0.0, 0.0, 0.0], [0.0, -6.0, 7.0, -8.0, 9.0]]
    with torch.no_grad():
        layer.weight += 100.0
        layer.weight[1, 4] = 0.01
    pruner.after_step(RAMP)
    assert layer.weight.tolist() == [[0.0] * 5, [0.0, 94.0, 107.0, 92.0, 0.0]]
    with torch.no_grad():
        layer.weight += 1.0
    pruner.after_step(1.0)
    assert layer.weight.count_nonzero() == 3


def test_depthwise_and_frozen_layers_are_left_alone() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(1, 4, 3),
        nn.Conv2d(4, 8, 3, groups=2),
        nn.Linear(3, 2),
        nn.BatchNorm2d(2),
    )
    assert [layer.name for layer in matrix_layers(network)] == ["0", "1", "2", "3"]
    assert [layer.name for layer in prunable_layers(network)] == ["1", "2", "3"]
    network[3].requires_grad_(False)
    assert planned_densities(network, 0.5) == {"1": 0.5, "2": 0.5}


def pruned_training(
    network: nn.Module, checkpoint: Path | None = None, *, stop_after: int = 10**9, resume: bool = False
) -> None:
    loop = make_loop(network, 6, checkpoint)
    step, calls = plain_step(network, LossSettings(), COMPUTE), [0]

    def counted(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        calls[0] += 1
        if calls[0] > stop_after:
            raise KeyboardInterrupt
        return step(images, labels, rng)

    loop.run(counted, Note(), resume=resume, rule=WeightPruner(network, 0.25))


def test_a_trained_network_has_the_density_that_was_asked_for() -> None:
    network = TwoExits()
    pruned_training(network)
    assert measured_densities(network) == {"body": 9 / 36, "first": 32 / 128, "second": 32 / 128}
    assert measured_densities(network) == planned_densities(network, 0.25)


@pytest.mark.parametrize("stop_after", [6, 14, 22])
def test_a_resumed_pruning_equals_an_undisturbed_one(tmp_path: Path, stop_after: int) -> None:
    """4 batches an epoch: stopped early, in the middle and behind the ramp."""
    whole, part, fresh = TwoExits(), TwoExits(), TwoExits()
    pruned_training(whole)
    with pytest.raises(Interrupted):
        pruned_training(part, tmp_path / "c.safetensors", stop_after=stop_after)
    pruned_training(fresh, tmp_path / "c.safetensors", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name


def test_a_training_cut_short_by_its_deadline_is_pruned_all_the_same(tmp_path: Path) -> None:
    network = TwoExits()
    loop = make_loop(network, None, deadline=Deadline(0.0, 1.0))
    loop.run(plain_step(network, LossSettings(), COMPUTE), Note(), rule=WeightPruner(network, 0.25))
    assert measured_densities(network) == planned_densities(network, 0.25)


def pruned_and_prepared(bits: int) -> EarlyExitNetwork:
    network = random_network(3, bits=(bits, 8, bits, 8))
    names = {layer.name for layer in prunable_layers(network)}
    prepare_(network, [torch.rand(8, *network.input_shape)])
    assert {layer.name for layer in prunable_layers(network)} == names
    pruner = WeightPruner(network, 0.5)
    pruner.begin(0.0)
    pruner.after_step(1.0)
    return network


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_pruned_weights_are_zero_as_integers_and_the_deployed_ones_are_counted(bits: int) -> None:
    network = pruned_and_prepared(bits)
    planned, counted = planned_densities(network, 0.5), measured_densities(network)
    assert planned
    # Small weights round to zero as well: there are never more left than were kept.
    assert all(0 < counted[name] <= planned[name] for name in planned)
    if bits == 2:
        assert any(counted[name] < planned[name] for name in planned)
    pruned = {layer.name: layer.weight == 0 for layer in prunable_layers(network)}
    convert_(network.eval())
    integers = {name: buffer for name, buffer in network.named_buffers() if name.rsplit(".", 1)[0] in pruned}
    weights = {name.rsplit(".", 1)[0]: value for name, value in integers.items() if name.endswith("weight")}
    assert set(weights) == set(pruned)
    for name, weight in weights.items():
        assert not weight[pruned[name]].any()
        assert int(weight.count_nonzero()) / weight.numel() == counted[name]
