"""What cannot be trained, priced, quantised or exported is found before the first epoch and before a folder is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import offramp
from offramp.errors import AdoptError, ConfigError
from offramp.nn.adoption.adopted_model import AdoptedModel
from offramp.nn.lowering.lower import lower
from offramp.progress import SilentReporter
from offramp.run.checks.dry_run import check_whole_way
from offramp.run.context import Context
from offramp.run.factory import build_context, build_dataset
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.workload.layer import Op

INTS = {
    "cost__weight_bits": 8,
    "cost__activation_bits": 8,
    "cost__branch_weight_bits": 8,
    "cost__branch_activation_bits": 8,
    "fine_tune__quantize": True,
}


def adopted(*middle: nn.Module) -> AdoptedModel:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        *middle,
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    return offramp.adopt(model, torch.zeros(1, 1, 8, 8))


def context_of(model: AdoptedModel, **settings: Any) -> Context:
    config = with_settings(
        Config(),
        data__source="digits",
        space__branches=("global_pool",),
        space__backbone=model.name,
        space__max_exits=1,
        **settings,
    )
    return build_context(config, build_dataset(config, SilentReporter()), model)


class Views(nn.Module):
    """One call whose code flattens with view, which a map with channels last does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(512))

    def forward(self, features: Tensor) -> Tensor:
        return (features.view(len(features), -1) * self.scale).view(features.shape)


class NoGradient(nn.Module):
    """A part that cannot be trained: the tanh is overwritten before its gradient is computed."""

    def forward(self, features: Tensor) -> Tensor:
        return features.tanh().mul_(2.0)


class Stacks(nn.Module):
    """Stacked channels, which torch exports as a sequence: they have a price, but no place in a bundle."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.hstack((features, features))[:, ::2]


class Sorts(nn.Module):
    """A part without a price."""

    def forward(self, features: Tensor) -> Tensor:
        return features.sort(dim=1).values


@pytest.mark.parametrize(
    ("middle", "settings", "message"),
    [
        (NoGradient, {}, r"cannot be trained\. Its code raised RuntimeError: .*inplace operation"),
        (Sorts, {}, r"cannot be priced\. .*sort"),
        (lambda: nn.LocalResponseNorm(3), INTS, r"cannot be quantised\. .*LocalResponseNorm"),
        (Stacks, {}, r"cannot be exported\. .*Sequence"),
        # The layout of the one channel of digits is both, so that a layer of 8 channels must come before.
        (
            lambda: nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), Views()),
            {},
            r"cannot be trained\. .*set train\.channels_last to false",
        ),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_made(
    middle: Callable[[], nn.Module], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        offramp.search(
            model=adopted(middle()),
            data__source="digits",
            space__branches=("global_pool",),
            run=tmp_path / "run",
            train__epochs=1,
            search__evaluations=1,
            fine_tune__epochs=0,
            **settings,
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "norm",
    [
        lambda: nn.BatchNorm2d(8, track_running_stats=False),
        lambda: nn.InstanceNorm2d(8, affine=True),
        lambda: nn.InstanceNorm2d(8, track_running_stats=True),
        lambda: nn.GroupNorm(2, 8),
        lambda: nn.LocalResponseNorm(3),
    ],
)
def test_norms_of_all_kinds_go_the_whole_way(norm: Callable[[], nn.Module]) -> None:
    context = context_of(adopted(norm()))
    before = {name: value.clone() for name, value in context.supernet.state_dict().items()}
    state = torch.get_rng_state()
    check_whole_way(context, SilentReporter())
    after = context.supernet.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), state)


def test_norms_that_are_no_batch_norms_are_priced_as_one_pass() -> None:
    for norm in (nn.InstanceNorm2d(8), nn.LocalResponseNorm(3)):
        context = context_of(adopted(norm))
        network = context.supernet.extract(context.space.max_architecture())
        passes = [layer.shape for layer in lower(network).layers if layer.shape.op not in (Op.CONV, Op.DENSE)]
        same = context_of(adopted(nn.GroupNorm(2, 8)))
        expected = lower(same.supernet.extract(same.space.max_architecture()))
        assert passes == [layer.shape for layer in expected.layers if layer.shape.op not in (Op.CONV, Op.DENSE)]


def test_answers_that_depend_on_other_samples_are_refused() -> None:
    class Centred(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return features - features.mean(dim=0, keepdim=True)

    with pytest.raises(ConfigError, match="answers a sample differently when other samples are in its batch"):
        check_whole_way(context_of(adopted(Centred())), SilentReporter())


def test_a_frozen_model_without_statistics_is_refused() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), nn.Flatten(), nn.Linear(288, 10)
    )
    with pytest.raises(AdoptError, match="keeps the statistics of its batch norms, but '1' has none"):
        offramp.adopt(model, torch.zeros(1, 1, 8, 8), freeze=True)
