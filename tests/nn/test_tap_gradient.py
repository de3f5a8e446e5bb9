"""Gradients of exits in the backbone, against shares worked out by hand."""

import pytest
import torch
from torch import Tensor, nn

from offramp.nn.network import EarlyExitNetwork
from offramp.nn.tap_gradient import TapGradient, split_gradient
from offramp.space.architecture import Architecture, ExitChoice, StageChoice

SLOPES = (3.0, 5.0, 7.0)


def gradient(mode: TapGradient) -> float:
    """The gradient of one feature that three exits read, whose losses have the slopes 3, 5 and 7."""
    features = torch.ones(1, requires_grad=True)
    loss, onward = torch.zeros(1), features
    for index, slope in enumerate(SLOPES):
        entering, onward = split_gradient(onward, mode, len(SLOPES) - 1 - index)
        loss = loss + slope * entering
    loss.sum().backward()
    return 0.0 if features.grad is None else float(features.grad)


def test_gradients_of_all_exits_add_up_by_default() -> None:
    assert gradient("full") == 15.0


def test_every_exit_has_the_same_share_in_equilibrium() -> None:
    # 1/3 of the first exit; 2/3 of what comes from behind, where the others have 1/2 each: (3 + 5 + 7) / 3.
    assert gradient("equilibrium") == pytest.approx(5.0)


def test_the_final_exit_alone_trains_the_backbone_where_branches_are_kept_out() -> None:
    features = torch.ones(1, requires_grad=True)
    entering, onward = split_gradient(features, "none", 1)
    (3.0 * entering + 7.0 * onward).sum().backward()
    assert features.grad is not None
    assert float(features.grad) == 7.0


@pytest.mark.parametrize("mode", ["full", "equilibrium", "none"])
def test_values_do_not_change(mode: TapGradient) -> None:
    features = torch.randn(4, requires_grad=True)
    for given in split_gradient(features, mode, 2):
        assert torch.equal(given, features)


class Slope(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, features: Tensor) -> Tensor:
        return self.slope * features.flatten(1)


def test_a_network_balances_its_exits() -> None:
    first = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(first.weight)
    stages = [first, nn.Identity(), nn.Identity()]
    architecture = Architecture(
        "toy", 1, (StageChoice(1, 1, (3,), (1,)),), (ExitChoice(0, "slope"), ExitChoice(1, "slope")), "slope"
    )
    network = EarlyExitNetwork(architecture, stages, [Slope(x) for x in SLOPES], (1, 1, 1), 1)
    network.tap_gradient = "equilibrium"
    torch.stack(network(torch.ones(1, 1, 1, 1))).sum().backward()
    assert first.weight.grad is not None
    assert first.weight.grad.item() == pytest.approx(5.0)
