"""The auto-encoder of MLPerf Tiny: equal to the reference file without exits, and what each exit costs with them."""

import pytest
import torch
from torch import nn

from offramp.anomaly.autoencoder import INPUT_SHAPE, build_autoencoder, keep_exits
from offramp.errors import ConfigError
from offramp.nn.lowering.lower import lower
from offramp.workload.graph import Role
from tests.nn.test_mlperf_tiny import REFERENCES, layers_of
from tests.nn.tflite_layers import num_parameters, read_layers

STATIC_MACS = 640 * 128 + 3 * 128 * 128 + 128 * 8 + 8 * 128 + 3 * 128 * 128 + 128 * 640
FIRST_HEAD = 128 * 8 + 8 * 640


def test_without_exits_it_is_the_reference_layer_by_layer() -> None:
    path = REFERENCES / "ad_autoencoder_float.tflite"
    if not path.is_file():
        pytest.skip("the reference file ad_autoencoder_float.tflite is not at hand")
    expected = read_layers(path)
    network = build_autoencoder(seed=0)
    assert layers_of(lower(network)) == expected
    assert sum(layer.macs for layer in expected) == STATIC_MACS == 264_192
    folded = sum(p.numel() for m in network.modules() if isinstance(m, nn.Linear) for p in m.parameters())
    assert folded == num_parameters(path) == sum(layer.weights + layer.biases for layer in expected)


def test_every_shortened_decoder_on_the_way_is_charged() -> None:
    workload = lower(build_autoencoder((1, 5, 7), seed=0))
    second = 640 * 128 + 3 * 128 * 128 + 128 * 8 + FIRST_HEAD + 8 * 640
    third = second + 8 * 128 + 128 * 128 + 128 * 640
    last = STATIC_MACS + FIRST_HEAD + 8 * 640 + 128 * 640
    assert workload.macs_to_exit() == (640 * 128 + FIRST_HEAD, second, third, last)
    assert workload.static().macs_to_exit() == (STATIC_MACS,)
    heads = [layer for layer in workload.layers if layer.role is Role.BRANCH and layer.stage == 0]
    assert [(layer.shape.c, layer.shape.k) for layer in heads] == [(128, 8), (8, 640)]


@pytest.mark.parametrize("tap", range(1, 10))
def test_an_exit_may_sit_behind_every_layer(tap: int) -> None:
    network = build_autoencoder((tap,), seed=0)
    outputs = network(torch.randn(4, *INPUT_SHAPE))
    assert [tuple(output.shape) for output in outputs] == [(4, 640), (4, 640)]
    torch.autograd.backward(outputs[0].square().mean())
    first = next(m for m in network.modules() if isinstance(m, nn.Linear))
    assert first.weight.grad is not None
    assert float(first.weight.grad.abs().sum()) > 0


def test_dropping_exits_changes_nothing_but_their_cost() -> None:
    network = build_autoencoder((1, 4, 5), seed=0).eval()
    inputs = torch.randn(3, *INPUT_SHAPE)
    whole = network(inputs)
    for kept in ((0, 1, 2, 3), (1, 3), (0, 2, 3), (3,)):
        smaller = keep_exits(network, kept)
        assert all(torch.equal(a, whole[i]) for a, i in zip(smaller(inputs), kept, strict=True))
        assert [choice.tap for choice in smaller.architecture.exits] == [(1, 4, 5)[i] for i in kept[:-1]]
    assert lower(keep_exits(network, (3,))).macs_to_exit() == (STATIC_MACS,)
    assert lower(keep_exits(network, (0, 3))).macs_to_exit() == (640 * 128 + FIRST_HEAD, STATIC_MACS + FIRST_HEAD)


def test_the_seed_decides_the_weights_and_leaves_torchs_alone() -> None:
    before = torch.random.get_rng_state()
    first, same, other = (build_autoencoder((5,), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["branches.0.0.weight"], other["branches.0.0.weight"])


def test_wrong_taps_are_explained() -> None:
    with pytest.raises(ConfigError, match="one of its layers 1 to 9, got 10"):
        build_autoencoder((10,), seed=0)
    with pytest.raises(ConfigError, match=r"strictly increase, got \(5, 1\)"):
        build_autoencoder((5, 1), seed=0)
    network = build_autoencoder((1, 5), seed=0)
    for kept in ((), (0, 1), (2, 0), (-1, 2)):
        with pytest.raises(ConfigError, match=r"end with the last one \(2\)"):
            keep_exits(network, kept)
