"""Losses worked out by hand."""

import math

import numpy as np
import pytest
import torch

from offramp.train.loss import LossSettings, balanced_weights, distillation, multi_exit_loss

LABELS = torch.tensor([0, 1])
# Two classes with equal logits: cross-entropy log 2 for every sample.
EVEN = torch.zeros(2, 2)


def test_one_exit_is_plain_cross_entropy() -> None:
    assert multi_exit_loss([EVEN], LABELS, LossSettings()).item() == pytest.approx(math.log(2))


def test_early_exits_are_added() -> None:
    settings = LossSettings(distillation_weight=0.0)
    loss = multi_exit_loss([EVEN, EVEN, EVEN], LABELS, settings)
    assert loss.item() == pytest.approx(3 * math.log(2))


@pytest.mark.parametrize("weight", [0.25, 1.0, 2.0])
def test_early_exits_count_by_their_weight(weight: float) -> None:
    settings = LossSettings(distillation_weight=0.0, early_exit_weight=weight)
    # Two early exits at log 2 each; the final one is right with probability 1 / (1 + e^-2) for both samples.
    final = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    expected = math.log(1 + math.exp(-2.0)) + weight * 2 * math.log(2)
    assert multi_exit_loss([EVEN, EVEN, final], LABELS, settings).item() == pytest.approx(expected)


def test_distillation_is_zero_for_equal_logits_and_known_for_two_classes() -> None:
    logits = torch.tensor([[1.0, 3.0]])
    assert distillation(logits, logits, 2.0).item() == pytest.approx(0.0, abs=1e-7)
    # Teacher (1/2, 1/2) against student sigmoid(+-1) at temperature 2 and logit difference 2.
    high = 1 / (1 + math.exp(-1.0))
    expected = 4.0 * (0.5 * math.log(0.5 / high) + 0.5 * math.log(0.5 / (1 - high)))
    assert distillation(logits, torch.zeros(1, 2), 2.0).item() == pytest.approx(expected, rel=1e-6)


def test_the_weight_mixes_labels_and_teacher() -> None:
    settings = LossSettings(distillation_weight=0.25, temperature=1.0)
    teacher = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    loss = multi_exit_loss([EVEN], LABELS, settings, teacher)
    soft = distillation(EVEN, teacher, 1.0).item()
    assert loss.item() == pytest.approx(0.75 * math.log(2) + 0.25 * soft, rel=1e-6)


def test_no_gradient_reaches_the_teacher() -> None:
    early = torch.randn(4, 3, requires_grad=True)
    final = torch.randn(4, 3, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0])
    settings = LossSettings(distillation_weight=1.0)
    multi_exit_loss([early, final], labels, settings).backward()
    alone = final.detach().clone().requires_grad_()
    multi_exit_loss([alone], labels, settings).backward()
    assert early.grad is not None
    assert early.grad.abs().sum() > 0
    assert final.grad is not None
    assert alone.grad is not None
    assert torch.allclose(final.grad, alone.grad)


def test_bf16_logits_give_a_float_loss() -> None:
    assert multi_exit_loss([EVEN.bfloat16(), EVEN.bfloat16()], LABELS, LossSettings()).dtype == torch.float32


def test_balanced_weights_make_all_classes_count_the_same() -> None:
    # Six samples of class 0, two of class 1, none of class 2: 8 / (2 * 6), 8 / (2 * 2).
    weights = balanced_weights(np.array([0] * 6 + [1] * 2), 3)
    assert weights == pytest.approx((2 / 3, 2.0, 1.0))
    assert 6 * weights[0] == pytest.approx(2 * weights[1])


def test_class_weights_are_factors_of_the_cross_entropy() -> None:
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    right, wrong = math.log(1 + math.exp(-2.0)), math.log(1 + math.exp(2.0))
    settings = LossSettings(distillation_weight=0.0, class_weights=(1.0, 3.0))
    assert multi_exit_loss([logits], LABELS, settings).item() == pytest.approx((right + 3 * wrong) / 4)
