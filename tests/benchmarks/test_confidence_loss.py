"""The terms that confidences are trained by, worked out by hand."""

import math

import numpy as np
import pytest
import torch
from benchmarks.confidence_loss import (
    ConfidenceLossSettings,
    CostBound,
    Support,
    balanced_right_loss,
    class_accuracies,
    confidence_loss,
    confidence_step,
    leaving_probabilities,
)
from benchmarks.confident_network import ConfidentNetwork
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from offramp.errors import InputError
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, ExitChoice, StageChoice
from offramp.train.compute import Compute

NOTHING_BESIDE = ConfidenceLossSettings(right_weight=0.0, cost_weight=0.0, class_weight=0.0)


def network(num_early: int = 1) -> ConfidentNetwork:
    """Images of one pixel and two channels; every branch shows the two channels as logits."""
    branches = [nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)) for _ in range(num_early + 1)]
    for branch in branches:
        branch[1].weight.data = torch.eye(2)
    exits = tuple(ExitChoice(tap, "linear") for tap in range(num_early))
    architecture = Architecture(
        "toy", 1, (StageChoice(num_early + 1, 2, (1,) * (num_early + 1), (1,) * (num_early + 1)),), exits
    )
    stages = [nn.Identity() for _ in branches]
    return ConfidentNetwork(EarlyExitNetwork(architecture, stages, branches, (2, 1, 1), 2))


def outputs(unit: float, early: Tensor, final: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([early, torch.full((len(early), 1), unit)], dim=1), final


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_images_leave_somewhere(confidences: list[float]) -> None:
    leaving = leaving_probabilities(torch.tensor([confidences], dtype=torch.float64))[0]
    stays = 1.0
    for index, value in enumerate(confidences):
        assert leaving[index].item() == pytest.approx(stays * value, abs=1e-12)
        stays *= 1 - value
    assert leaving[-1].item() == pytest.approx(stays, abs=1e-12)


def test_cross_entropies_are_weighted_by_where_images_leave() -> None:
    even, sure = torch.zeros(1, 2), torch.tensor([[3.0, 0.0]])
    labels = torch.tensor([0])
    # Confidence sigmoid(log 3) = 3/4: three quarters of log 2, a quarter of log(1 + e^-3).
    loss = confidence_loss(outputs(math.log(3.0), even, sure), labels, NOTHING_BESIDE)
    assert loss.item() == pytest.approx(0.75 * math.log(2) + 0.25 * math.log(1 + math.exp(-3.0)), rel=1e-6)


def test_without_early_exits_it_is_plain_cross_entropy() -> None:
    loss = confidence_loss((torch.zeros(3, 2),), torch.tensor([0, 1, 1]), ConfidenceLossSettings())
    assert loss.item() == pytest.approx(math.log(2))


def test_right_and_wrong_images_weigh_the_same() -> None:
    confidences = torch.tensor([[0.8], [0.8], [0.8], [0.8]])
    right = torch.tensor([[True], [True], [True], [False]])
    # Whatever their number, half of the loss is of the right ones and half of the wrong ones.
    expected = -0.5 * math.log(0.8) - 0.5 * math.log(0.2)
    assert balanced_right_loss(confidences, right).item() == pytest.approx(expected, rel=1e-6)
    assert balanced_right_loss(confidences[:3], right[:3]).item() == pytest.approx(-0.5 * math.log(0.8), rel=1e-6)
    assert math.isfinite(balanced_right_loss(torch.tensor([[0.0]]), torch.tensor([[True]])).item())


def test_the_bound_on_costs_has_a_gradient() -> None:
    """The published term is taken out of the graph before it is used: no confidence learns from it."""
    bound = CostBound((10.0, 30.0), most=20.0)
    confidences = torch.tensor([[0.25], [0.25]], requires_grad=True)
    excess = bound.excess(leaving_probabilities(confidences))
    # Mean cost 0.25 * 10 + 0.75 * 30 = 25; above the bound by 5 of the 10 between it and the final exit.
    assert excess.item() == pytest.approx(0.5)
    excess.backward()
    assert confidences.grad is not None
    assert confidences.grad.flatten().tolist() == pytest.approx([-1.0, -1.0])


@pytest.mark.parametrize(("most", "confidence"), [(40.0, 0.0), (30.0, 0.0), (25.0, 0.9)])
def test_a_bound_that_is_kept_costs_nothing(most: float, confidence: float) -> None:
    leaving = leaving_probabilities(torch.tensor([[confidence]]))
    assert CostBound((10.0, 30.0), most).excess(leaving).item() == 0.0


@pytest.mark.parametrize("most", [0.0, -1.0, math.nan])
def test_a_bound_must_be_above_zero(most: float) -> None:
    with pytest.raises(InputError, match="above 0"):
        CostBound((1.0,), most)


def test_every_exit_is_drawn_to_its_own_accuracy() -> None:
    """Published, the targets are broadcast over exits, so that all learn their mean: .40, .60, .80, .95 become .69."""
    targets = torch.tensor([[0.40, 0.60, 0.80, 0.95]])
    units = torch.zeros(1, 4, requires_grad=True)
    settings = ConfidenceLossSettings(right_weight=0.0)
    optimizer = torch.optim.Adam([units], lr=0.05)
    for _ in range(1500):
        # Equal logits everywhere: the expected cross-entropy is the same wherever images leave.
        given_out = (*(torch.cat([torch.zeros(1, 2), units[:, i : i + 1]], dim=1) for i in range(4)), torch.zeros(1, 2))
        optimizer.zero_grad()
        confidence_loss(given_out, torch.tensor([0]), settings, targets).backward()
        optimizer.step()
    assert torch.sigmoid(units).detach()[0].tolist() == pytest.approx(targets[0].tolist(), abs=1e-3)


def test_class_accuracies_are_counted_per_class_and_leave_the_network_as_it_was() -> None:
    model = network(num_early=2).train()
    # Of class 0 one of two images is right, of class 1 the only one.
    images = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 1.0]]).view(3, 2, 1, 1)
    support = Support(images, torch.tensor([0, 0, 1]))
    assert class_accuracies(model, support).tolist() == [[0.5, 0.5], [1.0, 1.0]]
    assert model.training
    only_one = Support(images[:1], torch.tensor([0]))
    assert class_accuracies(model, only_one).tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_a_step_fills_gradients_and_measures_anew() -> None:
    model = network()
    images = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).view(2, 2, 1, 1)
    labels = torch.tensor([0, 0])
    support, rng = Support(images, labels), np.random.default_rng(0)
    step = confidence_step(model, ConfidenceLossSettings(), Compute(), support, refresh=2)
    losses = []
    for _ in range(3):
        losses.append(step(images, labels, rng).item())
        with torch.no_grad():
            # From here on the early exit is wrong about everything: its accuracies are 0, not 1/2.
            model.network.branches[0][1].weight[:2] = torch.tensor([[0.0, 0.0], [9.0, 9.0]])
    fresh = confidence_loss(model(images), labels, ConfidenceLossSettings(), torch.zeros(2, 1))
    stale = confidence_loss(model(images), labels, ConfidenceLossSettings(), torch.tensor([[0.5], [0.0]]))
    assert losses[1] == pytest.approx(stale.item())
    assert losses[2] == pytest.approx(fresh.item())
    assert losses[1] != pytest.approx(losses[2])
    assert all(p.grad is not None for p in model.parameters())
