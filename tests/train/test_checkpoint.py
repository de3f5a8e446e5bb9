"""Checkpoints hold every tensor a module may have, however it lies in memory, and give all of them back."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from offramp.train.checkpoint import LoopState, load_checkpoint, save_checkpoint
from offramp.train.compute import Compute

STATE = LoopState(3, 0.5, (1.5, 1.25, 1.0))


class TwoConvolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(self.first(images))
        return result


def one_layer_twice() -> TwoConvolutions:
    module = TwoConvolutions()
    module.second = module.first
    return module


def tied_weights() -> TwoConvolutions:
    module = TwoConvolutions()
    module.second.weight = module.first.weight
    return module


def tied_memory() -> TwoConvolutions:
    module = TwoConvolutions()
    module.second.weight.data = module.first.weight.data
    return module


def a_view_of_another_tensor() -> TwoConvolutions:
    module = TwoConvolutions()
    module.register_buffer("some_channels", module.first.weight.data[1:3])
    return module


def transposed() -> TwoConvolutions:
    module = TwoConvolutions()
    module.matrix = nn.Parameter(torch.randn(5, 3).t())
    return module


def an_empty_and_a_single_number() -> TwoConvolutions:
    module = TwoConvolutions()
    module.register_buffer("nothing", torch.zeros(0))
    module.register_buffer("number", torch.tensor(7))
    return module


MODULES = (
    one_layer_twice,
    tied_weights,
    tied_memory,
    a_view_of_another_tensor,
    transposed,
    an_empty_and_a_single_number,
)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("build", MODULES)
def test_every_memory_layout_comes_back(build: Callable[[], nn.Module], channels_last: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Compute(channels_last=channels_last).place(build())
    expected = {name: value.clone() for name, value in module.state_dict().items()}
    other = copy.deepcopy(module)
    with torch.no_grad():
        for value in (*other.parameters(), *other.buffers()):
            value.zero_()
    save_checkpoint(tmp_path / "weights.safetensors", module, None, STATE)
    assert load_checkpoint(tmp_path / "weights.safetensors", other) == STATE
    found = other.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("build", [one_layer_twice, tied_weights])
def test_training_goes_on_with_the_momentum_of_shared_weights(
    build: Callable[[], TwoConvolutions], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = Compute().place(build())
    images = Compute().place_images(torch.randn(2, 4, 5, 5))

    def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()

    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    step(module, optimizer)
    save_checkpoint(tmp_path / "weights.safetensors", module, optimizer, STATE)
    resumed = Compute().place(build())
    its_optimizer = torch.optim.SGD(resumed.parameters(), 0.1, momentum=0.9)
    load_checkpoint(tmp_path / "weights.safetensors", resumed, its_optimizer)
    assert isinstance(resumed, TwoConvolutions)
    assert resumed.first.weight is resumed.second.weight
    step(module, optimizer)
    step(resumed, its_optimizer)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-7)
