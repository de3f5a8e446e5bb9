"""Two fronts: what belongs to which, what is picked, and what early exits add."""

from dataclasses import replace

import pytest

from offramp.cost.expected import ExpectedCost
from offramp.errors import ConstraintError, InputError
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.objectives.evaluation import Details, Evaluation, Objective, Status
from offramp.objectives.fronts import Fronts, as_what_it_is, split_fronts
from offramp.space.architecture import Architecture, ExitChoice, StageChoice
from offramp.space.cut_networks import static_at
from tests.cost.test_expected import report

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("macs", "minimize"))
BACKBONE = Architecture("toy", 8, (StageChoice(3, 8, (3, 3, 3), (1, 1, 1)),))


def evaluated(architecture: Architecture, accuracy: float, macs: float) -> Evaluation:
    return Evaluation(architecture, Status.COMPLETE, {"accuracy": accuracy, "macs": macs})


def early(number: int, accuracy: float, macs: float) -> Evaluation:
    return evaluated(replace(BACKBONE, resolution=number + 1, exits=(ExitChoice(0, "conv"),)), accuracy, macs)


def static(number: int, accuracy: float, macs: float) -> Evaluation:
    return evaluated(replace(BACKBONE, resolution=number + 1), accuracy, macs)


FRONTS = split_fronts(
    [
        early(0, 0.9, 50.0),
        early(1, 0.8, 40.0),  # a static network is as good at the same cost
        early(2, 0.7, 35.0),  # a static network is better and cheaper
        early(3, 0.6, 60.0),  # another early-exit network dominates it
        static(0, 0.95, 100.0),
        static(1, 0.8, 40.0),
        static(2, 0.75, 30.0),
        static(3, 0.5, 90.0),
    ],
    OBJECTIVES,
)


def test_each_candidate_is_in_the_front_of_its_kind() -> None:
    assert [item.values["macs"] for item in FRONTS.early_exit] == [50.0, 40.0, 35.0]
    assert [item.values["macs"] for item in FRONTS.static] == [100.0, 40.0, 30.0]
    assert [item.values["macs"] for item in FRONTS.beyond_static] == [50.0]


def test_a_front_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold no static one"):
        Fronts(FRONTS.static, FRONTS.static)
    with pytest.raises(ValueError, match="must hold no early-exit one"):
        Fronts(FRONTS.early_exit, FRONTS.early_exit)


@pytest.mark.parametrize(
    ("rule", "macs"),
    [
        ("most_accurate", 50.0),
        ("cheapest", 50.0),
        ("knee", 50.0),
        ("macs<=60", 50.0),
        # No early-exit network beyond the static front is so cheap; the best static one is no worse than the others.
        ("macs<=45", 40.0),
        ("2", 35.0),
    ],
)
def test_rules_pick_early_exit_networks_where_these_gain(rule: str, macs: float) -> None:
    picked = FRONTS.pick(rule)
    assert picked.values["macs"] == macs
    assert picked.architecture.is_static == (rule == "macs<=45")


def test_without_a_gain_the_static_front_is_picked_from() -> None:
    none = split_fronts([early(2, 0.7, 35.0), static(0, 0.95, 100.0), static(2, 0.75, 30.0)], OBJECTIVES)
    assert len(none.early_exit) == 1
    assert none.pick("most_accurate").values["macs"] == 100.0
    assert none.pick("cheapest").values["macs"] == 30.0
    # A number still is the place on the front that is shown.
    assert none.pick("0").values["macs"] == 35.0
    only = split_fronts([static(0, 0.95, 100.0)], OBJECTIVES)
    assert only.pick("0") == only.pick("knee") == static(0, 0.95, 100.0)


def test_what_nothing_keeps_is_refused() -> None:
    with pytest.raises(ConstraintError, match="No member of the front keeps macs<=10"):
        FRONTS.pick("macs<=10")
    with pytest.raises(InputError, match="front is empty"):
        split_fronts([], OBJECTIVES).pick("knee")


