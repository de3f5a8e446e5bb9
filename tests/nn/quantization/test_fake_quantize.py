"""Grids, rounding and gradients, against hand-worked values and against ATen's own learnable kernels."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from offramp.nn.quantization.fake_quantize import (
    ActivationGrid,
    IntegerRange,
    best_activation_grid,
    best_weight_steps,
    fake_quantize,
    fake_quantize_composed,
    gradient_scale,
    quantize,
    step_size,
    weight_range,
)

RANGES = [weight_range(bits) for bits in (2, 3, 4, 8)] + [weight_range(2, ternary=True), IntegerRange(0, 255)]


def random(*shape: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread


@pytest.mark.parametrize(
    ("bits", "ternary", "lower", "upper"),
    [(8, False, -128, 127), (4, False, -8, 7), (2, False, -2, 1), (2, True, -1, 1), (4, True, -8, 7)],
)
def test_the_range_of_weights(bits: int, ternary: bool, lower: int, upper: int) -> None:
    assert weight_range(bits, ternary=ternary) == IntegerRange(lower, upper)


def test_a_range_holds_zero_and_more() -> None:
    with pytest.raises(ValueError, match="got 1 to 3"):
        IntegerRange(1, 3)
    with pytest.raises(ValueError, match="got -3 to 0"):
        IntegerRange(-3, 0)
    assert IntegerRange(-8, 7).largest == 8
    assert IntegerRange(-1, 7).largest == 7


def test_values_go_to_the_nearest_multiple_halves_to_the_even_one() -> None:
    values = torch.tensor([0.24, 0.25, 0.26, 0.75, 1.25, -0.75, 9.0, -9.0])
    whole = quantize(values, torch.tensor(0.5), IntegerRange(-4, 3))
    assert whole.tolist() == [0.0, 0.0, 1.0, 2.0, 2.0, -2.0, 3.0, -4.0]
    on_grid = fake_quantize(values, torch.tensor(0.5), IntegerRange(-4, 3), 1.0)
    assert on_grid.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0, -1.0, 1.5, -2.0]


def test_ternary_weights_with_a_step_per_channel() -> None:
    weights = torch.tensor([[0.3, -0.9, 0.05], [4.0, -1.1, 0.9]])
    result = fake_quantize(weights, torch.tensor([0.2, 2.0]), weight_range(2, ternary=True), 1.0)
    torch.testing.assert_close(result, torch.tensor([[0.2, -0.2, 0.0], [2.0, -2.0, 0.0]]))


def test_a_step_is_positive_whatever_training_does_to_the_scale() -> None:
    assert step_size(torch.tensor([0.5, -0.5])).tolist() == [0.5, 0.5]
    assert float(step_size(torch.tensor(0.0))) > 0
    values = random(7)
    limits = weight_range(4)
    assert torch.equal(
        fake_quantize(values, torch.tensor(-0.3), limits, 1.0), fake_quantize(values, torch.tensor(0.3), limits, 1.0)
    )


def test_the_gradient_by_hand() -> None:
    # v = x / s = 0.4, 1.6, 5, -9 in -4..3: inside, inside, above, below.
    values = torch.tensor([0.2, 0.8, 2.5, -4.5], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    result = fake_quantize(values, scale, IntegerRange(-4, 3), 0.1)
    torch.autograd.backward(result, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert values.grad is not None
    assert scale.grad is not None
    assert values.grad.tolist() == [1.0, 2.0, 0.0, 0.0]
    # round(v) - v inside, the limit outside: 1 (0 - 0.4) + 2 (2 - 1.6) + 3 * 3 + 4 * (-4) = -6.6; times 0.1.
    assert float(scale.grad) == pytest.approx(-0.66, abs=1e-6)


def test_the_gradient_of_a_negative_scale_points_the_other_way() -> None:
    gradients = []
    for sign in (1.0, -1.0):
        scale = torch.tensor(0.3 * sign, requires_grad=True)
        torch.autograd.backward(fake_quantize(random(50), scale, weight_range(3), 1.0).square().sum())
        assert scale.grad is not None
        gradients.append(float(scale.grad))
    assert gradients[0] == pytest.approx(-gradients[1])
    assert gradients[0] != 0


@pytest.mark.parametrize("limits", RANGES, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_one_step_per_channel_agrees_with_aten(limits: IntegerRange, channels_last: bool) -> None:
    values = random(5, 4, 3, 3, spread=2.0)
    if channels_last:
        values = values.contiguous(memory_format=torch.channels_last)
    scale = random(5, seed=1).abs() + 0.05
    ours, theirs = both_ways(values, scale, limits, 0.25)
    for mine, aten in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, aten, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("limits", RANGES, ids=str)
def test_one_step_for_all_agrees_with_aten(limits: IntegerRange) -> None:
    values = random(4, 6, 5, 5, spread=3.0)
    ours, theirs = both_ways(values, torch.tensor(0.037), limits, 0.25)
    for mine, aten in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, aten, rtol=2e-5, atol=2e-4)


def both_ways(values: Tensor, scale: Tensor, limits: IntegerRange, factor: float) -> tuple[list[Tensor], list[Tensor]]:
    """Result, gradient of the values and gradient of the scale: ours, then those of ATen's learnable kernel."""
    lower, upper = limits.lower, limits.upper
    outcomes = []
    for aten in (False, True):
        x, s = values.clone().requires_grad_(), scale.clone().requires_grad_()
        if not aten:
            result = fake_quantize(x, s, limits, factor)
        elif scale.dim():
            zeros = torch.zeros_like(scale)
            result = torch._fake_quantize_learnable_per_channel_affine(x, s, zeros, 0, lower, upper, factor)
        else:
            flat = s.view(1)
            result = torch._fake_quantize_learnable_per_tensor_affine(x, flat, torch.zeros(1), lower, upper, factor)
        torch.autograd.backward((result * random(*values.shape, seed=2)).sum())
        assert x.grad is not None
        assert s.grad is not None
        outcomes.append([result.detach(), x.grad, s.grad])
    # ATen counts a value as inside by what it rounds to, the method by what it is: only the half step between differs.
    v = values / (scale.view(-1, *[1] * (values.dim() - 1)) if scale.dim() else scale)
    between = ((v > upper) & (v < upper + 0.5)) | ((v < lower) & (v > lower - 0.5))
    outcomes[1][1][between] = 0.0
    g = random(*values.shape, seed=2)
    # There its step gradient is round(v) - v = limit - v instead of the limit: put v back.
    extra = (g * v * between).flatten(1).sum(1) if scale.dim() else (g * v * between).sum()
    outcomes[1][2] = outcomes[1][2] + extra * factor
    return outcomes[0], outcomes[1]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("limits", RANGES, ids=str)
