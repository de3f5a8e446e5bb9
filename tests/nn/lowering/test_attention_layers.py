"""Transformers by hand: every count below is worked out from the sizes in the test."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.errors import UnsupportedLayerError
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, Precision, StageChoice
from offramp.workload.graph import Layer
from offramp.workload.layer import Op

TOKENS, WIDTH, HEADS = 16, 12, 3  # a 4x4 map of 12 channels, as tokens


class _Then(nn.Module):
    """Tokens from an image of 4x4 pixels, then a function of them, then the mean over tokens."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, 1)
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self.embed(images).flatten(2).transpose(1, 2)).mean(dim=1)


def layers_of(function: Callable[[Tensor], Tensor]) -> tuple[Layer, ...]:
    """What the function adds between the embedding, the mean over tokens and the classifier."""
    architecture = Architecture("toy", 4, (StageChoice(1, WIDTH, (1,), (1,)),), precision=Precision(4, 6))
    network = EarlyExitNetwork(architecture, [_Then(function)], [nn.LazyLinear(5)], (3, 4, 4), 5)
    network(torch.zeros(1, 3, 4, 4))
    embed, *between, mean, classifier = lower(network).layers
    assert embed.shape.macs == 16 * 3 * WIDTH
    assert (mean.shape.op, mean.shape.fy * mean.shape.fx) == (Op.AVG_POOL, TOKENS)
    assert classifier.shape.op is Op.DENSE
    return tuple(between)


def heads(x: Tensor) -> Tensor:
    return x.reshape(1, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)


def test_attention_is_two_products_and_a_softmax() -> None:
    def attention(x: Tensor) -> Tensor:
        out = F.scaled_dot_product_attention(heads(x), heads(x), heads(x))
        return out.transpose(1, 2).reshape(1, TOKENS, WIDTH)

    scores, softmax, weighted = (layer.shape for layer in layers_of(attention))
    assert (scores.op, scores.g, scores.k, scores.c, scores.oy) == (Op.CONV, HEADS, TOKENS, WIDTH // HEADS, TOKENS)
    assert scores.macs == weighted.macs == TOKENS * TOKENS * WIDTH
    # The keys stand where weights do, at the width of activations.
    assert (scores.num_weights, scores.weight_bits) == (TOKENS * WIDTH, 6)
    assert (softmax.op, softmax.num_outputs, softmax.macs) == (Op.MULTIPLY, HEADS * TOKENS * TOKENS, 0)
    assert (weighted.g, weighted.k, weighted.c) == (HEADS, WIDTH // HEADS, TOKENS)


def test_attention_in_its_parts_costs_the_same() -> None:
    def by_hand(x: Tensor) -> Tensor:
        scores = (heads(x) * 0.5) @ heads(x).transpose(-2, -1)
        return (scores.softmax(dim=-1) @ heads(x)).transpose(1, 2).reshape(1, TOKENS, WIDTH)

    def in_one(x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(heads(x), heads(x), heads(x)).transpose(1, 2).reshape(1, TOKENS, WIDTH)

    ours, theirs = layers_of(by_hand), layers_of(in_one)
    assert [layer.shape.macs for layer in ours] == [layer.shape.macs for layer in theirs]
    assert [layer.shape.num_outputs for layer in ours] == [layer.shape.num_outputs for layer in theirs]
    assert [layer.shape.weight_size_bits for layer in ours] == [layer.shape.weight_size_bits for layer in theirs]


@pytest.mark.parametrize(
    "norm",
    [
        lambda x: F.layer_norm(x, (WIDTH,)),
        lambda x: F.rms_norm(x, (WIDTH,)),
        lambda x: F.group_norm(x.transpose(1, 2), 3).transpose(1, 2),
        lambda x: F.softmax(x, dim=-1),
    ],
)
def test_what_needs_all_values_first_is_one_pass_over_them(norm: Callable[[Tensor], Tensor]) -> None:
    (layer,) = layers_of(norm)
    assert (layer.shape.op, layer.shape.num_outputs, layer.shape.macs) == (Op.MULTIPLY, TOKENS * WIDTH, 0)


def test_a_linear_layer_works_on_every_token() -> None:
    (layer,) = layers_of(nn.Linear(WIDTH, 7))
    assert (layer.shape.op, layer.shape.b, layer.shape.macs) == (Op.DENSE, TOKENS, TOKENS * WIDTH * 7)
    (product,) = layers_of(lambda x: x @ torch.ones(WIDTH, 7))
    assert product.shape == layer.shape


def test_moves_and_activations_are_free() -> None:
    def moved(x: Tensor) -> Tensor:
        first, _second = F.gelu(x).chunk(2, dim=-1)
        return torch.roll(F.pad(first.transpose(1, 2), (0, 0)).permute(0, 2, 1), 1, 1)[:, :, ::1].contiguous()

    assert layers_of(moved) == ()


def test_joining_and_adding_tokens() -> None:
    joined, added = layers_of(lambda x: (y := torch.cat([x, x], dim=1))[:, :TOKENS] + F.gelu(y)[:, TOKENS:] * 1 + x)[:2]
    assert (joined.shape.op, joined.shape.num_outputs) == (Op.CONCAT, 2 * TOKENS * WIDTH)
    assert (added.shape.op, added.shape.num_outputs) == (Op.ADD, TOKENS * WIDTH)


def test_one_matrix_that_meets_several_is_repeated_or_has_more_rows() -> None:
    """Queries per head and one set of keys, on either side: the definition of `torch.matmul`."""
    rows, _ = layers_of(lambda x: (heads(x) @ x[:, :4].reshape(1, 1, 4, WIDTH)).sum(1))
    assert (rows.shape.g, rows.shape.k, rows.shape.c, rows.shape.oy) == (1, WIDTH, 4, HEADS * TOKENS)
    (repeated,) = layers_of(lambda x: (x.reshape(1, 1, WIDTH, TOKENS) @ heads(x)).reshape(1, TOKENS, 9))
    assert (repeated.shape.g, repeated.shape.k, repeated.shape.c, repeated.shape.oy) == (HEADS, 4, TOKENS, WIDTH)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x @ x.transpose(1, 2)[:, :, :1] @ x[:, :1] @ torch.ones(1, WIDTH, WIDTH), "two axes"),
        (lambda x: torch.fft.fft(x).real, "no such layer"),
    ],
)
def test_what_has_no_rule_is_named(function: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message):
        layers_of(function)
