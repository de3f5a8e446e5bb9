"""Conformance checks of backbone families and branch types; each raises AssertionError with a message."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from offramp.nn.backbone import BACKBONES, ElasticBackbone, tap_features
from offramp.nn.batch_norm import recalibrate_batch_norm_
from offramp.nn.branches.exit_branch import EXIT_BRANCHES, ElasticBranch
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Architecture, StageChoice
from offramp.space.cut_networks import static_at
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.search_space import BackboneSpace, StageSpace

_TOLERANCE = 1e-5
_NUM_CLASSES = 5
_BATCH = 16


def check_backbone(name: str, input_shape: tuple[int, int, int] = (3, 8, 8)) -> None:
    """Try a registered backbone family on small images.

    Args:
        name: The registered name.
        input_shape: Shape of the images: channels, height, width.

    Raises:
        AssertionError: If the family does not do what it must; the message says what.
    """
    family = BACKBONES.get(name)
    space = family.space(input_shape)
    _require(family.name == name == space.name, f"family, space and registered name must agree, got {space.name!r}")
    _require(bool(family.description), f"backbone {name!r} must have a description of one line")
    supernet = Supernet(space, ("global_pool",), input_shape, _NUM_CLASSES, seed=0)
    members = EarlyExitSpace(space, ("global_pool",), max_exits=space.num_taps)
    rng = np.random.default_rng(0)
    for member in (members.max_architecture(), members.min_architecture(), members.sample(rng)):
        architecture = members.with_all_exits(member, rng)
        check_taps(supernet, architecture)
        check_extraction(supernet, architecture)
        check_cuts(supernet, architecture)
        check_gradients(supernet, architecture)
    check_macs_grow(supernet, members.min_architecture())


def check_exit_branch(name: str) -> None:
    """Try a registered branch type on maps of even, odd and degenerate sizes and on all widths up to the largest.

    Args:
        name: The registered name.

    Raises:
        AssertionError: If the branch does not do what it must; the message says what.
    """
    branch_type = EXIT_BRANCHES.get(name)
    _require(branch_type.name == name, f"branch type and registered name must agree, got {branch_type.name!r}")
    _require(bool(branch_type.description), f"branch type {name!r} must have a description of one line")
    for (height, width), max_channels in itertools.product(((16, 16), (7, 5), (9, 4), (1, 1)), (6, 1)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            branch = branch_type.build(max_channels, height, width, _NUM_CLASSES)
            _check_branch_sizes(branch, max_channels, height, width)


def check_taps(supernet: Supernet, architecture: Architecture) -> None:
    """Check that feature maps at the taps have the promised sizes, and logits the shape (batch, classes).

    Args:
        supernet: A supernet of the family.
        architecture: A member of its space.

    Raises:
        AssertionError: If they have not.
    """
    supernet.activate(architecture)
    supernet.eval()
    promised = tap_features(supernet.space, supernet.input_shape, architecture.resolution)
    network = supernet.extract(architecture)
    features = _images(supernet, architecture)
    widths = {block.tap: block.channels for block in supernet.backbone.active_blocks}
    last = supernet.backbone.active_blocks[-1].tap
    taps = [choice.tap for choice in architecture.exits] + [last]
    for index, tap in enumerate(taps):
        features, logits = network.run_stage(index, features)
        expected = (len(features), widths[tap], promised[tap].height, promised[tap].width)
        _require(
            tuple(features.shape) == expected, f"features at tap {tap} must be {expected}, got {tuple(features.shape)}"
        )
        _require(logits.shape == (len(features), supernet.num_classes), f"logits at tap {tap}: {tuple(logits.shape)}")


def check_extraction(supernet: Supernet, architecture: Architecture) -> None:
    """Check that the extracted network gives what the active subnet gives, is made of plain layers, and is no larger.

    Args:
        supernet: A supernet of the family.
        architecture: A member of its space.

    Raises:
        AssertionError: If it does not.
    """
    supernet.activate(architecture)
    images = _images(supernet, architecture)
    recalibrate_batch_norm_(supernet, [images])
    supernet.eval()
    network = supernet.extract(architecture)
    with torch.no_grad():
        for index, (active, extracted) in enumerate(zip(supernet(images), network(images), strict=True)):
            _require_close(active, extracted, f"exit {index} of the extracted network and of the active subnet")
    own = {id(parameter) for parameter in network.parameters()}
    _require(own.isdisjoint(id(p) for p in supernet.parameters()), "the extracted network must own its weights")
    elastic = [type(m).__name__ for m in network.modules() if type(m).__name__.startswith("Elastic")]
    _require(not elastic, f"the extracted network must be made of plain layers, got {elastic}")
    _require(
        _num_weights(network) <= _num_weights(supernet), "the extracted network must not be larger than the supernet"
    )


def check_cuts(supernet: Supernet, architecture: Architecture) -> None:
    """Check that a network that ends at an exit is extracted without all that lies behind, and answers as that exit.

    Args:
        supernet: A supernet of the family.
        architecture: A member of its space, with exits.

    Raises:
        AssertionError: If it is not.
    """
    supernet.eval()
    images, depths = _images(supernet, architecture), [max(stage.depths) for stage in supernet.space.stages]
    network = supernet.extract(architecture)
    with torch.no_grad():
        answers = network(images)
        for index, choice in enumerate(architecture.exits):
            cut = supernet.extract(static_at(architecture, index, depths))
            _require_close(cut(images)[0], answers[index], f"the network cut at tap {choice.tap} and exit {index}")
            _require(
                _num_weights(cut) == _num_weights(network.with_exits((), index, depths)),
                f"the network cut at tap {choice.tap} must have no weights from behind it",
            )
    supernet.activate(architecture)


def check_gradients(supernet: Supernet, architecture: Architecture) -> None:
    """Check that the loss of each exit alone reaches the first layer of the backbone.

    Args:
        supernet: A supernet of the family.
        architecture: A member of its space.

    Raises:
        AssertionError: If it does not.
    """
    supernet.activate(architecture)
    supernet.train()
    for index, logits in enumerate(supernet(_images(supernet, architecture))):
        labels = torch.arange(len(logits)) % supernet.num_classes
        loss = nn.functional.cross_entropy(logits, labels)
        stem = cast(ElasticBackbone, supernet.backbone).stem.conv.weight
        (gradient,) = torch.autograd.grad(loss, stem, retain_graph=True, allow_unused=True)
        reached = gradient is not None and bool(gradient.abs().sum() > 0)
        _require(reached, f"the loss of exit {index} must reach the stem of the backbone")


def check_macs_grow(supernet: Supernet, smallest: Architecture) -> None:
    """Check that every layer lowers, and that one step up in any one choice costs more MACs.

    Args:
        supernet: A supernet of the family.
        smallest: The smallest member of its space.

    Raises:
        AssertionError: If it does not.
    """
    base = lower(supernet.extract(smallest)).macs_to_exit()[-1]
    for larger in _one_step_up(supernet.space, smallest):
        macs = lower(supernet.extract(larger)).macs_to_exit()[-1]
        _require(macs > base, f"a larger member must cost more MACs than {base}, got {macs} for {larger.stages}")


def _one_step_up(space: BackboneSpace, smallest: Architecture) -> Iterator[Architecture]:
    for index, (stage, choice) in enumerate(zip(space.stages, smallest.stages, strict=True)):
        for larger in _larger_stages(stage, choice):
            yield replace(smallest, stages=(*smallest.stages[:index], larger, *smallest.stages[index + 1 :]))


def _larger_stages(stage: StageSpace, choice: StageChoice) -> Iterator[StageChoice]:
    depth, kernels, expansions = choice.depth, choice.kernel_sizes, choice.expansions
    if len(stage.depths) > 1:
        extra = stage.depths[1] - depth
        yield StageChoice(
            depth + extra,
            choice.width,
            kernels + kernels[:1] * extra,
            expansions + expansions[:1] * extra,
            heads=choice.heads + choice.heads[:1] * extra,
        )
    if len(stage.widths) > 1:
        yield replace(choice, width=stage.widths[1])
    if len(stage.kernel_sizes) > 1:
        yield replace(choice, kernel_sizes=(stage.kernel_sizes[1], *kernels[1:]))
    if len(stage.expansions) > 1:
        yield replace(choice, expansions=(stage.expansions[1], *expansions[1:]))
    if len(stage.heads) > 1:
        yield replace(choice, heads=(stage.heads[1], *choice.heads[1:]))


def _check_branch_sizes(branch: ElasticBranch, max_channels: int, height: int, width: int) -> None:
    before = 0
    for channels in range(1, max_channels + 1):
        branch.activate(channels, height, width)
        features = torch.randn(_BATCH, channels, height, width, requires_grad=True)
        where = f"with {channels} of {max_channels} channels at {height}x{width}"
        branch.train()
        logits = branch(features)
        _require(
            logits.shape == (_BATCH, _NUM_CLASSES),
            f"logits must be ({_BATCH}, {_NUM_CLASSES}), got {tuple(logits.shape)} {where}",
        )
        (gradient,) = torch.autograd.grad(logits.square().sum(), features)
        _require(bool(gradient.abs().sum() > 0), f"gradients must reach the features {where}")
        branch.eval()
        static = branch.extract().eval()
        with torch.no_grad():
            _require_close(branch(features), static(features), f"active and extracted branch {where}")
        workload = lower(_alone(static, channels, height, width))
        _require(workload.macs_to_exit()[0] > before, f"more channels must cost more MACs {where}")
        before = workload.macs_to_exit()[0]


def _alone(branch: nn.Module, channels: int, height: int, width: int) -> EarlyExitNetwork:
    architecture = Architecture("branch alone", height, (StageChoice(1, channels, (1,), (1,)),))
    return EarlyExitNetwork(architecture, [nn.Identity()], [branch], (channels, height, width), _NUM_CLASSES)


def _images(supernet: Supernet, architecture: Architecture) -> Tensor:
    generator = torch.Generator().manual_seed(len(architecture.exits))
    return torch.randn(6, *supernet.input_shape, generator=generator)


def _num_weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _require_close(actual: Tensor, expected: Tensor, what: str) -> None:
    difference = float((actual - expected).abs().max())
    limit = _TOLERANCE * max(1.0, float(expected.abs().max()))
    _require(difference <= limit, f"{what} must agree within {limit:.0e}, got a difference of {difference:.2e}")


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(f"{sentence}.")
