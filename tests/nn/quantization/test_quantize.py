"""Train equals deploy: a prepared network and its integer form agree bit for bit, and lower to the same layers."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from offramp.errors import ConfigError, InputError, UnsupportedLayerError
from offramp.nn.backbone import BACKBONES
from offramp.nn.batch_norm import recalibrate_batch_norm_
from offramp.nn.branches.exit_branch import EXIT_BRANCHES
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.activation_layers import QuantizedIdentity, QuantizedLayer
from offramp.nn.quantization.integer_layers import IntegerLayer, IntegerMatrixLayer
from offramp.nn.quantization.quantize import (
    check_precision,
    convert_,
    is_prepared,
    narrowest_activation_bits,
    prepare_,
    stage_sources,
)
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Precision
from offramp.space.early_exit_space import EarlyExitSpace
from tests.nn import members
from tests.nn.random_networks import INPUT_SHAPE, Draw, mix_precisions_, random_network

EXITS = ((0, "conv"), (1, "depthwise_separable"), (2, "pool_linear"), (3, "pool_mlp"))


def outputs(network: EarlyExitNetwork, images: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return network(images)  # type: ignore[no-any-return]


def extracted(backbone: Precision, branches: Precision) -> EarlyExitNetwork:
    """A member with all branch types, its batch norms fitted."""
    architecture = members.member(members.SMALL, max, EXITS)
    architecture = replace(architecture, precision=backbone, branch_precision=branches)
    network = members.small_supernet().extract(architecture)
    recalibrate_batch_norm_(network, [members.images(64)])
    return network.eval()


def check_seed(seed: int) -> None:
    network, draw = random_network(seed), Draw(seed + 1_000_000)
    if seed % 2:
        mix_precisions_(network, draw)
    workload = lower(network)
    prepare_(network, [draw.images(8)])
    assert lower(network) == workload
    if draw.coin():
        # As training leaves it: moved steps, also a negative one, and other statistics.
        network.train()
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw.generator) * parameter.abs().mean()
        network(draw.images(8))
        network.eval()
    images = draw.images(6)
    prepared = outputs(network, images)
    deployed = copy.deepcopy(network)
    convert_(deployed)
    for ours, theirs in zip(prepared, outputs(deployed, images), strict=True):
        assert torch.isfinite(ours).all()
        assert torch.equal(ours, theirs), f"seed {seed}"


@pytest.mark.parametrize("start", range(0, 30, 10))
def test_train_equals_deploy(start: int) -> None:
    for seed in range(start, start + 10):
        check_seed(seed)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 1000, 50))
def test_train_equals_deploy_for_a_thousand_seeds(start: int) -> None:
    for seed in range(start, start + 50):
        check_seed(seed)


@pytest.mark.parametrize(
    ("backbone", "branches"),
    [
        (Precision(8, 8), Precision(8, 8)),
        (Precision(4, 4), Precision(8, 4)),
        (Precision(2, 7), Precision(4, 8)),
        (Precision(32, 32), Precision(8, 8)),
        (Precision(8, 8), Precision(32, 32)),
    ],
)
def test_networks_of_a_supernet(backbone: Precision, branches: Precision) -> None:
    network = extracted(backbone, branches)
    workload, images = lower(network), members.images(8, seed=3)
    prepare_(network, [members.images(32, seed=5)])
    assert is_prepared(network)
    lowered = lower(network)
    assert lowered == workload
    for layer in lowered.layers:
        wanted = backbone if layer.role == "backbone" else branches
        # A maximum is written as it was read.
        bits = min(backbone.activation_bits, 8 if wanted.is_float else wanted.activation_bits)
        written = bits if layer.shape.op == "max_pool" and not backbone.is_float else wanted.activation_bits
        assert (layer.shape.weight_bits, layer.shape.activation_bits) == (wanted.weight_bits, written)
    prepared = outputs(network, images)
    convert_(network)
    assert all(torch.equal(a, b) for a, b in zip(prepared, outputs(network, images), strict=True))


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "vit"])  # it computes in floating point
def test_every_backbone_and_branch_type_can_be_quantised(name: str) -> None:
    shape = members.shape_for(name, (3, 8, 8))
    space, branches = BACKBONES.get(name).space(shape), tuple(EXIT_BRANCHES)
    space_of_all, rng = EarlyExitSpace(space, branches, max_exits=space.num_taps), np.random.default_rng(0)
    architecture = space_of_all.with_all_exits(space_of_all.min_architecture(), rng)
    network = Supernet(space, branches, shape, 4, seed=0).extract(architecture)
    images, workload = members.images(8, size=8).view(8, *shape), lower(network)
    prepare_(network.eval(), [images])
    assert lower(network) == workload
    prepared = outputs(network, images)
    convert_(network)
    assert all(torch.equal(a, b) for a, b in zip(prepared, outputs(network, images), strict=True))


def test_eight_bits_change_logits_little() -> None:
    network = extracted(Precision(8, 8), Precision(8, 8))
    images = members.images(32, seed=3)
    before = outputs(network, images)
    prepare_(network, [members.images(64, seed=5)])
    for old, new in zip(before, outputs(network, images), strict=True):
        assert 0 < float((new - old).abs().max()) < 0.1 * float(old.abs().max())


def test_thirty_two_bits_leave_a_network_untouched() -> None:
    network = extracted(Precision(32, 32), Precision(32, 32))
    images, names = members.images(), [name for name, _ in network.named_modules()]
    before = outputs(network, images)
    prepare_(network, [images])
    assert not is_prepared(network)
    assert [name for name, _ in network.named_modules()] == names
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(network, images), strict=True))


def test_the_image_has_eight_bits_and_a_branch_what_its_precision_says() -> None:
    network = extracted(Precision(4, 5), Precision(4, 4))
    prepare_(network, [members.images()])
    entries = {n: m.bits for n, m in network.named_modules() if isinstance(m, QuantizedIdentity)}
    assert entries.pop("stages.0.quantize_input") == 8
    assert entries == {f"branches.{index}.quantize_input": 4 for index in range(5)}
    inner = {m.bits for n, m in network.named_modules() if isinstance(m, QuantizedLayer) and n.startswith("stages.1")}
    assert inner == {5}
    assert narrowest_activation_bits(network) == 4
    assert all(source is not None and source.bits == 5 for source in stage_sources(network))


def test_a_branch_that_can_take_more_bits_reads_the_features_as_they_are() -> None:
    network = extracted(Precision(8, 4), Precision(8, 8))
    prepare_(network, [members.images()])
    assert [n for n, m in network.named_modules() if isinstance(m, QuantizedIdentity)] == ["stages.0.quantize_input"]


def test_values_that_cannot_be_negative_are_unsigned() -> None:
    network = extracted(Precision(8, 8), Precision(8, 8))
    prepare_(network, [members.images()])
    layers = {n: m for n, m in network.named_modules() if isinstance(m, QuantizedLayer)}
    stem, projection = layers["stages.0.stem.conv"], layers["stages.0.block0.project.conv"]
    assert stem.unsigned
    assert (stem.limits.lower, stem.limits.upper) == (0, 255)
    assert not projection.unsigned
    assert projection.limits.lower < 0 < projection.limits.upper
    # ReLU6 is the start of the range; beyond that the step is learnt.
    assert float(stem.step) * 255 <= 6.0 * (1 + 1e-6)
    assert layers["branches.0.pool"].unsigned


def test_converted_layers_hold_integers_of_the_stated_widths() -> None:
    network = extracted(Precision(4, 8), Precision(2, 8, ternary=True))
    prepare_(network, [members.images()])
    convert_(network)
    matrices = {n: m for n, m in network.named_modules() if isinstance(m, IntegerMatrixLayer)}
    for name, layer in matrices.items():
        assert (layer.weight.dtype, layer.bias.dtype) == (torch.int8, torch.int32)
        top = 1 if name.startswith("branches") else 7
        assert int(layer.weight.max()) <= top
        assert int(layer.weight.min()) >= (-1 if name.startswith("branches") else -8)
    seen: dict[str, torch.dtype] = {}
    for name, module in network.named_modules():
        if isinstance(module, IntegerLayer):
            module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o.dtype}))
    outputs(network, members.images(2))
    logits = {"branches.0.linear", "branches.1.linear", "branches.2.linear", "branches.3.output", "branches.4.linear"}
    assert {name for name, dtype in seen.items() if dtype is torch.float32} == logits
    assert set(seen.values()) == {torch.uint8, torch.float32}
    assert not [p for p in network.parameters() if p.requires_grad]


def test_gradients_reach_every_parameter_and_training_lowers_the_loss() -> None:
    network = extracted(Precision(8, 8), Precision(2, 4, ternary=True))
    prepare_(network, [members.images(64)])
    network.train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    images, labels = members.images(64), torch.arange(64) % 4
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = torch.stack([nn.functional.cross_entropy(logits, labels) for logits in network(images)]).sum()
        torch.autograd.backward(loss)
        assert not [name for name, p in network.named_parameters() if p.grad is None]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.92 * losses[0]
    for name, value in network.named_buffers():
        if "running" in name:
            assert not torch.equal(value, before[name]), name


def test_weights_file_round_trip() -> None:
    network, other = (extracted(Precision(4, 8), Precision(8, 8)) for _ in range(2))
    prepare_(network, [members.images(16, seed=1)])
    prepare_(other, [members.images(16, seed=2) * 3.0])
    images = members.images(4, seed=9)
    assert not torch.equal(outputs(network, images)[0], outputs(other, images)[0])
    other.load_state_dict(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(outputs(network, images), outputs(other, images), strict=True))


def test_a_copy_does_not_lean_on_the_original() -> None:
    network = extracted(Precision(8, 8), Precision(8, 8))
    prepare_(network, [members.images()])
    images = members.images(4, seed=9)
    twin = copy.deepcopy(network)
    before = outputs(twin, images)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, QuantizedLayer) and module.scale is not None:
                module.scale.mul_(3.0)
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(twin, images), strict=True))


@pytest.mark.parametrize(("weights", "activations"), [(1, 8), (9, 8), (8, 1), (16, 16), (8, 31)])
def test_bit_widths_that_are_not_offered(weights: int, activations: int) -> None:
    with pytest.raises(ConfigError, match=r"backbone must have 2 to 8 bits, or 32"):
        check_precision(Precision(weights, activations), "backbone")
    network = extracted(Precision(8, 8), Precision(weights, activations))
    with pytest.raises(ConfigError, match="branches must have 2 to 8"):
        prepare_(network, [members.images()])
    assert not is_prepared(network)


def test_preparing_twice_and_converting_a_float_network() -> None:
    network = extracted(Precision(8, 8), Precision(8, 8))
    with pytest.raises(ConfigError, match="Call prepare_ first"):
        convert_(network)
    prepare_(network, [members.images()])
    with pytest.raises(ConfigError, match="prepared for quantisation already"):
        prepare_(network, [members.images()])


@pytest.mark.parametrize("precision", [Precision(8, 32), Precision(32, 8)])
def test_half_quantised_layers_train_and_lower_but_have_no_integers(precision: Precision) -> None:
    network = extracted(precision, Precision(8, 8))
    workload = lower(network)
    prepare_(network, [members.images()])
    assert lower(network) == workload
    assert all(torch.isfinite(logits).all() for logits in outputs(network, members.images()))
    with pytest.raises(UnsupportedLayerError, match="weights and activations are both quantised"):
        convert_(network)


def without_images(network: EarlyExitNetwork) -> None:
    with pytest.raises(InputError, match="at least one batch of images"):
        prepare_(network, [])


def test_a_network_that_could_not_be_prepared_is_what_it_was() -> None:
    network = extracted(Precision(8, 8), Precision(8, 8))
    images = members.images()
    before = outputs(network, images)
    without_images(network)
    network.branches[2] = nn.Sequential(network.branches[2], nn.Hardswish(), nn.GELU())
    with pytest.raises(UnsupportedLayerError, match=r"the branch of exit 2 also has: .*Hardswish.*GELU"):
        prepare_(network, [images])
    network.branches[2] = network.branches[2][0]
    assert not is_prepared(network)
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(network, images), strict=True))


class DependsOnData(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features if features.mean() > 0 else -features


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(self.conv(features))  # type: ignore[no-any-return]


class PlusOne(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features + 1.0


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (DependsOnData(), "not a fixed sequence of layers"),
        (Twice(), "used twice"),
        (PlusOne(), r"an addition of 1 computed value"),
        (nn.BatchNorm2d(3), "BatchNorm2d"),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), "padding with reflect"),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), "AvgPool2d"),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, affine=False)), "batch norm without weights"),
    ],
)
def test_what_cannot_be_quantised_is_named(module: nn.Module, reason: str) -> None:
    network = random_network(0, bits=(8, 8, 8, 8))
    network.stages[0] = nn.Sequential(module, network.stages[0])
    with pytest.raises(UnsupportedLayerError, match=reason):
        prepare_(network, [torch.randn(2, *INPUT_SHAPE)])


def test_averages_over_windows_of_different_sizes_are_refused() -> None:
    network = random_network(0, bits=(8, 8, 8, 8))
    network.stages[0] = nn.Sequential(nn.AdaptiveAvgPool2d((4, 3)), network.stages[0])
    with pytest.raises(UnsupportedLayerError, match="9x8 to 4x3"):
        prepare_(network, [torch.randn(2, *INPUT_SHAPE)])
    assert not is_prepared(network)


def test_a_part_that_is_a_single_layer() -> None:
    network = random_network(3, bits=(8, 8, 8, 8))
    network.stages[0], stage = nn.Conv2d(3, 3, 1), network.stages[0]
    network.branches[0] = nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 8, 4))
    network.stages[1] = nn.Sequential(stage, network.stages[1])
    prepare_(network, [torch.randn(4, *INPUT_SHAPE)])
    images = torch.randn(3, *INPUT_SHAPE)
    prepared = outputs(network, images)
    convert_(network)
    assert all(torch.equal(a, b) for a, b in zip(prepared, outputs(network, images), strict=True))


def test_evaluation_under_autocast_stays_exact() -> None:
    network = extracted(Precision(8, 8), Precision(8, 8))
    prepare_(network, [members.images()])
    images = members.images(4, seed=2)
    expected = outputs(network, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(expected, outputs(network, images), strict=True))


def test_training_under_autocast_moves_every_parameter() -> None:
    network = extracted(Precision(4, 4), Precision(4, 8))
    prepare_(network, [members.images()])
    network.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = torch.stack([logits.float().square().mean() for logits in network(members.images(32))]).sum()
    torch.autograd.backward(loss)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
