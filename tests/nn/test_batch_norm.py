"""Recalibration against statistics computed by hand."""

import pytest
import torch
from torch import nn

from offramp.errors import InputError
from offramp.nn.batch_norm import learns_statistics, recalibrate_batch_norm_
from offramp.nn.elastic.elastic_batch_norm import ElasticBatchNorm2d
from offramp.nn.quantization.fake_quantize import fake_quantize
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer
from offramp.nn.quantization.quantize import prepare_
from tests.nn.members import SMALL, images, member, small_supernet


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3), ElasticBatchNorm2d(3)])
def test_statistics_are_the_mean_over_batches(norm: nn.BatchNorm2d | ElasticBatchNorm2d) -> None:
    for _ in range(3):
        norm(torch.randn(4, 3, 2, 2) * 50)  # old statistics that must leave no trace
    batches = [torch.randn(5, 3, 4, 4) + shift for shift in range(4)]
    momentum = norm.momentum
    norm.train()
    recalibrate_batch_norm_(norm, batches)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    variances = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)
    assert norm.training
    assert norm.momentum == momentum


def test_a_member_gets_its_own_statistics() -> None:
    supernet = small_supernet().train()
    supernet.activate(member(SMALL, max))
    supernet(images())
    supernet.activate(member(SMALL, min))
    weights = {name: value.clone() for name, value in supernet.named_parameters()}
    supernet.recalibrate_batch_norm_([images(32)])
    supernet.eval()
    # On one batch, the mean over batches is what training mode normalises with, up to the unbiased variance.
    evaluated = supernet(images(32))[0]
    supernet.train()
    torch.testing.assert_close(evaluated, supernet(images(32))[0], atol=0.02, rtol=0.02)
    assert all(torch.equal(weights[name], value) for name, value in supernet.named_parameters())


def test_extracted_networks_can_be_recalibrated_too() -> None:
    supernet = small_supernet().eval()
    architecture = member(SMALL, min, ((0, "conv"),))
    network = supernet.extract(architecture)
    recalibrate_batch_norm_(network, [images(), images(seed=1)])
    supernet.activate(architecture)
    supernet.recalibrate_batch_norm_([images(), images(seed=1)])
    for ours, theirs in zip(supernet(images()), network(images()), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_layers_that_do_not_run_keep_their_statistics() -> None:
    supernet = small_supernet().train()
    supernet.activate(member(SMALL, max, ((0, "conv"),)))
    supernet(images())
    norms = [m for m in supernet.taps[0].modules() if isinstance(m, ElasticBatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    assert any(bool(mean.abs().sum() > 0) for mean in before)
    supernet.activate(member(SMALL, max))
    supernet.recalibrate_batch_norm_([images()])
    assert all(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))


@pytest.mark.parametrize(("batches", "message"), [([], "at least one batch"), ([images(1)], "at least 2 images")])
def test_too_few_images_are_refused(batches: list[torch.Tensor], message: str) -> None:
    norm = nn.Sequential(nn.BatchNorm2d(3)).eval()
    with pytest.raises(InputError, match=message):
        recalibrate_batch_norm_(norm, batches)
    assert not norm[0].training
    assert norm[0].momentum == 0.1


def test_statistics_within_quantised_layers_are_measured_too() -> None:
    network = small_supernet().extract(member(SMALL, max)).eval()
    batches = [images(16, seed=seed) for seed in range(3)]
    recalibrate_batch_norm_(network, batches)
    prepare_(network, batches)
    layer = next(m for m in network.modules() if isinstance(m, QuantizedMatrixLayer) and m.has_norm)
    outputs: list[torch.Tensor] = []
    layer.running_mean.fill_(7.0)
    momentum = layer.momentum
    hook = layer.register_forward_pre_hook(
        lambda m, inputs: outputs.append(m.multiply(inputs[0], _on_grid(m), None).mean((0, 2, 3)))
    )
    recalibrate_batch_norm_(network, batches)
    hook.remove()
    torch.testing.assert_close(layer.running_mean, torch.stack(outputs).mean(0), rtol=1e-4, atol=1e-5)
    assert (layer.momentum, layer.training) == (momentum, False)


def _on_grid(layer: QuantizedMatrixLayer) -> torch.Tensor:
    assert layer.weight_limits is not None
    assert layer.weight_scale is not None
    with torch.no_grad():
        return fake_quantize(layer.weight, layer.weight_scale, layer.weight_limits, 1.0)


def test_a_shared_norm_gets_the_mean_over_all_its_runs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3, affine=False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.norm(images)
            result: torch.Tensor = self.norm(images + 10)
            return result

    network = Twice()
    batches = [torch.randn(5, 3, 4, 4) + shift for shift in range(2)]
    recalibrate_batch_norm_(network, batches)
    runs = [images + shift for images in batches for shift in (0, 10)]
    torch.testing.assert_close(network.norm.running_mean, torch.stack([run.mean((0, 2, 3)) for run in runs]).mean(0))
    torch.testing.assert_close(network.norm.running_var, torch.stack([run.var((0, 2, 3)) for run in runs]).mean(0))


def test_learned_statistics_are_found_outside_frozen_parts() -> None:
    frozen = nn.Sequential(nn.BatchNorm2d(3))
    assert learns_statistics(nn.Sequential(frozen))
    frozen.keeps_statistics = True  # type: ignore[assignment]
    assert not learns_statistics(nn.Sequential(frozen, nn.Linear(2, 2)))
    assert learns_statistics(nn.Sequential(frozen, nn.BatchNorm1d(2)))
    assert learns_statistics(ElasticBatchNorm2d(2))
