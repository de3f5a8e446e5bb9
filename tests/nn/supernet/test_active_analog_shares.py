"""A supernet that trains with analog shares: the layers, the operation, the noise."""

from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import nn

from offramp.cost.mapping.channel_split.analog_shares import AnalogSplit, analog_split, plan_analog
from offramp.hardware.loader import load_accelerator
from offramp.nn.analog.array_arithmetic import Noise
from offramp.nn.analog.make_analog import make_analog_
from offramp.nn.backbone import BACKBONES
from offramp.nn.elastic.analog_channels import ElasticAnalogChannels
from offramp.nn.elastic.elastic_batch_norm import ElasticBatchNorm2d
from offramp.nn.elastic.elastic_layers import ElasticConv2d
from offramp.nn.lowering.lower import lower
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer
from offramp.nn.quantization.quantize import prepare_
from offramp.nn.supernet.channel_sorting import sort_channels_
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Architecture, Precision
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.precision_choices import PrecisionChoices
from offramp.train.compute import Compute
from offramp.train.loss import LossSettings
from offramp.train.supernet_training import sandwich_step
from offramp.workload.layer import LayerShape

DIANA = load_accelerator("diana")
RULE = analog_split(DIANA)
SHARES = (0.0, 0.5, 1.0)
SHAPE = (3, 16, 16)
BRANCHES = ("conv", "depthwise_separable", "pool_linear")


def images(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def members(name: str = "resnet8", precisions: tuple[Precision, ...] = ()) -> EarlyExitSpace:
    choices = PrecisionChoices("network", precisions) if precisions else PrecisionChoices()
    backbone = BACKBONES.get(name).space(SHAPE)
    return EarlyExitSpace(backbone, BRANCHES, analog_shares=SHARES, precisions=choices)


def supernet_of(space: EarlyExitSpace, rule: AnalogSplit | None = RULE) -> Supernet:
    return Supernet(space.backbone, BRANCHES, SHAPE, 4, 0, precisions=space.precisions.choices, analog=rule)


def all_analog(space: EarlyExitSpace) -> Architecture:
    largest = space.max_architecture()
    stages = tuple(replace(x, analog_shares=tuple(1.0 for _ in x.analog_shares)) for x in largest.stages)
    return replace(largest, stages=stages)


@dataclass(frozen=True)
class Recording(AnalogSplit):
    """Keeps what it answered: channels of a layer, and how many of them are analog."""

    answers: list[tuple[int, int]] = field(default_factory=list, compare=False)

    def channels(self, shape: LayerShape, share: float) -> int:
        count = super().channels(shape, share)
        self.answers.append((shape.k, count))
        return count


@pytest.mark.parametrize("name", ["resnet", "resnet8", "mobilenetv1", "ds-cnn", "mobilenetv2"])
def test_the_layers_trained_are_those_that_the_extracted_network_is_priced_with(name: str) -> None:
    space = members(name)
    assert RULE is not None
    rule = Recording(RULE.analog, RULE.array, RULE.step)
    supernet = supernet_of(space, rule).eval()
    rng = np.random.default_rng(0)
    some = 0
    for _ in range(6):
        drawn = space.with_all_exits(space.sample(rng), rng)
        supernet.activate(drawn)
        rule.answers.clear()
        with torch.no_grad():
            supernet(images(2))
        workload = lower(supernet.extract(drawn))
        plan = plan_analog(workload, drawn, DIANA)
        priced = [(x.shape.k, plan.channels[x.name]) for x in workload.layers if x.name in plan.channels]
        assert [answer for answer in rule.answers if answer[1]] == priced
        some += len(priced)
    assert some > 6


def test_bits_of_32_keep_a_layer_digital() -> None:
    space = members(precisions=(Precision(32, 32), Precision(8, 8)))
    supernet = supernet_of(space).train()
    whole = all_analog(space)
    for bits, fitted in ((Precision(32, 32), 0), (Precision(8, 8), 8)):
        supernet.activate(replace(whole, precision=bits))
        supernet(images())
        assert sum(bool(m.fitted) for m in supernet.modules() if isinstance(m, ElasticAnalogChannels)) == fitted


def test_without_a_share_it_is_the_plain_supernet() -> None:
    space = members()
    plain, ours = supernet_of(space, None).eval(), supernet_of(space).eval()
    for supernet in (plain, ours):
        supernet.activate(space.max_architecture())
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(plain(images()), ours(images()), strict=True))
    assert not [name for name in plain.state_dict() if "ternary" in name]
    # Neither the stem nor the final classifier nor depthwise layers have anything to learn for it.
    with_part = [name for name, m in ours.named_modules() if isinstance(m, ElasticAnalogChannels)]
    assert with_part
    assert all(name.startswith(("backbone.stages.", "taps.")) and "depthwise.conv" not in name for name in with_part)


