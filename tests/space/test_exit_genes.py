"""Analog shares of exit branches as genes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from offramp.errors import InputError
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, StageChoice
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.search_space import BackboneSpace, StageSpace

BACKBONE = BackboneSpace("toy", (8,), (StageSpace((3,), (4,)),))
SPACE = EarlyExitSpace(BACKBONE, ("conv", "pool"), max_exits=2, analog_shares=(0.5, 1.0), digital_branches=("pool",))


def with_exits(*exits: ExitChoice) -> Architecture:
    return replace(SPACE.max_architecture(), exits=exits)


def test_every_member_is_counted_once() -> None:
    """Three blocks: two taps, each none, pool, or conv at two shares; stages have 2**3 shares of their own."""
    seen: Counter[Architecture] = Counter()
    rng = np.random.default_rng(0)
    for _ in range(3000):
        drawn = SPACE.sample(rng)
        assert SPACE.decode(SPACE.encode(drawn)) == drawn
        seen[drawn] += 1
    assert SPACE.size == 2**3 * (1 + 3) ** 2
    assert len(seen) == SPACE.size


def test_the_share_of_a_branch_without_convolutions_is_nothing() -> None:
    genes = list(SPACE.encode(with_exits(ExitChoice(0, "conv", analog_share=1.0), ExitChoice(1, "pool"))))
    # The genes of the exits end in a share per tap; behind them stand measure and accuracy drop.
    assert genes[-5:-2] == [1, 0, 0]
    genes[-4] = 1
    assert SPACE.decode(tuple(genes)).exits[1] == ExitChoice(1, "pool")
    with pytest.raises(InputError, match="analog share in the exit at tap 1 must have 0 value"):
        SPACE.encode(with_exits(ExitChoice(1, "pool", analog_share=1.0)))
    with pytest.raises(InputError, match=r"analog share in the exit at tap 0 must be among \(0.5, 1.0\)"):
        SPACE.encode(with_exits(ExitChoice(0, "conv")))


def test_without_shares_there_are_no_genes_and_none_may_be_stated() -> None:
    plain = replace(SPACE, analog_shares=())
    assert len(SPACE.cardinalities) - len(plain.cardinalities) == 3 + 3
    stage = StageChoice(3, 4, (3,) * 3, (1,) * 3)
    digital = replace(plain.max_architecture(), stages=(stage,), exits=(ExitChoice(0, "conv"),))
    assert plain.decode(plain.encode(digital)) == digital
    with pytest.raises(InputError, match="must have 0 value"):
        plain.encode(replace(digital, exits=(ExitChoice(0, "conv", analog_share=0.5),)))


def test_options_and_spread_exits_have_the_least_share() -> None:
    backbone = SPACE.max_architecture()
    assert {(x.branch, x.analog_share) for x in SPACE.exit_options(backbone)} == {("conv", 0.5), ("pool", 0.0)}
    for branch, share, expected in (("conv", None, 0.5), ("conv", 1.0, 1.0), ("pool", 1.0, 0.0)):
        member = SPACE.with_spread_exits(backbone, 2, branch, PolicyChoice(), share)
        assert {x.analog_share for x in member.exits} == {expected}
        assert SPACE.decode(SPACE.encode(member)) == member


def test_a_search_starts_digital_and_analog() -> None:
    points = SPACE.starting_points()
    assert all(SPACE.decode(SPACE.encode(point)) == point for point in points)
    assert {point.stages[0].analog_shares for point in points} == {(0.5,) * 3, (1.0,) * 3}
    assert SPACE.max_architecture() == SPACE.reference_architecture() == points[0]
    assert SPACE.min_architecture().stages[0].analog_shares == (1.0,) * 3


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_one(share: float) -> None:
    with pytest.raises(ValueError, match="share from 0 to 1"):
        ExitChoice(0, "conv", analog_share=share)
