"""Exits that reuse the exit before: logits, layers and MACs worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from offramp.nn.backbone import BACKBONES
from offramp.nn.exit_link import ExitReuse, build_link
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import convert_, prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Architecture, ExitChoice, Precision, StageChoice
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.workload.layer import Op

SHAPE = (1, 8, 8)
BRANCHES = ("global_pool", "conv")
REUSES: tuple[ExitReuse, ...] = ("cascade", "geometric_mean")


class Constant(nn.Module):
    """A branch that always gives the same logits."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([logits]))

    def forward(self, features: Tensor) -> Tensor:
        return self.logits.expand(len(features), -1)


def three_exits() -> EarlyExitNetwork:
    """Own logits (1, 0), (0, 2) and (3, 0); exit 1 adds twice, exit 2 half of what the exit before found."""
    architecture = Architecture(
        "toy", 1, (StageChoice(1, 1, (3,), (1,)),), (ExitChoice(0, "constant"), ExitChoice(1, "constant")), "constant"
    )
    links = {}
    for index, weight in ((1, 2.0), (2, 0.5)):
        links[index] = build_link("geometric_mean", 2)
        nn.init.constant_(next(links[index].parameters()), weight)
    stages = [nn.Identity(), nn.Identity(), nn.Identity()]
    branches = [Constant(1.0, 0.0), Constant(0.0, 2.0), Constant(3.0, 0.0)]
    return EarlyExitNetwork(architecture, stages, branches, (1, 1, 1), 2, links)


def test_an_exit_adds_its_share_of_the_exit_before() -> None:
    found = [item[0].tolist() for item in three_exits()(torch.zeros(1, 1, 1, 1))]
    # (0, 2) + 2 (1, 0) = (2, 2), and (3, 0) + 1/2 (2, 2) = (4, 1).
    assert found == [[1.0, 0.0], [2.0, 2.0], [4.0, 1.0]]


def test_the_answer_is_a_geometric_mean_of_probabilities() -> None:
    first, second, _ = three_exits()(torch.zeros(1, 1, 1, 1))
    own = torch.tensor([0.0, 2.0]).softmax(0)
    product = own * first[0].softmax(0) ** 2
    assert torch.allclose(second[0].softmax(0), product / product.sum())


def test_a_cascade_adds_a_matrix_times_the_logits_before_and_begins_with_nothing() -> None:
    link = build_link("cascade", 2)
    previous, own = torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 7.0]])
    assert link(previous, own).tolist() == [[5.0, 7.0]]
    with torch.no_grad():
        next(link.parameters()).copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    # 1 + 4 and 3 + 8 are added.
    assert link(previous, own).tolist() == [[10.0, 18.0]]


def test_no_gradient_flows_into_the_exit_before() -> None:
    network = three_exits()
    network(torch.zeros(1, 1, 1, 1))[-1].sum().backward()
    branches = [branch.logits.grad for branch in network.branches if isinstance(branch, Constant)]
    assert branches[0] is None
    assert branches[1] is None
    assert branches[2] is not None


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        # Without exit 1, the final one reads exit 0: (3, 0) + 1/2 (1, 0). Without exit 0, exit 1 reads nothing.
        ((0,), [[1.0, 0.0], [3.5, 0.0]]),
        ((1,), [[0.0, 2.0], [3.0, 1.0]]),
        ((), [[3.0, 0.0]]),
    ],
)
def test_an_exit_reads_the_one_before_it_that_is_kept(kept: tuple[int, ...], expected: list[list[float]]) -> None:
    found = three_exits().with_exits(kept)(torch.zeros(1, 1, 1, 1))
    assert [item[0].tolist() for item in found] == expected


def test_stage_by_stage_is_the_same_as_at_once() -> None:
    network, features = three_exits(), torch.zeros(1, 1, 1, 1)
    logits: Tensor | None = None
    for index, whole in enumerate(network(features)):
        features, logits = network.run_stage(index, features, logits)
        assert torch.equal(logits, whole)


