"""Learned steps per bit width within elastic layers, chosen at every step of training."""

from collections.abc import Callable

import pytest
import torch

from offramp.nn.elastic.elastic_layers import ElasticConvNorm, ElasticLinear
from offramp.nn.elastic.elastic_quantizer import (
    ActivationQuantizer,
    QuantizerFormats,
    WeightQuantizer,
    choose_activations,
    choose_weights,
)
from offramp.nn.quantization.fake_quantize import IntegerRange, best_weight_steps, quantize
from offramp.space.architecture import Precision

FLOAT, EIGHT, FOUR, TERNARY = Precision(32, 32), Precision(8, 8), Precision(4, 4), Precision(2, 8, ternary=True)
CHOICES = (FLOAT, EIGHT, FOUR, TERNARY)


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def conv_norm() -> ElasticConvNorm:
    torch.manual_seed(0)
    layer = ElasticConvNorm(3, 6, 3)
    layer.make_quantizable_(QuantizerFormats(CHOICES))
    return layer


def test_formats_are_counted_once() -> None:
    formats = QuantizerFormats(CHOICES)
    assert formats.weights == (IntegerRange(-128, 127), IntegerRange(-8, 7), IntegerRange(-1, 1))
    assert formats.activations == (8, 4)
    assert QuantizerFormats((FLOAT,)).for_weights(3) is None
    assert QuantizerFormats((FLOAT,)).for_activations() is None


def test_weights_take_the_chosen_format_and_leading_steps() -> None:
    quantizer = WeightQuantizer((IntegerRange(-8, 7), IntegerRange(-1, 1)), 6)
    weight = values(6, 3, 3, 3)
    choose_weights(quantizer, TERNARY)
    active = weight[:4, :2]
    got = quantizer(active, weight)
    steps = best_weight_steps(weight, IntegerRange(-1, 1))
    assert torch.equal(quantizer.scales[1].detach(), steps)
    expected = quantize(active, steps[:4].view(-1, 1, 1, 1), IntegerRange(-1, 1)) * steps[:4].view(-1, 1, 1, 1)
    torch.testing.assert_close(got.detach(), expected)
    assert not bool(quantizer.fitted[0])
    choose_weights(quantizer, FLOAT)
    assert quantizer(active, weight) is active


def test_steps_are_fitted_once_and_learned_from_then_on() -> None:
    quantizer = ActivationQuantizer((8, 4))
    choose_activations(quantizer, 4)
    quantizer(values(8, 3, 4, 4))
    before = quantizer.scales[1].detach().clone()
    outputs = quantizer(values(8, 3, 4, 4, seed=1) * 9.0)
    assert torch.equal(quantizer.scales[1].detach(), before)
    torch.autograd.backward(outputs.square().sum())
    assert quantizer.scales[1].grad is not None
    assert float(quantizer.scales[1].grad.abs()) > 0
    assert quantizer.scales[0].grad is None
    assert len(outputs.detach().unique()) <= 16


def test_values_that_cannot_be_negative_use_all_levels() -> None:
    quantizer = ActivationQuantizer((4,))
    choose_activations(quantizer, 4)
    quantizer(values(8, 3, 4, 4).relu())
    assert quantizer.limits(0) == IntegerRange(0, 15)
    other = ActivationQuantizer((4,))
    choose_activations(other, 4)
    other(values(8, 3, 4, 4))
    assert other.limits(0).lower < 0 < other.limits(0).upper


def test_a_layer_computes_in_floats_or_on_the_chosen_grids() -> None:
    layer, images = conv_norm().train(), values(8, 3, 6, 6)
    plain = ElasticConvNorm(3, 6, 3).train()
    plain.load_state_dict(layer.state_dict(), strict=False)
    layer.choose_precision(FLOAT)
    assert torch.equal(layer(images), plain(images))
    layer.choose_precision(EIGHT)
    close = layer(images).detach()
    layer.choose_precision(FOUR)
    coarse = layer(images).detach()
    reference = plain(images).detach()
    assert 0 < float((close - reference).abs().mean()) < float((coarse - reference).abs().mean())
    assert len(coarse.unique()) <= 16


def test_a_linear_layer_quantises_its_input_and_leaves_its_output() -> None:
    layer = ElasticLinear(4, 3)
    layer.make_quantizable_(QuantizerFormats(CHOICES))
    layer.choose_precision(FOUR)
    seen: list[torch.Tensor] = []
    assert layer.input_quantizer is not None
    layer.input_quantizer.register_forward_hook(lambda m, i, o: seen.append(o.detach()))
    outputs = layer(values(64, 4))
    assert len(torch.unique(seen[0])) <= 16
    assert len(torch.unique(outputs.detach())) > 100
    # Every step has one dimension or none: matrices alone are decayed.
    assert {p.dim() for name, p in layer.named_parameters() if "scales" in name} == {0, 1}


def test_steps_survive_a_checkpoint() -> None:
    layer, images = conv_norm().eval(), values(8, 3, 6, 6)
    layer.choose_precision(FOUR)
    expected = layer(images)
    other = conv_norm().eval()
    other.load_state_dict(layer.state_dict())
    other.choose_precision(FOUR)
    assert torch.equal(other(images * 1.0), expected)


def test_compiled_layers_are_never_recompiled_when_bits_change() -> None:
    layer, images = conv_norm().train(), values(8, 3, 6, 6)
    expected = {}
    for precision in CHOICES:
        layer.choose_precision(precision)
        layer(images)
        expected[precision] = layer(images).detach()
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    for precision in (*CHOICES, *CHOICES):
        layer.choose_precision(precision)
        torch.testing.assert_close(compiled(images).detach(), expected[precision])
    assert len(graphs) == 1


def test_compiled_gradients_are_those_of_the_plain_layer() -> None:
    layer, images = conv_norm().train(), values(8, 3, 6, 6)
    layer.choose_precision(FOUR)
    layer(images)

    def gradients(module: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
        layer.zero_grad()
        torch.autograd.backward(module(images).square().sum())
        return {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}

    plain = gradients(layer)
    torch._dynamo.reset()
    compiled = gradients(torch.compile(layer, backend="eager"))
    for name, gradient in plain.items():
        torch.testing.assert_close(compiled[name], gradient, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("bits", [8, 4])
def test_constant_inputs_do_no_harm(bits: int) -> None:
    quantizer = ActivationQuantizer((8, 4))
    choose_activations(quantizer, bits)
    assert torch.isfinite(quantizer(torch.zeros(4, 3))).all()
