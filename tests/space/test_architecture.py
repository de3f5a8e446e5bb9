"""Architecture is its own identity and refuses what makes no sense."""

from dataclasses import replace

import pytest

from offramp.errors import InputError
from offramp.jsonio import dumps, loads
from offramp.space.architecture import Architecture, BranchLayer, ExitChoice, PolicyChoice, Precision, StageChoice
from tests.space.precisions import precisions_used

STAGE = StageChoice(2, 16, (3, 5), (1, 6))


def architecture() -> Architecture:
    return Architecture(
        backbone="toy",
        resolution=32,
        stages=(STAGE,),
        exits=(ExitChoice(0, "conv"),),
        policy=PolicyChoice("entropy", 0.01),
        precision=Precision(4, 8),
    )


def test_equal_parts_make_equal_and_equally_hashed_architectures() -> None:
    assert architecture() == architecture()
    assert len({architecture(), architecture(), replace(architecture(), resolution=16)}) == 2


def test_json_both_ways() -> None:
    assert loads(Architecture, dumps(architecture())) == architecture()


def test_damaged_json_is_one_error_that_lists_the_faults() -> None:
    text = dumps(architecture()).replace('"depth":2', '"depth":3').replace('"tap":0', '"tap":-1')
    with pytest.raises(InputError, match=r"2 fault\(s\).*one value per block \(3\).*`tap` must be >= 0"):
        loads(Architecture, text, what="Candidate")


def test_without_exits_keeps_the_backbone_and_drops_exits_and_policy() -> None:
    static = architecture().without_exits()
    assert static.exits == ()
    assert static.policy == PolicyChoice()
    assert (static.stages, static.resolution, static.precision) == ((STAGE,), 32, Precision(4, 8))


@pytest.mark.parametrize("taps", [(1, 1), (2, 1)])
def test_taps_must_strictly_increase(taps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="strictly increase"):
        replace(architecture(), exits=tuple(ExitChoice(tap, "conv") for tap in taps))


def test_an_architecture_needs_a_stage_and_a_resolution() -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        replace(architecture(), stages=())
    with pytest.raises(ValueError, match="`resolution` must be >= 1, got 0"):
        replace(architecture(), resolution=0)


