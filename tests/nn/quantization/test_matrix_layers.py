"""One quantised convolution or linear layer: integers by hand, batch norm folded, the float64 definition beside it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.errors import UnsupportedLayerError
from offramp.nn.quantization.activation_layers import QuantizedIdentity, integers_of
from offramp.nn.quantization.fake_quantize import ActivationGrid, weight_range
from offramp.nn.quantization.integer_layers import to_integer
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer
from tests.nn.random_networks import Draw


def entry(step: float, zero_point: int, bits: int = 8) -> QuantizedIdentity:
    layer = QuantizedIdentity(bits, None, (None,))
    layer.set_grid_(ActivationGrid(step, zero_point))
    return layer.eval()


def linear(weight: list[list[float]], bias: list[float]) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer


def set_scales(layer: QuantizedMatrixLayer, weight: list[float], output: float | None = None) -> None:
    with torch.no_grad():
        assert layer.weight_scale is not None
        layer.weight_scale.copy_(torch.tensor(weight))
        if output is not None:
            assert layer.scale is not None
            layer.scale.fill_(output)


def test_a_linear_layer_by_hand() -> None:
    source = entry(0.5, 3)
    layer = QuantizedMatrixLayer(
        linear([[1.0, -0.6], [3.9, 0.1]], [0.3, -1.0]), None, nn.ReLU(), weight_range(4), 8, source
    )
    set_scales(layer, [0.25, 0.5], 0.125)
    layer.eval()
    whole = layer.integers()
    # 1 / 0.25 = 4, -0.6 / 0.25 = -2.4; 3.9 / 0.5 = 7.8 which 4 bits limit to 7, 0.1 / 0.5 = 0.2
    assert whole.weight.tolist() == [[4, -2], [7, 0]]
    # accumulator steps 0.5 * 0.25 and 0.5 * 0.5; 0.3 / 0.125 = 2.4 and -1 / 0.25 = -4
    assert whole.accumulator_step.tolist() == [0.125, 0.25]
    assert whole.bias.tolist() == [2, -4]
    assert whole.factor is not None
    assert whole.factor.as_float.tolist() == [1.0, 2.0]
    # inputs reach from -3 to 252
    assert whole.largest == max(6 * 252 + 2, 7 * 252 + 4)
    inputs = source(torch.tensor([[1.1, 0.4], [-9.0, 2.0]]))
    assert inputs.tolist() == [[1.0, 0.5], [-1.5, 2.0]]  # 2, 1 and -3 (the least), 4
    # sums: 4*2 - 2*1 + 2 = 8, 7*2 - 4 = 10; 4*(-3) - 2*4 + 2 = -18, 7*(-3) - 4 = -25
    with torch.no_grad():
        assert layer(inputs).tolist() == [[8 * 0.125, 20 * 0.125], [0.0, 0.0]]
    stored = to_integer(layer)(torch.tensor([[5, 4], [0, 7]], dtype=torch.uint8))
    assert stored.tolist() == [[8, 20], [0, 0]]


def test_logits_stay_as_wide_as_their_sums() -> None:
    source = entry(0.5, 0)
    layer = QuantizedMatrixLayer(linear([[1.0, -0.6]], [0.3]), None, None, weight_range(4), None, source)
    set_scales(layer, [0.25])
    layer.eval()
    with torch.no_grad():
        assert layer(torch.tensor([[100.0, 0.5]])).tolist() == [[(4 * 200 - 2 + 2) * 0.125]]


def test_negative_and_vanishing_batch_norm_weights() -> None:
    conv, norm = nn.Conv2d(2, 3, 1, bias=True), nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([-2.0, 0.0, 1.0]))
        norm.bias.copy_(torch.tensor([0.5, 1.5, -0.25]))
        norm.running_mean = torch.tensor([0.3, -0.2, 0.1])
        norm.running_var = torch.tensor([0.5, 2.0, 1.0])
    inputs = entry(0.01, 128)(torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0)) * 0.3)
    with torch.no_grad():
        before = nn.Sequential(copy.deepcopy(conv), copy.deepcopy(norm)).eval()(inputs)
    layer = QuantizedMatrixLayer(conv, norm, None, weight_range(8), 8, entry(0.01, 128))
    layer.set_grid_(ActivationGrid(0.02, 128))
    layer.eval()
    assert layer.norm_weight is not None
    assert layer.norm_weight.tolist() == [2.0, 0.0, 1.0]
    with torch.no_grad():
        after = layer(inputs)
    # 8-bit weights and outputs: half an output step, and what rounding the weights does.
    assert float((after - before.clamp(-2.56, 2.54)).abs().max()) < 0.03
    # A channel whose weights batch norm takes away still has its bias.
    assert after[:, 1].unique().tolist() == pytest.approx([1.5])


def random_layer(seed: int) -> tuple[QuantizedMatrixLayer, Tensor]:
    """A convolution of some form on some grid, and inputs that lie on it."""
    draw = Draw(seed)
    groups = draw.of(1, 4)
    conv = nn.Conv2d(4, 8, 3, draw.integer(1, 2), 1, groups=groups, bias=draw.coin())
    norm = nn.BatchNorm2d(8) if draw.coin() else None
    with torch.no_grad():
        conv.weight.copy_(torch.randn(conv.weight.shape, generator=draw.generator) * 0.3)
        if norm is not None:
            norm.weight.copy_(torch.randn(8, generator=draw.generator))
            norm.bias.copy_(torch.randn(8, generator=draw.generator))
            norm.running_mean = torch.randn(8, generator=draw.generator) * 0.2
            norm.running_var = torch.rand(8, generator=draw.generator) + 0.1
    bits = draw.integer(4, 8)
    source = entry(0.03, draw.integer(0, 2**bits - 2), bits)
    layer = QuantizedMatrixLayer(
        conv, norm, nn.ReLU() if draw.coin() else None, weight_range(draw.integer(2, 8)), draw.integer(4, 8), source
    )
    inputs = source(torch.randn(3, 4, 7, 7, generator=draw.generator) * 2)
    layer.observe_()
    with torch.no_grad():
        layer(inputs)
    layer.fit_()
    return layer.eval(), inputs


@pytest.mark.parametrize("seed", range(25))
def test_integers_stay_within_one_step_of_the_definition(seed: int) -> None:
    """The definition: real batch norm on real sums of quantised values, in float64, then one rounding.

    Integers differ from it by the rounding of the bias, at most half an accumulator step, and by float32 rounding of
    the factor, at most 2**-24 of the result. So results agree wherever the definition is farther than that from a half,
    and differ by at most one step where the accumulator's step is no larger than the output's.
    """
    layer, inputs = random_layer(seed)
    whole = layer.integers()
    assert layer.weight_scale is not None
    steps = layer.weight_scale.detach().double().view(-1, 1, 1, 1)
    assert layer.weight_limits is not None
    limits = layer.weight_limits
    weight = (layer.weight.detach().double() / steps).round().clamp(limits.lower, limits.upper) * steps
    bias = None if layer.bias is None else layer.bias.detach().double()
    total = F.conv2d(inputs.double(), weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    if layer.norm_weight is not None:
        assert layer.norm_bias is not None
        mean, var = layer.running_mean.double(), layer.running_var.double()
        norm_weight, norm_bias = layer.norm_weight.detach().double(), layer.norm_bias.detach().double()
        total = F.batch_norm(total, mean, var, norm_weight, norm_bias, False, 0.0, layer.eps)
    quotient = total / layer.step.double()
    defined = quotient.round().clamp(layer.limits.lower, layer.limits.upper)
    with torch.no_grad():
        integers = integers_of(layer(inputs), layer).double()
    error = 0.5 * whole.accumulator_step.double() / layer.step.double() + 1e-6 * quotient.abs().amax()
    from_half = 0.5 - (quotient - quotient.round()).abs()
    doubtful = from_half <= error.view(1, -1, 1, 1)
    assert torch.equal(integers[~doubtful], defined[~doubtful])
    assert float(doubtful.double().mean()) < 0.9
    small = error < 1.0
    assert float((integers - defined).abs()[:, small].max()) <= 1.0


def test_sums_that_may_not_fit_are_refused() -> None:
    wide = nn.Linear(10_000, 1)
    with torch.no_grad():
        wide.weight.fill_(1.0)
    layer = QuantizedMatrixLayer(wide, None, None, weight_range(8), 8, entry(0.1, 0))
    with pytest.raises(UnsupportedLayerError, match=r"10000 products of weights in -128..127 with inputs up to 255"):
        layer.integers()


def test_sums_beyond_float32_are_still_exact() -> None:
    # 255 * 127 * 600 = 19 431 000 > 2**24: float32 could not add them.
    wide = nn.Linear(600, 1, bias=False)
    with torch.no_grad():
        wide.weight.fill_(1.27)
    source = entry(1.0, 0)
    layer = QuantizedMatrixLayer(wide, None, None, weight_range(8), None, source)
    set_scales(layer, [0.01])
    layer.eval()
    inputs = torch.full((1, 600), 255.0)
    inputs[0, 0] = 254.0
    with torch.no_grad():
        result = layer(inputs)
    step = float(layer.integers().accumulator_step)
    assert float(result) == torch.tensor((19_431_000 - 127) * step).float()
    assert float(to_integer(layer)(inputs.to(torch.uint8))) == float(result)
