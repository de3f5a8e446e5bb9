"""Bit widths part by part: what is marked, what is lowered, trained and exported."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from offramp.errors import ConfigError
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.activation_layers import GridToFloat, QuantizedIdentity, QuantizedLayer
from offramp.nn.quantization.integer_layers import Dequantize
from offramp.nn.quantization.precision_marks import mark_precision_, marked_precision, precision_at
from offramp.nn.quantization.quantize import convert_, prepare_
from offramp.space.architecture import Architecture, Precision, StageChoice
from offramp.workload.graph import Role
from tests.nn import members

FLOAT, EIGHT, FOUR, TERNARY = Precision(32, 32), Precision(8, 8), Precision(4, 4), Precision(2, 7, ternary=True)
EXITS = ((0, "conv"), (1, "pool_linear"))


def architecture(*precisions: tuple[Precision, ...]) -> Architecture:
    """One block a stage, with these precisions; the rest 8/8, the branch of the first exit 4/4."""
    base = members.member(members.SMALL, min, EXITS)
    stages = tuple(replace(stage, precisions=p) for stage, p in zip(base.stages, precisions, strict=True))
    first, second = base.exits
    return replace(base, stages=stages, exits=(replace(first, precision=FOUR), second))


def network(*precisions: tuple[Precision, ...]) -> EarlyExitNetwork:
    return members.small_supernet().extract(architecture(*precisions)).eval()


def test_marks_hold_inside_and_survive_copies() -> None:
    module = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), nn.Conv2d(3, 3, 1))
    mark_precision_(module[0], FOUR)
    twin = copy.deepcopy(module)
    mark_precision_(module[0], None)
    assert marked_precision(module[0]) is None
    assert marked_precision(twin[0]) == FOUR
    assert precision_at(twin, "0.0", EIGHT) == FOUR
    assert precision_at(twin, "1", EIGHT) == EIGHT
    mark_precision_(twin, TERNARY)
    assert precision_at(twin, "1", EIGHT) == precision_at(twin, "", EIGHT) == TERNARY
    assert precision_at(twin, "0.1", EIGHT) == FOUR
    assert list(twin.state_dict()) == list(module.state_dict())


def test_every_layer_is_priced_at_its_own_bits_and_reads_what_was_written() -> None:
    """Stem 8/8; blocks 4/4, ternary/7, float; branches 4/4, 8/8 and 8/8."""
    workload = lower(network((FOUR,), (TERNARY,), (FLOAT,)))
    bits = {
        layer.name: (layer.shape.weight_bits, layer.shape.bits_of_input(0), layer.shape.activation_bits)
        for layer in workload.layers
    }
    assert bits["stages.0.stem.conv"] == (8, 8, 8)
    assert bits["stages.0.block0.depthwise.conv"] == (4, 8, 4)
    assert bits["stages.0.block0.project.conv"] == (4, 4, 4)
    assert bits["branches.0.conv.conv"] == (4, 4, 4)
    assert bits["stages.1.block1.expand.conv"] == (2, 4, 7)
    assert bits["branches.1.linear"] == (8, 7, 8)
    assert bits["stages.2.block3.expand.conv"] == (32, 7, 32)
    assert bits["stages.2.block3.project.conv"] == (32, 32, 32)
    # What comes in floating point is quantised on the way in.
    assert bits["branches.2.pool"] == (8, 8, 8)
    assert bits["branches.2.linear"] == (8, 8, 8)


def test_an_addition_reads_each_of_its_inputs_at_its_own_bits() -> None:
    base = members.member(members.SMALL, max)
    precisions = ((EIGHT,), (EIGHT, FOUR), (EIGHT, EIGHT))
    stages = tuple(replace(stage, precisions=p) for stage, p in zip(base.stages, precisions, strict=True))
    workload = lower(members.small_supernet().extract(replace(base, stages=stages)))
    # In each of the two later stages the second block adds its own output and that of the first one.
    first, second = (layer for layer in workload.layers if layer.shape.op == "add")
    assert (first.shape.input_bits, first.shape.activation_bits) == ((4, 8), 4)
    assert (second.shape.input_bits, second.shape.activation_bits) == ((), 8)


def test_images_have_eight_bits_unless_the_first_layer_is_in_floating_point() -> None:
    for stem, expected in ((FOUR, 8), (EIGHT, 8), (FLOAT, 32)):
        member = replace(architecture((FOUR,), (FOUR,), (FOUR,)), precision=stem)
        first = lower(members.small_supernet().extract(member)).layers[0].shape
        assert first.bits_of_input(0) == expected


@pytest.mark.parametrize(
    "precisions",
    [
        ((FOUR,), (TERNARY,), (FLOAT,)),
        ((FLOAT,), (EIGHT,), (FOUR,)),
        ((EIGHT, FOUR), (TERNARY, FLOAT, FOUR), (FLOAT, EIGHT, FLOAT)),
    ],
)
def test_mixed_bits_deploy_as_trained(precisions: tuple[tuple[Precision, ...], ...]) -> None:
    mixed = network(*precisions)
    workload, images = lower(mixed), members.images(8, seed=4)
    prepare_(mixed, [members.images(32)])
    assert lower(mixed) == workload
    with torch.no_grad():
        prepared = mixed(images)
        convert_(mixed)
        deployed = mixed(images)
    assert all(torch.equal(a, b) for a, b in zip(prepared, deployed, strict=True))


def test_values_leave_their_grid_before_a_float_layer_and_get_one_after_it() -> None:
    mixed = network((FOUR,), (FLOAT,), (EIGHT,))
    prepare_(mixed, [members.images()])
    modules = dict(mixed.named_modules())
    limits = {n: m.weight_limits for n, m in modules.items() if hasattr(m, "weight_limits")}
    assert not [name for name in limits if name.startswith("stages.1")]
    entries = [name for name, module in modules.items() if isinstance(module, QuantizedIdentity)]
    stage, first, second = entries[0], *(name for name in entries[1:] if name.startswith(("stages.2", "branches.1")))
    assert stage == "stages.0.quantize_input"
    assert (first, second) == ("stages.2.block3.expand.quantize_input", "branches.1.quantize_input")
    assert not [m for m in mixed.stages[1].modules() if isinstance(m, QuantizedLayer)]
    assert [n for n, m in modules.items() if isinstance(m, GridToFloat)] == ["stages.1.block1.expand.to_float"]
    convert_(mixed)
    assert isinstance(dict(mixed.named_modules())["stages.1.block1.expand.to_float"], Dequantize)


def test_a_stage_in_floating_point_altogether_is_left_alone() -> None:
    """Its input is taken off the grid on conversion."""
    member = replace(architecture((FOUR,), (FLOAT,), (EIGHT,)), precision=FLOAT)
    mixed = members.small_supernet().extract(member).eval()
    images = members.images(seed=2)
    prepare_(mixed, [images])
    assert not [m for m in mixed.stages[1].modules() if isinstance(m, QuantizedLayer | GridToFloat)]
    with torch.no_grad():
        prepared = mixed(images)
        convert_(mixed)
        assert isinstance(mixed.stages[1][0], Dequantize)
        assert all(torch.equal(a, b) for a, b in zip(prepared, mixed(images), strict=True))


def test_one_layer_in_floating_point_among_others() -> None:
    mixed = network((EIGHT, FLOAT), (EIGHT,), (EIGHT,))
    prepare_(mixed, [members.images()])
    assert [n for n, m in mixed.named_modules() if isinstance(m, GridToFloat)] == ["stages.0.block0.project.to_float"]


def test_a_supernet_takes_one_precision_per_block_or_per_layer() -> None:
    stages = (StageChoice(1, 4, (3,), (1,), (EIGHT, FOUR, FOUR)), *architecture((), (), ()).stages[1:])
    with pytest.raises(ConfigError, match="precisions of stage 0 must be none, one per block or 2 per block, got 3"):
        members.small_supernet().extract(replace(architecture((), (), ()), stages=stages))


def test_precisions_of_one_candidate_do_not_stick_to_the_next() -> None:
    supernet = members.small_supernet()
    supernet.extract(architecture((FOUR,), (TERNARY,), (FLOAT,)))
    plain = lower(supernet.extract(members.member(members.SMALL, min, EXITS)))
    backbone = [layer.shape for layer in plain.layers if layer.role is Role.BACKBONE]
    assert {(shape.weight_bits, shape.activation_bits, shape.input_bits) for shape in backbone} == {(8, 8, ())}
