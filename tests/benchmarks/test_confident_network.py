"""A unit beside the logits of each early exit."""

import numpy as np
import pytest
import torch
from benchmarks.confident_network import ConfidentNetwork, split_units
from torch import nn

from offramp.errors import InputError
from offramp.nn.network import EarlyExitNetwork
from offramp.progress import SilentReporter
from offramp.run.factory import build_context, build_dataset
from tests.conftest import small_config


def extracted(seed: int, branches: tuple[str, ...]) -> EarlyExitNetwork:
    config = small_config(space__branches=branches)
    context = build_context(config, build_dataset(config, SilentReporter()))
    rng = np.random.default_rng(seed)
    return context.supernet.extract(context.space.with_all_exits(context.space.max_architecture(), rng)).eval()


@pytest.mark.parametrize(
    "branch", ["pool_linear", "pool_mlp", "depthwise_separable", "conv", "global_pool", "searched_grid_mlp"]
)
def test_logits_stay_and_confidences_begin_at_one_half(branch: str) -> None:
    plain = extracted(3, (branch,))
    images = torch.randn(5, *plain.input_shape)
    before = plain(images)
    assert len(before) > 2
    logits, units = split_units(ConfidentNetwork(plain)(images))
    assert len(units) == len(before) - 1
    for kept, known in zip(logits, before, strict=True):
        assert torch.equal(kept, known)
    for unit in units:
        assert unit.shape == (5,)
        assert torch.sigmoid(unit).tolist() == [0.5] * 5


def test_arrays_are_split_as_tensors_are() -> None:
    first, last = np.arange(6.0).reshape(2, 3), np.zeros((2, 2))
    logits, units = split_units((first, last))
    assert logits[0].tolist() == [[0.0, 1.0], [3.0, 4.0]]
    assert logits[1] is last
    assert units[0].tolist() == [2.0, 5.0]


def test_a_branch_without_a_linear_layer_is_refused() -> None:
    plain = extracted(1, ("global_pool",))
    plain.branches[0] = nn.Sequential(plain.branches[0], nn.Softmax(dim=1))
    with pytest.raises(InputError, match="linear layer"):
        ConfidentNetwork(plain)
