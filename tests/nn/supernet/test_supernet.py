"""The supernet: what is active, what is extracted, what is refused."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from offramp.errors import ConfigError, InputError, UnknownNameError
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Architecture, ExitChoice
from offramp.space.cut_networks import cut_at
from offramp.space.early_exit_space import EarlyExitSpace
from tests.nn.members import BRANCHES, SMALL, family_space, images, member, small_supernet

EXITS = ((0, "conv"), (1, "pool_linear"), (3, "depthwise_separable"))


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return small_supernet().eval()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_any_member_extracts_to_the_same_function(seed: int, training: bool) -> None:
    supernet = small_supernet(seed % 1000).train(training)
    space = EarlyExitSpace(SMALL, BRANCHES, max_exits=5, final_branch=BRANCHES[seed % len(BRANCHES)])
    architecture = space.sample(default_rng(seed))
    supernet.activate(architecture)
    network = supernet.extract(architecture)
    assert network.training == training
    # In training mode both must also see the same batch statistics and update their running ones alike.
    for _ in range(2):
        outputs = supernet(images())
        assert len(outputs) == len(architecture.exits) + 1
        for ours, theirs in zip(outputs, network(images()), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    supernet.eval()
    network.eval()
    for ours, theirs in zip(supernet(images()), network(images()), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_extracted_networks_are_small_and_independent(supernet: Supernet) -> None:
    small = supernet.extract(member(SMALL, min))
    # stem 16, then 4x4 depthwise-separable stages without exits: by hand from the smallest choices
    expected = 3 * 16 * 9 + 2 * 16
    expected += 16 * 9 + 2 * 16 + 16 * 4 + 2 * 4
    expected += 4 * 8 + 2 * 8 + 8 * 9 + 2 * 8 + 8 * 6 + 2 * 6
    expected += 6 * 12 + 2 * 12 + 12 * 9 + 2 * 12 + 12 * 8 + 2 * 8
    expected += 8 * 4 + 4
    assert sum(p.numel() for p in small.parameters()) == expected
    before = small(images())[0]
    other = copy.deepcopy(supernet)
    again = other.extract(member(SMALL, min))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(again(images())[0], before)


def test_extract_keeps_what_is_active(supernet: Supernet) -> None:
    active = member(SMALL, max, EXITS)
    supernet.activate(active)
    before = supernet(images())
    supernet.extract(member(SMALL, min))
    assert supernet.active_architecture == active
    for first, second in zip(before, supernet(images()), strict=True):
        assert torch.equal(first, second)


def test_early_logits_do_not_depend_on_later_choices(supernet: Supernet) -> None:
    supernet.activate(member(SMALL, max, EXITS[:1]))
    alone = supernet(images())[0]
    supernet.activate(member(SMALL, max, EXITS))
    assert torch.equal(supernet(images())[0], alone)


def test_members_share_weights() -> None:
    supernet = small_supernet().eval()
    supernet.activate(member(SMALL, max, EXITS))
    before = supernet(images())
    supernet.activate(member(SMALL, min))
    supernet(images())[0].sum().backward()
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    supernet.activate(member(SMALL, max, EXITS))
    assert not torch.allclose(supernet(images())[0], before[0])


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = small_supernet(seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    second, other = small_supernet(seed=3).state_dict(), small_supernet(seed=4).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_weights_survive_saving_and_loading(supernet: Supernet) -> None:
    other = small_supernet(seed=9).eval()
    other.load_state_dict(supernet.state_dict())
    for net in (supernet, other):
        net.activate(member(SMALL, max, EXITS))
    for first, second in zip(supernet(images()), other(images()), strict=True):
        assert torch.equal(first, second)


def test_images_are_resized_to_the_resolution(supernet: Supernet) -> None:
    large = member(SMALL, max, EXITS)
    small = replace(large, resolution=8)
    resized = torch.nn.functional.interpolate(images(), size=(8, 8), mode="bilinear", align_corners=False)
    supernet.activate(small)
    outputs, network = supernet(images()), supernet.extract(small)
    for ours, extracted, direct in zip(outputs, network(images()), supernet(resized), strict=True):
        torch.testing.assert_close(ours, extracted)
        torch.testing.assert_close(ours, direct)
    supernet.activate(large)
    assert not torch.allclose(supernet(images())[0], outputs[0])


def test_resolution_keeps_the_shape_of_wide_images() -> None:
    space = replace(SMALL, resolutions=(6, 12))
    supernet = Supernet(space, ("pool_linear",), (3, 12, 20), 4, 0).eval()
    architecture = replace(member(space, min), exits=(ExitChoice(0, "pool_linear"),))
    network = supernet.extract(architecture)
    features, _ = network.run_stage(0, torch.randn(2, 3, 12, 20))
    assert features.shape[-2:] == (6, 10)


WRONG: list[tuple[Callable[[Architecture], Architecture], str]] = [
    (lambda a: replace(a, backbone="resnet"), "must be of backbone 'mobilenetv2', got 'resnet'"),
    (lambda a: replace(a, resolution=9), r"`resolution` must be one of \(8, 12\), got 9"),
    (lambda a: replace(a, stages=a.stages[:2]), "must have 3 stages, got 2"),
    (
        lambda a: replace(a, stages=(replace(a.stages[0], width=5), *a.stages[1:])),
        r"width of stage 0 .*\(4, 6\), got 5",
    ),
    (
        lambda a: replace(a, stages=(a.stages[0], replace(a.stages[1], kernel_sizes=(3, 9)), a.stages[2])),
        r"kernel size of stage 1 must be one of \(3, 5, 7\), got 9",
    ),
    (
        lambda a: replace(a, stages=(a.stages[0], replace(a.stages[1], expansions=(4, 2)), a.stages[2])),
        r"expansion of stage 1 must be one of \(2, 3\), got 4",
    ),
    (lambda a: replace(a, exits=(ExitChoice(4, "conv"),)), r"tap 4 is the last block.*\[0, 1, 2, 3\]"),
    (lambda a: replace(a, exits=(ExitChoice(17, "conv"),)), "got tap 17"),
    (lambda a: replace(a, exits=(ExitChoice(0, "cone"),)), "Unknown exit branch 'cone'. Did you mean 'conv'"),
    (lambda a: replace(a, final_branch="cone"), "Unknown final branch 'cone'. Did you mean 'conv'"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_is_outside_the_space_is_refused(
    supernet: Supernet, change: Callable[[Architecture], Architecture], message: str
) -> None:
    right = member(SMALL, max, EXITS)
    supernet.activate(right)
    with pytest.raises(InputError, match=message):
        supernet.activate(change(right))
    assert supernet.active_architecture == right
    assert len(supernet(images())) == 4


def test_taps_of_inactive_blocks_are_refused(supernet: Supernet) -> None:
    with pytest.raises(ConfigError, match=r"got tap 2; early exits may sit at \[0, 1\]"):
        supernet.activate(member(SMALL, min, ((2, "conv"),)))


@pytest.mark.parametrize(
    ("shape", "classes", "message"), [((3, 0, 8), 4, "input_shape"), ((3, 8, 8), 1, "num_classes")]
)
def test_impossible_sizes_are_refused(shape: tuple[int, int, int], classes: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Supernet(SMALL, (), shape, classes, 0)


def test_unknown_plug_ins_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Unknown exit branch"):
        Supernet(SMALL, ("cone",), (3, 8, 8), 4, 0)
    with pytest.raises(UnknownNameError, match="Unknown backbone"):
        Supernet(replace(SMALL, name="alexnet"), (), (3, 8, 8), 4, 0)


def test_running_before_activating_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="activate"):
        small_supernet()(images())


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2"])
def test_autocast_and_channels_last(name: str) -> None:
    space = family_space(name, (3, 16, 16))
    supernet = Supernet(space, BRANCHES, (3, 16, 16), 4, 0)
    architecture = member(space, min, ((0, "conv"), (2, "pool_mlp")) if name == "resnet" else ((0, "pool_linear"),))
    supernet.activate(architecture)
    batch = images(8, 16)
    plain = supernet(batch)
    supernet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = supernet(batch.contiguous(memory_format=torch.channels_last))
    sum(logits.float().square().sum() for logits in mixed).backward()  # type: ignore[union-attr]
    assert all(bool(p.grad.isfinite().all()) for p in supernet.parameters() if p.grad is not None)
    for exact, rough in zip(plain, mixed, strict=True):
        assert rough.dtype == torch.bfloat16
        torch.testing.assert_close(rough.float(), exact, atol=0.2, rtol=0.1)
    network = supernet.extract(architecture)
    assert network.branches[0] is not None
    for exact, extracted in zip(supernet(batch), network(batch), strict=True):
        torch.testing.assert_close(exact, extracted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("tap", "branch", "message"),
    [
        (4, "conv", "before the last tap of the family"),
        (2, "conv", "last block of the network"),
        (1, "x", "exit branch.*x"),
    ],
)
def test_a_head_outside_the_space_is_refused(supernet: Supernet, tap: int, branch: str, message: str) -> None:
    whole = member(SMALL, max)
    cut = {
        4: whole,
        2: cut_at(whole, ExitChoice(1, "conv"), (1, 2, 2)),
        1: cut_at(whole, ExitChoice(1, "x"), (1, 2, 2)),
    }
    with pytest.raises(InputError, match=message):
        supernet.extract(replace(cut[tap], head=ExitChoice(tap, branch)))


def test_fewer_stages_need_a_head(supernet: Supernet) -> None:
    cut = cut_at(member(SMALL, max), ExitChoice(1, "conv"), (1, 2, 2))
    with pytest.raises(ConfigError, match="must have 3 stages, got 2"):
        supernet.extract(replace(cut, head=None))