def test_plain_operators_with_limits_in_tensors_do_the_same(limits: IntegerRange, per_channel: bool) -> None:
    outcomes = []
    for composed in (False, True):
        values = random(6, 20, spread=2.0).requires_grad_()
        scale = (random(6, seed=3).abs() + 0.1 if per_channel else torch.tensor(0.21)).requires_grad_()
        if composed:
            lower, upper = torch.tensor(float(limits.lower)), torch.tensor(float(limits.upper))
            result = fake_quantize_composed(values, scale, lower, upper, 0.3)
        else:
            result = fake_quantize(values, scale, limits, 0.3)
        torch.autograd.backward((result * random(6, 20, seed=4)).sum())
        outcomes.append((result.detach(), values.grad, scale.grad))
    for fast, plain in zip(*outcomes, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)


def test_without_gradients_the_values_are_the_same() -> None:
    values, scale, limits = random(4, 9), random(4, seed=5).abs(), weight_range(4)
    trained = fake_quantize(values.requires_grad_(), scale.requires_grad_(), limits, 1.0)
    with torch.no_grad():
        assert torch.equal(fake_quantize(values, scale, limits, 1.0), trained)


def test_sixteen_bit_values_meet_the_exact_step() -> None:
    # As a bf16 number the step would be 0.10009765625, and 200 steps would be off by a fifth of a step.
    values = torch.tensor([20.0], dtype=torch.bfloat16, requires_grad=True)
    result = fake_quantize(values, torch.tensor(0.1, requires_grad=True), IntegerRange(0, 255), 1.0)
    assert result.dtype is torch.bfloat16
    assert result.tolist() == [20.0]


