"""A supernet that computes at the bit widths of its active architecture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from offramp.nn.backbone import BACKBONES
from offramp.nn.elastic.elastic_quantizer import ElasticQuantizer
from offramp.nn.quantization.quantize import prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Architecture, Precision
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.precision_choices import Granularity, PrecisionChoices
from offramp.train.compute import Compute
from offramp.train.loss import LossSettings
from offramp.train.supernet_training import sandwich_step
from tests.nn import members

FLOAT, EIGHT, FOUR = Precision(32, 32), Precision(8, 8), Precision(4, 4)
CHOICES = (FLOAT, EIGHT, FOUR, Precision(2, 8, ternary=True))


def quantizable(name: str = "mobilenetv2") -> Supernet:
    space = members.SMALL if name == "mobilenetv2" else BACKBONES.get(name).space((3, 12, 12))
    return Supernet(space, members.BRANCHES, (3, 12, 12), 4, 0, precisions=CHOICES)


def at(precision: Precision, branches: Precision) -> Architecture:
    base = members.member(members.SMALL, max, ((0, "conv"), (2, "pool_mlp")))
    return replace(base, precision=precision, branch_precision=branches)


def logits(supernet: Supernet, architecture: Architecture) -> list[torch.Tensor]:
    supernet.activate(architecture)
    with torch.no_grad():
        return [output.clone() for output in supernet(members.images(16))]


def test_in_floating_point_it_is_the_plain_supernet() -> None:
    plain = members.small_supernet().eval()
    supernet = quantizable().eval()
    for ours, theirs in zip(logits(supernet, at(FLOAT, FLOAT)), logits(plain, at(FLOAT, FLOAT)), strict=True):
        assert torch.equal(ours, theirs)
    assert not any(bool(m.fitted.any()) for m in supernet.modules() if isinstance(m, ElasticQuantizer))
    # Without choices there is nothing more in the weights file than before.
    assert not [name for name in plain.state_dict() if "scales" in name]


def test_fewer_bits_move_the_logits_further() -> None:
    supernet = quantizable().train()
    exact = logits(supernet, at(FLOAT, FLOAT))
    close, coarse = logits(supernet, at(EIGHT, EIGHT)), logits(supernet, at(FOUR, FOUR))
    for index in range(3):
        near, far = (float((x[index] - exact[index]).abs().mean()) for x in (close, coarse))
        assert 0 < near < far


def test_branches_have_bits_of_their_own_and_leave_the_backbone_alone() -> None:
    supernet = quantizable().train()
    exact, mixed = logits(supernet, at(FLOAT, FLOAT)), logits(supernet, at(FLOAT, FOUR))
    assert not torch.equal(exact[0], mixed[0])
    own = replace(at(FLOAT, FLOAT), exits=tuple(replace(x, precision=FOUR) for x in at(FLOAT, FLOAT).exits))
    first, _, last = logits(supernet, own)
    assert torch.equal(first, mixed[0])
    assert torch.equal(last, exact[2])


def test_it_computes_nearly_what_a_prepared_network_computes() -> None:
    """With statistics of its own, an extracted and prepared network is the quantised supernet within a few steps."""
    supernet = quantizable()
    architecture = at(EIGHT, EIGHT)
    supernet.activate(architecture)
    supernet.recalibrate_batch_norm_([members.images(64)])
    supernet.eval()
    network = supernet.extract(architecture)
    prepare_(network, [members.images(64)])
    images = members.images(32, seed=3)
    with torch.no_grad():
        for ours, theirs in zip(supernet(images), network.eval()(images), strict=True):
            assert float((ours - theirs).abs().mean()) < 0.05 * float(ours.abs().max())


@pytest.mark.parametrize("granularity", ["network", "stage", "layer"])
@pytest.mark.parametrize("name", ["mobilenetv2", "resnet"])
def test_training_steps_with_sampled_bits_move_steps_of_all_formats(name: str, granularity: Granularity) -> None:
    supernet = quantizable(name)
    space = EarlyExitSpace(
        supernet.space, members.BRANCHES, max_exits=2, precisions=PrecisionChoices(granularity, CHOICES)
    )
    step = sandwich_step(supernet, space, LossSettings(), Compute(), random_subnets=2)
    images, labels, rng = members.images(16), torch.arange(16) % 4, np.random.default_rng(0)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.01)
    for _ in range(6):
        optimizer.zero_grad()
        assert torch.isfinite(step(images, labels, rng))
        for parameter in supernet.parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all()
        optimizer.step()
    stem = supernet.backbone.stem.conv.quantizer  # type: ignore[union-attr]
    assert isinstance(stem, ElasticQuantizer)
    assert int(stem.fitted.sum()) >= 2