@pytest.mark.parametrize(
    ("depth", "kernels", "expansions", "fault"),
    [
        (0, (), (), "depth and width"),
        (2, (3,), (1, 1), "`kernel_sizes`"),
        (2, (3, 3), (1, 1, 1), "`expansions`"),
    ],
)
def test_a_stage_has_one_kernel_and_expansion_per_block(
    depth: int, kernels: tuple[int, ...], expansions: tuple[int, ...], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        StageChoice(depth, 8, kernels, expansions)


@pytest.mark.parametrize("bits", [0, 33, -1])
def test_bit_widths_are_from_1_to_32(bits: int) -> None:
    with pytest.raises(ValueError, match="weight_bits"):
        Precision(weight_bits=bits)
    with pytest.raises(ValueError, match="activation_bits"):
        Precision(activation_bits=bits)


@pytest.mark.parametrize("drop", [-0.1, 1.1, float("nan")])
def test_the_accuracy_drop_is_a_share(drop: float) -> None:
    with pytest.raises(ValueError, match="accuracy_drop"):
        PolicyChoice(accuracy_drop=drop)


def test_records_from_before_bits_per_part_are_read() -> None:
    text = (
        '{"backbone":"toy","resolution":32,"final_branch":"conv","exits":[{"tap":0,"branch":"conv"}],'
        '"stages":[{"depth":1,"width":8,"kernel_sizes":[3],"expansions":[1]}],'
        '"precision":{"weight_bits":4,"activation_bits":8}}'
    )
    read = loads(Architecture, text)
    assert read.exits == (ExitChoice(0, "conv"),)
    assert read.stages == (StageChoice(1, 8, (3,), (1,)),)
    assert read.precision == Precision(4, 8)
    assert not read.precision.ternary


def test_json_both_ways_with_bits_shares_and_branch_layers() -> None:
    stage = replace(STAGE, precisions=(Precision(8, 4), Precision(2, 7, ternary=True)), analog_shares=(0.0, 0.5))
    layers = (BranchLayer("conv", 3, 2, 16), BranchLayer("pool", 2, 2, 16))
    changed = replace(architecture(), stages=(stage,), exits=(ExitChoice(0, "layers", Precision(4, 4), layers),))
    assert loads(Architecture, dumps(changed)) == changed
    assert len({changed, architecture()}) == 2


def test_precisions_of_parts() -> None:
    ternary = Precision(2, 7, ternary=True)
    stage = replace(STAGE, precisions=(Precision(8, 4), ternary))
    exits = (ExitChoice(0, "conv", Precision(3, 3)), ExitChoice(1, "conv"))
    changed = replace(architecture(), stages=(stage,), exits=exits, branch_precision=Precision(5, 5))
    assert tuple(changed.exit_precision(index) for index in range(3)) == (
        Precision(3, 3),
        Precision(5, 5),
        Precision(5, 5),
    )
    expected = (Precision(4, 8), Precision(8, 4), ternary, Precision(3, 3), Precision(5, 5))
    assert precisions_used(changed) == expected
    assert changed.without_exits().stages == (stage,)
    assert stage.block_precisions(1, Precision()) == (ternary,)
    assert STAGE.block_precisions(1, Precision(6, 6)) == (Precision(6, 6),)
    per_layer = replace(STAGE, precisions=(Precision(8, 8), Precision(8, 4), ternary, Precision(4, 4)))
    assert per_layer.block_precisions(1, Precision()) == (ternary, Precision(4, 4))
    assert replace(STAGE, analog_shares=(0.0, 1.0)).block_analog_shares(1) == (1.0,)
    assert STAGE.block_analog_shares(0) == ()


@pytest.mark.parametrize(
    ("name", "values", "fault"),
    [
        ("precisions", (Precision(),), "same number of values for each of 2 blocks, got 1"),
        ("analog_shares", (0.5,) * 3, "same number of values"),
        ("analog_shares", (0.5, 1.5), "shares from 0 to 1"),
        ("analog_shares", (0.5, float("nan")), "shares from 0 to 1"),
    ],
)
def test_what_is_chosen_within_a_stage_fits_its_blocks(name: str, values: tuple[float, ...], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        replace(STAGE, **{name: values})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["kernel_size", "stride", "width"])
def test_a_branch_layer_has_sizes(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` of a branch layer must be >= 1"):
        replace(BranchLayer("conv", 3, 1, 8), **{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["8/8", "8/4", "32/32", "2/8", "ternary/7"])
def test_precisions_as_text_both_ways(text: str) -> None:
    assert str(Precision.parse(text)) == text


def test_a_precision_as_text() -> None:
    assert Precision.parse(" 8 / 4") == Precision(8, 4)
    assert Precision.parse("ternary/7") == Precision(2, 7, ternary=True)
    assert Precision(32, 32).is_float
    assert not Precision(32, 8).is_float
    with pytest.raises(InputError, match="such as 8/8 or ternary/8, got '8'"):
        Precision.parse("8")
    with pytest.raises(InputError, match="'40/8' is invalid: `weight_bits` must be from 1 to 32"):
        Precision.parse("40/8")
    with pytest.raises(ValueError, match="ternary weights must have `weight_bits` 2"):
        Precision(3, 8, ternary=True)


@pytest.mark.parametrize(
    ("stage_shares", "exit_share", "has_any"),
    [((), 0.0, False), ((0.5,), 0.0, True), ((), 0.25, True)],
)
def test_analog_shares_are_those_of_blocks_and_exits(
    stage_shares: tuple[float, ...], exit_share: float, has_any: bool
) -> None:
    stage = StageChoice(1, 16, (3,), (1,), analog_shares=stage_shares)
    chosen = Architecture("resnet8", 32, (stage,), (ExitChoice(0, "conv", analog_share=exit_share),))
    assert chosen.has_analog_shares is has_any