def test_a_layer_computes_what_the_extracted_layer_does() -> None:
    """`AnalogPart` on an input with a 6-bit grid of the very steps loses no bits, and neither does this."""
    assert RULE is not None
    conv = ElasticConv2d(8, 12, 3)
    analog = conv.analog = ElasticAnalogChannels(RULE, Noise(), 12)
    analog.share = 1 / 3
    step = 0.25
    inputs = step * torch.randint(0, 64, (2, 8, 8, 8), generator=torch.Generator().manual_seed(1)).float()
    with torch.no_grad():
        conv(inputs)
        analog.input_scale.fill_(step)
        weight, steps = conv.weight, analog.ternary_scale[:4].view(-1, 1, 1, 1)
        ternary = (weight[:4] / steps).round().clamp(-1, 1)
        sums = nn.functional.conv2d(inputs / step, ternary, padding=1)
        read = (sums / analog.adc_scale).round().clamp(-32, 31) * analog.adc_scale * step
        expected = torch.cat([read * steps.view(1, -1, 1, 1), nn.functional.conv2d(inputs, weight[4:], padding=1)], 1)
        assert torch.allclose(conv(inputs), expected, atol=1e-4)


def test_rows_beyond_the_array_are_read_group_by_group() -> None:
    """1152 rows take 128 channels of a 3x3 kernel; with one converter step beyond all sums, each group is rounded."""
    conv = ElasticConv2d(256, 4, 3)
    assert RULE is not None
    analog = conv.analog = ElasticAnalogChannels(RULE, Noise(), 4)
    analog.share = 1.0
    inputs = torch.rand(1, 256, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        conv(inputs)
        analog.input_scale.fill_(1.0)
        analog.ternary_scale.fill_(1.0)
        analog.adc_scale.fill_(50.0)
        conv.weight.fill_(1.0)
        entering = inputs.round()
        halves = [
            nn.functional.conv2d(entering[:, x], conv.weight[:, x], padding=1) for x in (slice(128), slice(128, 256))
        ]
        expected = sum((50.0 * (half / 50.0).round().clamp(-32, 31) for half in halves), torch.zeros(()))
        assert torch.allclose(conv(inputs), expected, atol=1e-3)


def test_a_prepared_network_with_the_same_steps_answers_alike() -> None:
    """The supernet's forward pass against `make_analog_` on its own extract: two implementations of one operation."""
    space = members()
    supernet = supernet_of(space).train()
    whole = all_analog(space)
    supernet.activate(whole)
    batch = images(32)
    with torch.no_grad():
        outputs = supernet(batch)[-1]
    network = supernet.extract(whole).train()
    prepare_(network, [batch])
    plan = plan_analog(lower(network), whole, DIANA)
    assert RULE is not None
    make_analog_(network, plan.channels, RULE.array, [batch])
    digital = supernet_of(space, None).train()
    digital.activate(space.max_architecture())
    with torch.no_grad():
        theirs, plain = network.train()(batch)[-1], digital(batch)[-1]
    ours_off, plain_off = ((x - theirs).square().mean().sqrt() for x in (outputs, plain))
    assert ours_off < 0.6 * plain_off
    assert len([m for m in network.modules() if isinstance(m, QuantizedMatrixLayer) and m.analog is not None]) == 8


def test_training_draws_seeded_noise_and_leaves_none_behind() -> None:
    space = members()
    gradients = []
    for seed in (0, 0, 1):
        supernet = supernet_of(space).train()
        step = sandwich_step(supernet, space, LossSettings(), Compute(), random_subnets=0)
        step(images(8), torch.arange(8) % 4, np.random.default_rng(seed))
        gradients.append(torch.cat([p.grad.flatten() for p in supernet.parameters() if p.grad is not None]))
        supernet.activate(all_analog(space))
        with torch.no_grad():
            assert all(torch.equal(a, b) for a, b in zip(supernet(images()), supernet(images()), strict=True))
    assert torch.equal(gradients[0], gradients[1])
    assert gradients[1].shape != gradients[2].shape or not torch.equal(gradients[1], gradients[2])


def test_noise_moves_the_answers() -> None:
    space = members()
    supernet = supernet_of(space).eval()
    supernet.activate(all_analog(space))
    assert supernet.analog is not None
    with torch.no_grad():
        silent = supernet(images())[-1]
        supernet.analog.set_noise(torch.Generator().manual_seed(0))
        first, second = supernet(images())[-1], supernet(images())[-1]
    assert not torch.equal(silent, first)
    assert not torch.equal(first, second)


def test_everything_learns_and_the_smallest_is_the_most_analog() -> None:
    space = members()
    smallest = space.min_architecture()
    assert {share for stage in smallest.stages for share in stage.analog_shares} == {1.0}
    supernet = supernet_of(space).train()
    step = sandwich_step(supernet, space, LossSettings(), Compute(), random_subnets=1)
    rng = np.random.default_rng(0)
    for _ in range(6):
        step(images(8), torch.arange(8) % 4, rng)
    parts = OrderedDict(
        (name, m) for name, m in supernet.named_modules() if isinstance(m, ElasticAnalogChannels) and m.fitted
    )
    assert len(parts) > 8
    for name, part in parts.items():
        for scale in (part.input_scale, part.adc_scale, part.ternary_scale):
            assert scale.grad is not None, name
            assert float(scale.grad.abs().sum()) > 0, name


def test_steps_move_with_their_channels_when_those_are_sorted() -> None:
    space = members("resnet")
    supernet = supernet_of(space).eval()
    supernet.activate(all_analog(space))
    with torch.no_grad():
        supernet(images())
        rng = torch.Generator().manual_seed(5)
        for module in supernet.modules():
            if isinstance(module, ElasticBatchNorm2d):
                module.weight.copy_(torch.rand(len(module.weight), generator=rng) + 0.5)
        before = [x.clone() for x in supernet(images())]
        assert sort_channels_(supernet) > 0
        after = supernet(images())
    # Sums of the same numbers in another order may be rounded differently once in a while.
    assert all(torch.allclose(a, b, atol=0.05) for a, b in zip(before, after, strict=True))


def test_a_share_of_the_branch_changes_that_branch_alone() -> None:
    space = members()
    supernet = supernet_of(space).eval()
    rng = np.random.default_rng(3)
    digital = space.with_all_exits(space.max_architecture(), rng)
    digital = replace(digital, exits=tuple(replace(x, branch="conv", analog_share=0.0) for x in digital.exits))
    first, second = digital.exits
    analog = replace(digital, exits=(first, replace(second, analog_share=1.0)))
    with torch.no_grad():
        supernet.activate(digital)
        before = supernet(images())
        supernet.activate(analog)
        after = supernet(images())
    assert [bool(torch.equal(a, b)) for a, b in zip(before, after, strict=True)] == [True, False, True]