def test_the_volume_beyond_the_static_front_by_hand() -> None:
    # Accuracy 0.5..0.95, macs up to 100. Static: (0.95, 100) adds nothing, (0.8, 40): 0.3 x 60, (0.75, 30): 0.25 x 10.
    # Early exits: (0.9, 50) adds 0.1 x 50 above 0.8.
    assert FRONTS.static.hypervolume([0.5, 100.0]) == pytest.approx(0.3 * 60 + 0.25 * 10)
    assert FRONTS.volume_beyond([0.5, 100.0]) == pytest.approx(0.1 * 50)
    # Scaled: accuracy 0.7..0.95 and macs 30..100 over both fronts.
    assert FRONTS.volume_beyond() == pytest.approx(0.1 / 0.25 * 50 / 70)
    assert split_fronts([], OBJECTIVES).volume_beyond() == 0.0
    assert split_fronts([static(0, 0.9, 1.0), static(1, 0.9, 1.0)], OBJECTIVES).volume_beyond() == 0.0


def with_rates(rates: tuple[float, ...]) -> Evaluation:
    exits = tuple(ExitChoice(tap, "conv") for tap in range(len(rates) - 1))
    architecture = replace(BACKBONE, exits=exits)
    details = Details(
        ExitPolicy("max_probability", (0.5,) * len(exits)),
        ExitProfile(rates, (0.9,) * len(rates), (0.9,) * len(rates), 0.9, 1000),
        ExpectedCost(1.0, 1.0, 1.0, 1e-12, 1e-12),
        report((1.0, 1.0, 1)),
    )
    statics = tuple(
        evaluated(static_at(architecture, index, (3,)), 0.1 * index, 10.0 * index) for index in range(len(rates))
    )
    return replace(evaluated(architecture, 0.9, 50.0), details=details, statics=statics)


@pytest.mark.parametrize(
    ("rates", "static_exit"),
    [
        ((0.991, 0.009), 0),
        ((0.0, 0.995, 0.005), 1),
        ((0.0, 0.0, 1.0), 2),
        ((0.99, 0.01), None),  # not more than 99 %
        ((0.5, 0.5), None),
    ],
)
def test_a_network_whose_samples_leave_at_one_exit_is_the_static_network(
    rates: tuple[float, ...], static_exit: int | None
) -> None:
    evaluation = with_rates(rates)
    found = as_what_it_is(evaluation)
    assert found.statics == ()
    if static_exit is None:
        assert found == replace(evaluation, statics=())
    else:
        assert found == evaluation.statics[static_exit]


def test_a_static_network_without_a_price_leaves_the_network_as_it_is() -> None:
    evaluation = with_rates((1.0, 0.0))
    lost = (Evaluation(evaluation.statics[0].architecture, Status.FAILED, {}, error="x"), evaluation.statics[1])
    assert as_what_it_is(replace(evaluation, statics=lost)) == replace(evaluation, statics=())
    assert as_what_it_is(replace(evaluation, statics=())) == replace(evaluation, statics=())


def test_near_best_is_measured_from_the_best_static_network() -> None:
    """Static: 0.95 at 100. Early exits: 0.97 at 90, 0.946 at 60 (0.4 points below), 0.944 at 50 (0.6 points below)."""
    best = static(0, 0.95, 100.0)
    exits = [early(0, 0.97, 90.0), early(1, 0.946, 60.0), early(2, 0.944, 50.0)]
    assert split_fronts([best, *exits], OBJECTIVES).pick("near_best") == exits[1]
    # Only early exits that are too far: the cheapest static network that is near.
    near = static(3, 0.949, 70.0)
    assert split_fronts([best, near, exits[2]], OBJECTIVES).pick("near_best") == near
    # Without static networks, the best is that of the early-exit front: 0.97.
    assert split_fronts(exits, OBJECTIVES).pick("near_best") == exits[0]