def test_the_gradient_scale_of_the_method() -> None:
    assert gradient_scale(100, weight_range(4)) == pytest.approx(1 / math.sqrt(700))


def test_weights_that_lie_on_a_grid_get_its_step() -> None:
    whole = torch.tensor([[-8.0, 7.0, 3.0, 1.0], [7.0, 0.0, 0.0, -8.0]])
    steps = best_weight_steps(whole * torch.tensor([[0.1], [0.004]]), weight_range(4))
    # Which ones are tried are 60 shares of the largest weight, the true one not among them.
    torch.testing.assert_close(steps, torch.tensor([0.1, 0.004]), rtol=0.03, atol=0.0)


def test_few_levels_leave_outliers_outside() -> None:
    weights = torch.cat([random(1, 400), torch.tensor([[8.0]])], dim=1)
    (step,) = best_weight_steps(weights, weight_range(2, ternary=True)).tolist()
    # About 1.2 is best for ternary normal weights; the range of all would be 8.
    assert 0.8 <= step < 2.0
    assert torch.isfinite(best_weight_steps(torch.zeros(3, 4), weight_range(4))).all()
    assert (best_weight_steps(torch.zeros(3, 4), weight_range(4)) > 0).all()


def test_activations_without_negatives_start_at_zero() -> None:
    grid = best_activation_grid(torch.arange(256.0) / 10, 8, unsigned=True)
    assert grid.zero_point == 0
    assert grid.step == pytest.approx(0.1, rel=1e-3)


def test_signed_activations_get_the_zero_point_that_fits() -> None:
    grid = best_activation_grid(torch.linspace(-1.0, 3.0, 1001), 8, unsigned=False)
    assert grid.step == pytest.approx(4 / 255, rel=0.05)
    assert grid.zero_point == pytest.approx(64, abs=2)


@pytest.mark.parametrize("values", [torch.zeros(5), torch.full((5,), -2.0), torch.full((5,), 1e-30)])
@pytest.mark.parametrize("unsigned", [True, False])
def test_degenerate_samples_give_a_usable_grid(values: Tensor, unsigned: bool) -> None:
    grid = best_activation_grid(values, 4, unsigned=unsigned)
    assert grid.step > 0
    assert 0 <= grid.zero_point < 15
    assert isinstance(grid, ActivationGrid)


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40),
    st.integers(2, 8),
    st.booleans(),
)
def test_a_chosen_grid_beats_the_one_that_spans_all(values: list[float], bits: int, unsigned: bool) -> None:
    sample = torch.tensor(values)
    if unsigned:
        sample = sample.abs()
    grid = best_activation_grid(sample, bits, unsigned=unsigned)
    low, high = min(0.0, float(sample.min())), max(0.0, float(sample.max()))
    top = 2**bits - 1
    if high - low < 1e-3:
        return
    span_step = (high - low) / top
    zero_point = min(round(-low / span_step), top - 1)

    def loss(step: float, zero: int) -> float:
        limits = IntegerRange(-zero, top - zero)
        return float((quantize(sample, torch.tensor(step), limits) * step - sample).square().sum())

    assert loss(grid.step, grid.zero_point) <= loss(span_step, zero_point) * (1 + 1e-4) + 1e-6
