"""The elastic vision transformer: its sizes, its MACs, its attention, what it refuses, and that it learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from offramp.errors import ConfigError, UnsupportedLayerError
from offramp.nn.backbone import BACKBONES
from offramp.nn.elastic.elastic_tokens import HEAD_CHANNELS, ElasticAttention
from offramp.nn.lowering.lower import lower
from offramp.nn.quantization.quantize import prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.nn.weight_pruning import matrix_layers
from offramp.progress import SilentReporter
from offramp.run.factory import build_context, build_dataset
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.space.architecture import Architecture, StageChoice
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.search_space import StageSpace
from offramp.space.stage_genes import StageGenes
from offramp.testing.conformance import check_backbone

SHAPE = (1, 8, 8)


def supernet_of(shape: tuple[int, int, int] = SHAPE) -> Supernet:
    return Supernet(BACKBONES.get("vit").space(shape), ("global_pool",), shape, 5, 0)


def architecture(stage: StageChoice) -> Architecture:
    return Architecture("vit", SHAPE[1], (stage,))


@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 49, 10), (2, 1, 40)])
def test_it_does_all_that_a_family_must_on_maps_and_series(shape: tuple[int, int, int]) -> None:
    check_backbone("vit", shape)


def test_patches_leave_about_sixty_four_tokens() -> None:
    for size, patch in (((8, 8), 2), ((28, 28), 4), ((96, 96), 12), ((1, 640), 10)):
        assert BACKBONES.get("vit").space((1, *size)).stem_stride == patch


def test_macs_are_those_counted_by_hand() -> None:
    """16 tokens of 32 channels, 2 blocks, 2 heads of 16 channels, inner width 64."""
    stage = StageChoice(2, 32, (1, 1), (2, 2), heads=(2, 2))
    network = supernet_of().extract(architecture(stage))
    stem, position = 16 * 4 * 32, 16 * 9 * 32
    attention = 16 * 32 * (3 * 32) + 2 * 2 * (16 * 16 * 16) + 16 * 32 * 32
    dense = 2 * 16 * 32 * 64
    assert lower(network).macs_to_exit()[-1] == stem + position + 2 * (attention + dense) + 32 * 5


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = ElasticAttention(32, 2), nn.MultiheadAttention(32, 2, batch_first=True)
    layers = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))  # type: ignore[arg-type]
        theirs.out_proj.weight.copy_(ours.join.weight)  # type: ignore[arg-type]
        nn.init.zeros_(theirs.in_proj_bias)
        tokens = torch.randn(3, 7, 32)
        expected, _ = theirs(tokens, tokens, tokens)
        assert torch.allclose(ours(tokens), expected, atol=1e-5)
    assert 2 * HEAD_CHANNELS == 32


def test_fewer_heads_are_the_first_ones() -> None:
    torch.manual_seed(0)
    attention, tokens = ElasticAttention(32, 4), torch.randn(2, 5, 32)
    attention.activate(32, 1)
    query, key, value = (
        F.linear(tokens, layer.weight[:16], layer.bias[:16])  # type: ignore[index]
        for layer in (attention.query, attention.key, attention.value)
    )
    scores = (query @ key.transpose(1, 2) / 4).softmax(2)
    expected = F.linear(scores @ value, attention.join.weight[:, :16], attention.join.bias)  # type: ignore[index, arg-type]
    assert torch.allclose(attention(tokens), expected, atol=1e-5)


def test_heads_are_genes_of_each_block() -> None:
    space = StageSpace((1, 2), (32,), (1,), (1, 2), heads=(1, 2, 4))
    genes = StageGenes(space, "stage 0")
    assert genes.cardinalities == (2, 1, 1, 1, 2, 2, 3, 3)  # depth, width, kernels, expansions, heads
    assert genes.num_choices(2) == 2**2 * 3**2
    drawn = [genes.sample(np.random.default_rng(seed)) for seed in range(20)]
    assert {len(stage.heads) == stage.depth for stage in drawn} == {True}
    assert StageChoice(2, 32, (1, 1), (1, 2), heads=(4, 1)).first_blocks(1).heads == (4,)
    with pytest.raises(ValueError, match="one value >= 1 per block"):
        StageChoice(2, 32, (1, 1), (1, 1), heads=(4,))
    with pytest.raises(ConfigError, match=r"number of heads of stage 0 must be one of \(1, 2, 4\), got 3"):
        supernet_of().activate(architecture(StageChoice(2, 32, (1, 1), (1, 1), heads=(1, 3))))
    with pytest.raises(ConfigError, match="2 numbers of heads"):
        supernet_of().activate(architecture(StageChoice(2, 32, (1, 1), (1, 1))))


def test_dense_layers_of_blocks_can_be_pruned() -> None:
    network = supernet_of().extract(EarlyExitSpace(BACKBONES.get("vit").space(SHAPE), ("conv",)).min_architecture())
    names = [layer.name for layer in matrix_layers(network)]
    assert sum("attention" in name for name in names) == 2 * 4
    assert sum("expand" in name or "contract" in name for name in names) == 2 * 2


def test_integers_and_analog_cores_are_refused_with_a_sentence() -> None:
    config = with_settings(Config(), {"space.backbone": "vit", "data.source": "digits"})
    digits = build_dataset(config, SilentReporter())
    for settings in (
        {"space.precision": "network"},
        {"fine_tune.quantize": True},
        {"space.analog_shares": (0.0, 1.0), "cost.accelerator": "diana"},
    ):
        with pytest.raises(ConfigError, match="'vit' compute in floating point"):
            build_context(with_settings(config, settings), digits)
    network = supernet_of().extract(EarlyExitSpace(BACKBONES.get("vit").space(SHAPE), ("conv",)).min_architecture())
    with pytest.raises(UnsupportedLayerError):
        prepare_(network, [torch.randn(4, *SHAPE)])


def test_it_learns_where_a_spot_is() -> None:
    """Which quarter of an image is bright needs the places of tokens."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.randn(128, *SHAPE, generator=generator)
    labels = torch.arange(128) % 4
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 1
    network = supernet_of().extract(architecture(StageChoice(2, 32, (1, 1), (2, 2), heads=(2, 2)))).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for step in range(40):
        chosen = torch.arange(step * 32, step * 32 + 32) % 96
        loss = F.cross_entropy(network(images[chosen])[-1], labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        assert float((network(images[96:])[-1].argmax(1) == labels[96:]).float().mean()) > 0.9
