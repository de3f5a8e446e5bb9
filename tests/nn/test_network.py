"""EarlyExitNetwork: all exits at once or stage by stage, and the size of its input."""

import pytest
import torch
from torch import nn

from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork, Resize, input_size
from offramp.nn.quantization.quantize import prepare_
from tests.nn.members import SMALL, images, member, small_supernet


def test_stage_by_stage_gives_what_forward_gives() -> None:
    network = small_supernet().eval().extract(member(SMALL, max, ((0, "conv"), (2, "pool_mlp"))))
    assert network.num_exits == 3
    features = images()
    for index, expected in enumerate(network(images())):
        features, logits = network.run_stage(index, features)
        assert torch.equal(logits, expected)


@pytest.mark.parametrize("places", [(0, 1, 2), (0, 2), (1,), ()])
def test_kept_exits_answer_as_before(places: tuple[int, ...]) -> None:
    choices = ((0, "conv"), (1, "pool_linear"), (2, "pool_mlp"))
    network = small_supernet().eval().extract(member(SMALL, max, choices))
    cut = network.with_exits(places)
    assert cut.architecture == member(SMALL, max, tuple(choices[place] for place in places))
    assert not cut.training
    answers = network(images())
    for expected, logits in zip([*(answers[place] for place in places), answers[-1]], cut(images()), strict=True):
        assert torch.equal(logits, expected)
    lowered = lower(small_supernet().eval().extract(cut.architecture))
    assert [layer.shape for layer in lower(cut).layers] == [layer.shape for layer in lowered.layers]
    assert lower(cut).num_stages == len(places) + 1


@pytest.mark.parametrize("places", [(1, 0), (0, 0), (3,), (-1,)])
def test_only_early_exits_are_kept_in_order(places: tuple[int, ...]) -> None:
    network = small_supernet().extract(member(SMALL, max, ((0, "conv"), (2, "pool_mlp"))))
    with pytest.raises(ValueError, match="increasing numbers of early exits, 0 to 1"):
        network.with_exits(places)


def test_the_example_fits() -> None:
    network = small_supernet().eval().extract(member(SMALL, min))
    assert network.example_input(3).shape == (3, 3, 12, 12)
    assert network(network.example_input(3))[0].shape == (3, 4)


def test_every_stage_has_a_branch() -> None:
    with pytest.raises(ValueError, match="2 stages, 1 branches"):
        EarlyExitNetwork(member(SMALL, min), [nn.Identity(), nn.Identity()], [nn.Identity()], (3, 8, 8), 2)


@pytest.mark.parametrize(
    ("shape", "resolution", "expected"),
    [((3, 32, 32), 32, (32, 32)), ((1, 20, 30), 10, (10, 15)), ((1, 30, 1), 3, (3, 1))],
)
def test_resolution_is_the_height(shape: tuple[int, int, int], resolution: int, expected: tuple[int, int]) -> None:
    assert input_size(shape, resolution) == expected


def test_resize_leaves_images_of_the_right_size_alone() -> None:
    batch = images()
    assert Resize(12, 12)(batch) is batch
    constant = torch.full((1, 2, 5, 7), 3.0)
    assert torch.equal(Resize(4, 9)(constant), torch.full((1, 2, 4, 9), 3.0))


@pytest.mark.parametrize(("places", "end"), [((), 0), ((), 1), ((0,), 1), ((0, 1), 2), ((), 2), ((1,), 2)])
def test_a_network_cut_behind_an_exit_is_the_extracted_one(places: tuple[int, ...], end: int) -> None:
    """Taps of SMALL: 0 | 1, 2 | 3, 4. The exit at tap 1 lies inside a stage, that at tap 2 at its end."""
    choices = ((0, "conv"), (1, "pool_linear"), (2, "pool_mlp"))
    supernet = small_supernet().eval()
    network = supernet.extract(member(SMALL, max, choices))
    cut = network.with_exits(places, end, (1, 2, 2))
    assert [choice.tap for choice in cut.architecture.exits] == list(places)
    assert cut.architecture.head is not None
    assert (cut.architecture.head.tap, cut.architecture.head.branch) == choices[end]
    extracted = supernet.extract(cut.architecture)
    answers = network(images())
    for expected, logits, again in zip(
        [*(answers[place] for place in places), answers[end]], cut(images()), extracted(images()), strict=True
    ):
        assert torch.equal(logits, expected)
        assert torch.equal(again, expected)
    assert lower(cut).macs_to_exit() == lower(extracted).macs_to_exit()
    assert [layer.shape for layer in lower(cut).layers] == [layer.shape for layer in lower(extracted).layers]
    # Nothing behind the cut is extracted: as many parameters as the parts in front of it have.
    parts = [*list(network.stages)[: end + 1], *(network.branches[place] for place in (*places, end))]
    assert sum(p.numel() for p in extracted.parameters()) == sum(p.numel() for x in parts for p in x.parameters())
    # Cutting the cut network at its own end changes nothing.
    assert cut.with_exits(range(len(places))) is cut


@pytest.mark.parametrize(("places", "end"), [((), 0), ((0,), 1), ((1,), 2), ((), 2)])
def test_a_quantised_network_cut_behind_an_exit_is_the_one_that_is_quantised_by_itself(
    places: tuple[int, ...], end: int
) -> None:
    supernet = small_supernet().eval()
    network = supernet.extract(member(SMALL, max, ((0, "conv"), (1, "pool_linear"), (3, "pool_mlp"))))
    prepare_(network, [images(16)])
    cut = network.eval().with_exits(places, end, (1, 2, 2))
    alone = supernet.extract(cut.architecture)
    prepare_(alone, [images(16)])
    for logits, again in zip(cut(images()), alone.eval()(images()), strict=True):
        assert torch.equal(logits, again)
    assert [layer.shape for layer in lower(cut).layers] == [layer.shape for layer in lower(alone).layers]
