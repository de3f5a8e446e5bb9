"""Networks cut at an exit: what is left, and that equal networks are equal."""

from dataclasses import replace

import pytest

from offramp.errors import InputError
from offramp.jsonio import dumps, loads
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, Precision, StageChoice
from offramp.space.cut_networks import cut_at, static_at

DEPTHS = (2, 3)
NARROW = Precision(4, 4)


def network(second_depth: int = 3, second_kernel: int = 3) -> Architecture:
    """Blocks at taps 0, 1 | 2, 3, 4; exits at taps 0, 2 and, in the deepest, 3."""
    stages = (
        StageChoice(2, 8, (3, 5), (1, 2), (Precision(8, 8), Precision(4, 8)), (0.5, 0.0)),
        StageChoice(second_depth, 16, (3,) + (second_kernel,) * (second_depth - 1), (1,) * second_depth),
    )
    taps = (0, 2, 3) if second_depth == 3 else (0, 2)
    return Architecture(
        "toy", 32, stages, tuple(ExitChoice(tap, "conv") for tap in taps), policy=PolicyChoice("margin", 0.01)
    )


def test_blocks_stages_and_exits_behind_the_cut_are_gone() -> None:
    cut = cut_at(network(), ExitChoice(2, "pool_mlp"), DEPTHS)
    assert [stage.depth for stage in cut.stages] == [2, 1]
    assert cut.stages[0] == network().stages[0]
    assert cut.stages[1] == StageChoice(1, 16, (3,), (1,))
    assert cut.exits == (ExitChoice(0, "conv"),)
    assert (cut.head, cut.classifier_branch) == (ExitChoice(2, "pool_mlp"), "pool_mlp")
    assert (cut.policy, cut.is_static) == (PolicyChoice("margin", 0.01), False)
    in_first = cut_at(network(), ExitChoice(0, "conv"), DEPTHS)
    assert in_first.stages == (StageChoice(1, 8, (3,), (1,), (Precision(8, 8),), (0.5,)),)
    assert (in_first.exits, in_first.policy, in_first.is_static) == ((), PolicyChoice(), True)


def test_networks_that_differ_only_behind_the_cut_are_equal() -> None:
    deep, shallow, other = network(), network(second_depth=2), network(second_kernel=7)
    assert len({deep, shallow, other}) == 3
    assert static_at(deep, 1, DEPTHS) == static_at(shallow, 1, DEPTHS) == static_at(other, 1, DEPTHS)
    # Cutting again at the same place changes nothing; the rules of exits do not matter without exits.
    assert cut_at(static_at(deep, 1, DEPTHS), ExitChoice(2, "conv"), DEPTHS) == static_at(deep, 1, DEPTHS)
    assert static_at(replace(deep, policy=PolicyChoice()), 1, DEPTHS) == static_at(deep, 1, DEPTHS)


def test_a_head_with_bits_of_its_own_equals_one_with_those_of_the_architecture() -> None:
    own = replace(network(), exits=(ExitChoice(0, "conv", NARROW),))
    common = replace(network(), exits=(ExitChoice(0, "conv"),), branch_precision=NARROW)
    assert static_at(own, 0, DEPTHS) == static_at(common, 0, DEPTHS)
    assert static_at(own, 0, DEPTHS).exit_precision(0) == NARROW
    # An exit before the head keeps its bits where the head has others.
    cut = cut_at(network(), ExitChoice(2, "conv", NARROW), DEPTHS)
    assert (cut.exit_precision(0), cut.exit_precision(1)) == (Precision(8, 8), NARROW)


def test_the_classifier_at_the_end_is_the_network_without_exits() -> None:
    whole = network()
    assert static_at(whole, 3, DEPTHS) == whole.without_exits()
    cut = cut_at(whole, ExitChoice(2, "pool_mlp"), DEPTHS)
    assert static_at(cut, 1, DEPTHS) == cut.without_exits()
    assert cut.without_exits().head == ExitChoice(2, "pool_mlp")


def test_a_head_survives_json() -> None:
    cut = cut_at(network(), ExitChoice(2, "pool_mlp"), DEPTHS)
    assert loads(Architecture, dumps(cut)) == cut


def test_analog_shares_count_those_of_the_head() -> None:
    plain = replace(network(), stages=(StageChoice(2, 8, (3, 5), (1, 2)), network().stages[1]))
    cut = cut_at(plain, ExitChoice(2, "conv", analog_share=0.5), DEPTHS)
    assert cut.analog_shares_of_branches == (0.0, 0.5)
    assert cut.has_analog_shares
    assert not cut_at(plain, ExitChoice(2, "conv"), DEPTHS).has_analog_shares


@pytest.mark.parametrize("tap", [4, 5])
def test_a_cut_needs_a_block_that_ends_at_the_tap(tap: int) -> None:
    with pytest.raises(InputError, match=f"none ends at tap {tap}"):
        cut_at(network(second_depth=2), ExitChoice(tap, "conv"), DEPTHS)


def test_the_head_lies_behind_all_exits() -> None:
    with pytest.raises(ValueError, match="behind all exits, got tap 2"):
        replace(network(), head=ExitChoice(2, "conv"))
