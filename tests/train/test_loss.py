"""Losses worked out by hand."""

import math

import numpy as np
import pytest
import torch

from offramp.train.loss import LossSettings, balanced_weights, distillation, multi_exit_loss, sample_weights

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


# Probabilities of class 0: 9/10 for the first sample, 6/10 for the second.
UNSURE = torch.tensor([[math.log(9.0), 0.0], [math.log(1.5), 0.0]])


def test_samples_that_reach_an_exit_count_more_there() -> None:
    # 1 - c is 0.1 and 0.4, with the mean 0.25: (1 + 0.1 / 0.25) / 2 and (1 + 0.4 / 0.25) / 2.
    assert sample_weights([UNSURE], LABELS, "reaching").tolist() == pytest.approx([0.7, 1.3])
    # Behind two such exits 0.01 and 0.16 are left, with the mean 0.085.
    expected = [(1 + 0.01 / 0.085) / 2, (1 + 0.16 / 0.085) / 2]
    assert sample_weights([UNSURE, UNSURE], LABELS, "reaching").tolist() == pytest.approx(expected)


def test_boosting_weighs_by_the_error_of_the_exit_just_before() -> None:
    # The labels 0 and 1 have the probabilities 9/10 and 4/10: errors 0.1 and 0.6, with the mean 0.35.
    expected = [(1 + 0.1 / 0.35) / 2, (1 + 0.6 / 0.35) / 2]
    assert sample_weights([EVEN, UNSURE], LABELS, "boosting").tolist() == pytest.approx(expected)


@pytest.mark.parametrize("weighting", ["equal", "reaching", "boosting"])
def test_the_first_exit_and_exits_that_nobody_reaches_weigh_samples_alike(weighting: str) -> None:
    certain = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert sample_weights([], LABELS, weighting).tolist() == [1.0, 1.0]  # type: ignore[arg-type]
    assert sample_weights([certain], LABELS, weighting).tolist() == [1.0, 1.0]  # type: ignore[arg-type]


def test_the_loss_of_a_later_exit_is_weighted_by_who_reaches_it() -> None:
    # The final exit gives the labels the probabilities 8/10 and 5/10.
    final = torch.tensor([[math.log(4.0), 0.0], [0.0, 0.0]])
    settings = LossSettings(distillation_weight=0.0, sample_weighting="reaching")
    first = (math.log(10 / 9) + math.log(10 / 4)) / 2
    second = (0.7 * math.log(10 / 8) + 1.3 * math.log(2)) / 2
    assert multi_exit_loss([UNSURE, final], LABELS, settings).item() == pytest.approx(first + second)


def test_sample_weights_and_class_weights_multiply() -> None:
    settings = LossSettings(distillation_weight=0.0, sample_weighting="reaching", class_weights=(1.0, 3.0))
    final = torch.tensor([[math.log(4.0), 0.0], [0.0, 0.0]])
    first = (math.log(10 / 9) + 3 * math.log(10 / 4)) / 4
    second = (0.7 * math.log(10 / 8) + 3 * 1.3 * math.log(2)) / (0.7 + 3 * 1.3)
    assert multi_exit_loss([UNSURE, final], LABELS, settings).item() == pytest.approx(first + second)


def test_the_weights_hold_for_distillation_too() -> None:
    settings = LossSettings(distillation_weight=1.0, sample_weighting="reaching")
    teacher = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    each = [distillation(EVEN[:1], teacher[i : i + 1], 1.0).item() for i in range(2)]
    first = distillation(UNSURE, teacher, 1.0).item()
    loss = multi_exit_loss([UNSURE, EVEN], LABELS, settings, teacher)
    assert loss.item() == pytest.approx(first + (0.7 * each[0] + 1.3 * each[1]) / 2, rel=1e-5)


def test_equal_sample_weights_are_the_loss_without_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(5, 3, generator=generator) for _ in range(3)]
    labels = torch.tensor([0, 1, 2, 1, 0])
    ones = torch.ones(5)
    assert distillation(logits[0], logits[1], 2.0, ones).item() == pytest.approx(
        distillation(logits[0], logits[1], 2.0).item(), rel=1e-6
    )
    # The first exit has the weights 1, so that "reaching" changes nothing for a network of one exit.
    assert multi_exit_loss(logits[:1], labels, LossSettings(sample_weighting="reaching")).item() == pytest.approx(
        multi_exit_loss(logits[:1], labels, LossSettings()).item(), rel=1e-6
    )


def test_early_exits_learn_from_the_mean_of_the_exits_behind_them() -> None:
    settings = LossSettings(distillation_weight=1.0, later_exits_teach=True)
    middle, final = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 4.0]])
    # Behind the first exit the mean of (2, 0) and (0, 4) is (1, 2); behind the second one there is the final exit.
    expected = (
        distillation(EVEN, torch.tensor([[1.0, 2.0], [1.0, 2.0]]), 1.0)
        + distillation(middle, final, 1.0)
        + (math.log(1 + math.exp(4.0)) + math.log(1 + math.exp(-4.0))) / 2
    )
    loss = multi_exit_loss([EVEN, middle, final], LABELS, settings)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_given_teacher_takes_the_place_of_later_exits() -> None:
    teacher = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    logits = [EVEN, torch.tensor([[3.0, 0.0], [1.0, 0.0]])]
    plain, later = LossSettings(), LossSettings(later_exits_teach=True)
    assert multi_exit_loss(logits, LABELS, plain, teacher) == multi_exit_loss(logits, LABELS, later, teacher)


def test_the_backbone_alone_and_the_exits_after_it_add_up_to_all() -> None:
    logits = [UNSURE, EVEN, torch.tensor([[2.0, 0.0], [0.0, 2.0]])]
    every, final, early = (
        multi_exit_loss(logits, LABELS, LossSettings(trained_exits=part)).item()  # type: ignore[arg-type]
        for part in ("all", "final", "early")
    )
    assert final == pytest.approx(math.log(1 + math.exp(-2.0)))
    assert every == pytest.approx(final + early)
    # A network without early exits has nothing else to train.
    assert multi_exit_loss(logits[:1], LABELS, LossSettings(trained_exits="early")).item() > 0
