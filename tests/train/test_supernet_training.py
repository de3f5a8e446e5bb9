"""The sandwich rule: which networks a step trains, and who teaches whom."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.backbone import BACKBONES
from offramp.nn.supernet.supernet import Supernet
from offramp.nn.tap_gradient import TapGradient
from offramp.space.architecture import Architecture
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.train.compute import Compute
from offramp.train.loss import LossSettings, distillation, multi_exit_loss
from offramp.train.supernet_training import plain_step, sandwich_step

BRANCHES = ("pool_linear", "conv")
SHAPE = (1, 8, 8)


def small_supernet() -> tuple[Supernet, EarlyExitSpace]:
    backbone = BACKBONES.get("resnet").space(SHAPE)
    return Supernet(backbone, BRANCHES, SHAPE, 3, seed=0), EarlyExitSpace(backbone, BRANCHES, max_exits=2)


def some_batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, *SHAPE), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("random_subnets", [0, 2])
def test_a_step_trains_the_largest_the_smallest_and_random_ones(
    random_subnets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet, space = small_supernet()
    seen: list[Architecture] = []
    activate = supernet.activate
    monkeypatch.setattr(supernet, "activate", lambda a: (seen.append(a), activate(a))[1])
    step = sandwich_step(supernet, space, LossSettings(), Compute(), random_subnets=random_subnets)
    images, labels = some_batch()
    step(images, labels, np.random.default_rng(0))
    assert len(seen) == 2 + random_subnets
    assert seen[0].stages == space.max_architecture().stages
    assert seen[1].stages == space.min_architecture().stages
    for architecture in seen:
        assert tuple(choice.tap for choice in architecture.exits) == space.active_taps(architecture)


def test_full_widths_are_those_of_all_trained_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet, space = small_supernet()
    seen: list[Architecture] = []
    activate = supernet.activate
    monkeypatch.setattr(supernet, "activate", lambda a: (seen.append(a), activate(a))[1])
    step = sandwich_step(supernet, space, LossSettings(), Compute(), random_subnets=3, full_widths=True)
    step(*some_batch(), np.random.default_rng(0))
    widest = [max(stage.widths) for stage in space.backbone.stages]
    assert [[stage.width for stage in item.stages] for item in seen] == [widest] * 5
    assert len({tuple(stage.depth for stage in item.stages) for item in seen}) > 1
    assert space.has_elastic_widths


def test_the_reported_loss_is_that_of_the_largest_network() -> None:
    supernet, space = small_supernet()
    images, labels = some_batch()
    losses = LossSettings()
    step = sandwich_step(supernet, space, losses, Compute(), random_subnets=0)
    supernet.eval()
    reported = step(images, labels, np.random.default_rng(3))
    supernet.activate(space.with_all_exits(space.max_architecture(), np.random.default_rng(3)))
    assert reported.item() == pytest.approx(multi_exit_loss(supernet(images), labels, losses).item(), rel=1e-5)


def test_every_part_gets_a_gradient_over_a_few_steps() -> None:
    supernet, space = small_supernet()
    step = sandwich_step(supernet, space, LossSettings(), Compute(), random_subnets=1)
    images, labels = some_batch()
    rng = np.random.default_rng(0)
    for _ in range(12):
        step(images, labels, rng)
    without = [name for name, p in supernet.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    # Branches at the last slot can only be used where that slot is not the last active block.
    assert len(without) < 0.1 * len(list(supernet.named_parameters())), without


def test_the_same_generator_gives_the_same_gradients() -> None:
    images, labels = some_batch()
    gradients = []
    for _ in range(2):
        supernet, space = small_supernet()
        sandwich_step(supernet, space, LossSettings(), Compute(), random_subnets=2)(
            images, labels, np.random.default_rng(4)
        )
        gradients.append(torch.cat([p.grad.flatten() for p in supernet.parameters() if p.grad is not None]))
    assert torch.equal(*gradients)


def test_a_plain_step_leaves_the_gradient_of_the_multi_exit_loss() -> None:
    supernet, space = small_supernet()
    network = supernet.extract(space.with_all_exits(space.min_architecture(), np.random.default_rng(0))).eval()
    images, labels = some_batch()
    loss = plain_step(network, LossSettings(), Compute())(images, labels, np.random.default_rng(0))
    parameters = list(network.parameters())
    expected = torch.autograd.grad(multi_exit_loss(network(images), labels, LossSettings()), parameters)
    assert loss.item() == pytest.approx(multi_exit_loss(network(images), labels, LossSettings()).item(), rel=1e-6)
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_a_teacher_in_evaluation_mode_teaches_all_exits_and_does_not_learn() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 1])
    network, teacher = TwoExits(), TwoExits()
    teacher.train()
    losses = LossSettings(distillation_weight=0.25)
    with torch.no_grad():
        hints = teacher.eval()(images)[-1]
    early, final = network(images)
    hard = F.cross_entropy(early, labels) + F.cross_entropy(final, labels)
    soft = distillation(early, hints, 1.0) + distillation(final, hints, 1.0)
    teacher.train()
    loss = plain_step(network, losses, Compute(), teacher)(images, labels, np.random.default_rng(0))
    wanted = (0.75 * hard + 0.25 * soft).detach()
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in network.parameters())


class TwoExits(nn.Module):
    """Two classifiers of the pixels; the teacher's batch norm tells whether it was in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.early, self.final = nn.Linear(64, 3), nn.Linear(64, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        values = self.norm(images).flatten(1)
        return self.early(values), self.final(values)


def test_the_backbone_is_trained_alone_and_the_exits_on_it_as_it_is() -> None:
    """The first phase has no gradient for early exits, the second none for the backbone and the final classifier."""
    supernet, space = small_supernet()
    for part, trained in (("final", {"backbone", "final"}), ("early", {"taps"})):
        supernet.zero_grad(set_to_none=True)
        losses = LossSettings(trained_exits=part)  # type: ignore[arg-type]
        step = sandwich_step(supernet, space, losses, Compute(), random_subnets=1)
        assert step(*some_batch(), np.random.default_rng(0)) > 0
        with_gradient = {name.split(".")[0] for name, item in supernet.named_parameters() if item.grad is not None}
        assert with_gradient == trained


def test_exits_share_the_gradient_of_a_supernet_equally() -> None:
    """With branches whose loss is all there is, the first block has the mean gradient in place of the sum."""
    supernet, space = small_supernet()
    architecture = space.with_all_exits(space.max_architecture(), np.random.default_rng(0))
    images, _ = some_batch()
    stem = next(supernet.backbone.parameters())

    def gradient(mode: TapGradient) -> Tensor:
        supernet.zero_grad(set_to_none=True)
        supernet.activate(architecture)
        supernet.tap_gradient = mode
        logits = supernet.eval()(images)
        torch.stack([item.square().sum() for item in logits]).sum().backward()
        assert stem.grad is not None
        return stem.grad

    full, equal = gradient("full"), gradient("equilibrium")
    assert torch.allclose(equal * (len(architecture.exits) + 1), full, rtol=1e-3, atol=1e-5)
    assert full.abs().sum() > 0
