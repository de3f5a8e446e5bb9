"""Architecture is its own identity and refuses what makes no sense."""

from dataclasses import replace

import pytest

from offramp.errors import InputError
from offramp.jsonio import dumps, loads
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, Precision, StageChoice

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
