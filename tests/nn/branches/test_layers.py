"""Branches put together layer by layer: every choice runs, shares its weights, extracts, lowers and exports alike."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from offramp.errors import ConfigError, UnknownNameError
from offramp.nn.batch_norm import recalibrate_batch_norm_
from offramp.nn.branches.branch_layer import BRANCH_LAYERS, MAX_LAYERS, layer_choices
from offramp.nn.branches.exit_branch import EXIT_BRANCHES, LayeredBranch
from offramp.nn.lowering.lower import lower
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import BranchLayer, ExitChoice
from offramp.space.branch_layer_choices import BranchLayerChoices
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.search_space import BackboneSpace, StageSpace
from offramp.testing.conformance import check_extraction, check_gradients, check_taps

TYPES = ("searched", "searched_mlp", "searched_grid", "searched_grid_mlp")
LAYERS = BranchLayerChoices(TYPES, layer_choices(), MAX_LAYERS)
BACKBONE = BackboneSpace("resnet", (8,), (StageSpace((1, 2), (4, 8)), StageSpace((1, 2), (8,), stride=2)))
SPACE = EarlyExitSpace(BACKBONE, ("pool_linear", *TYPES), max_exits=3, branch_layers=LAYERS)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return Supernet(BACKBONE, SPACE.branches, (1, 8, 8), 5, seed=0)


@pytest.mark.parametrize("layer", layer_choices(), ids=lambda x: f"{x.kind}-{x.kernel_size}-{x.stride}-{x.width}")
def test_every_layer_gives_what_it_promises_and_extracts_what_it_does(layer: BranchLayer) -> None:
    torch.manual_seed(0)
    module = BRANCH_LAYERS.get(layer.kind).build(8)
    for channels, (height, width) in itertools.product((1, 8), ((8, 8), (5, 3), (1, 1))):
        images = torch.randn(16, channels, height, width)
        given = module.activate(channels, layer)
        recalibrate_batch_norm_(module, [images])
        features = module.eval()(images)
        expected = (16, given, -(-height // layer.stride), -(-width // layer.stride))
        assert features.shape == expected
        assert given == (channels if layer.kind == "pooling" else layer.width)
        assert torch.allclose(module.extract().eval()(images), features, atol=1e-5)


def test_all_six_types_of_the_search_are_there_and_no_layer_comes_twice() -> None:
    kinds = {"convolution", "depthwise_separable", "pointwise", "inverted_residual", "pooling", "identity"}
    assert set(BRANCH_LAYERS) >= kinds
    assert {layer.kind for layer in layer_choices()} == set(BRANCH_LAYERS) - {"identity"}
    assert len(set(layer_choices())) == len(layer_choices())


def test_random_networks_of_searched_branches_pass_the_checks_of_all_networks(supernet: Supernet) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        architecture = SPACE.with_all_exits(SPACE.sample(rng), rng)
        check_taps(supernet, architecture)
        check_extraction(supernet, architecture)
        check_gradients(supernet, architecture)
        workload = lower(supernet.extract(architecture))
        assert workload.num_stages == len(architecture.exits) + 1


def test_branches_at_a_tap_share_weights(supernet: Supernet) -> None:
    """Training one changes what another with the same layer in the same slot starts from."""
    layer, other = BranchLayer("convolution", 3, 1, 8), BranchLayer("pooling", 3, 2, 1)
    largest = SPACE.max_architecture()
    short = ExitChoice(0, "searched", None, (layer,))
    long = ExitChoice(0, "searched", None, (layer, other))
    taps = [supernet.taps[0]["searched"]]  # type: ignore[index]
    first = taps[0].slots[0]["convolution"].conv.conv.weight
    for choice in (short, long):
        network = supernet.extract(type(largest)(**{**vars(largest), "exits": (choice,)}))
        assert torch.equal(network.branches[0].layer0.conv.weight, first[:8, : largest.stages[0].width, 1:-1, 1:-1])  # type: ignore[union-attr,index]


def test_wrong_layers_are_refused_in_words(supernet: Supernet) -> None:
    branch = EXIT_BRANCHES.get("searched").build(4, 8, 8, 5)
    assert isinstance(branch, LayeredBranch)
    layer = BranchLayer("pointwise", 1, 1, 8)
    with pytest.raises(ConfigError, match="at most 4 layers, got 5"):
        branch.choose([layer] * 5)
    with pytest.raises(ConfigError, match="one of the choices of its type"):
        branch.choose([BranchLayer("pointwise", 3, 1, 8)])
    with pytest.raises(UnknownNameError, match="Did you mean 'pointwise'"):
        branch.choose([BranchLayer("pointwize", 1, 1, 8)])
    largest = SPACE.max_architecture()
    wrong = type(largest)(**{**vars(largest), "exits": (ExitChoice(0, "pool_linear", None, (layer,)),)})
    with pytest.raises(ConfigError, match="'pool_linear' must have no choice of layers"):
        supernet.activate(wrong)


def test_the_example_of_the_how_to_page_works_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "add-a-branch-layer.md").read_text()
    (plug_in,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert list(BRANCH_LAYERS)
    monkeypatch.setattr(BRANCH_LAYERS, "_items", dict(BRANCH_LAYERS._items))
    exec(compile(plug_in, "add-a-branch-layer.md", "exec"), {"__name__": __name__})
    own = BRANCH_LAYERS.get("double_pointwise")
    assert set(own.choices()) <= set(layer_choices())
    for layer in own.choices():
        test_every_layer_gives_what_it_promises_and_extracts_what_it_does(layer)