def test_the_first_exit_has_no_link() -> None:
    network = three_exits()
    with pytest.raises(ValueError, match="links must be for exits 1 to 2, got"):
        EarlyExitNetwork(
            network.architecture, list(network.stages), list(network.branches), (1, 1, 1), 2, {0: nn.Identity()}
        )


def linked(reuse: ExitReuse) -> tuple[Supernet, Architecture]:
    """A supernet with random links, and its smallest backbone with an exit at every tap."""
    backbone = BACKBONES.get("resnet").space(SHAPE)
    supernet = Supernet(backbone, BRANCHES, SHAPE, 3, seed=0, exit_reuse=reuse)
    generator = torch.Generator().manual_seed(1)
    for link in supernet.links:
        nn.init.normal_(next(link.parameters()), generator=generator)
    space = EarlyExitSpace(backbone, BRANCHES)
    return supernet.eval(), space.with_all_exits(space.min_architecture(), np.random.default_rng(0))


@pytest.mark.parametrize("reuse", REUSES)
def test_an_extracted_network_answers_as_the_supernet_does(reuse: ExitReuse) -> None:
    supernet, architecture = linked(reuse)
    images = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    for exits in (architecture.exits, architecture.exits[1:], ()):
        chosen = replace(architecture, exits=exits)
        supernet.activate(chosen)
        network = supernet.extract(chosen)
        assert sorted(network.links) == [str(index + 1) for index in range(len(exits))]
        for ours, theirs in zip(supernet(images), network(images), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_supernet_trains_exits_behind_any_other_exit_or_none() -> None:
    """What an exit adds in training is a drawn one's; in evaluation, that of the exit before it."""
    supernet, architecture = linked("cascade")
    supernet.activate(architecture)
    images = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    plain = [item.clone() for item in supernet(images)]
    seen = set()
    for seed in range(20):
        supernet.draw_predecessors(np.random.default_rng(seed))
        assert supernet._predecessors is not None
        assert supernet._predecessors[0] == -1
        seen.add(supernet._predecessors[2])
        assert all(torch.equal(a, b) for a, b in zip(supernet(images), plain, strict=True))
    assert seen == {-1, 0, 1}


@pytest.mark.parametrize(("reuse", "op", "macs"), [("cascade", Op.DENSE, 9), ("geometric_mean", Op.CONV, 3)])
def test_links_are_charged(reuse: ExitReuse, op: Op, macs: int) -> None:
    """Three classes: 3 x 3 MACs of a matrix or 3 of weights, and a sum; each reads the exit before."""
    supernet, architecture = linked(reuse)
    workload, plain = lower(supernet.extract(architecture)), lower(supernet.extract(architecture).with_exits(()))
    links = [layer for layer in workload.layers if layer.name.startswith("links.")]
    assert [(layer.shape.op, layer.shape.macs, layer.stage) for layer in links] == [
        (op, macs, 1),
        (Op.ADD, 0, 1),
        (op, macs, 2),
        (Op.ADD, 0, 2),
    ]
    assert links[0].inputs == (workload.exits[0],)
    assert links[2].inputs == (workload.exits[1],) == (links[1].name,)
    # Without exits, the final classifier is priced without its link.
    static = workload.static()
    assert [layer.shape for layer in static.layers] == [layer.shape for layer in plain.layers]
    assert static.exits == ("branches.2.linear",)


@pytest.mark.parametrize("reuse", REUSES)
def test_links_are_quantised_and_computed_in_integers(reuse: ExitReuse) -> None:
    supernet, architecture = linked(reuse)
    eight = Precision(8, 8)
    network = supernet.extract(architecture)
    network.architecture = replace(architecture, precision=eight, branch_precision=eight)
    images = torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(0))
    exact = network(images)
    prepare_(network, [images])
    quantised = network(images)
    layers = [layer for layer in lower(network).layers if layer.name.startswith("links.")]
    assert {(layer.shape.weight_bits, layer.shape.activation_bits) for layer in layers} == {(8, 8)}
    for ours, theirs in zip(quantised, exact, strict=True):
        assert 0 < (ours - theirs).abs().max() < 0.1 * theirs.abs().max()
    convert_(network)
    for ours, theirs in zip(network(images), quantised, strict=True):
        assert torch.equal(ours, theirs)
