"""Labels moved forward by hand."""

import numpy as np
import pytest

from offramp.cost.mapping.optimized.planning.partial_plans import (
    BACKBONE,
    BRANCH,
    ENERGY,
    FIRST_BITS,
    FIRST_USED,
    LINK,
    NUM_COLUMNS,
    Floats,
    PartialPlanModel,
    PositionCosts,
    TaskCost,
    TransferCost,
    transfer_cost_rows,
)

STAY = TransferCost(0.0, 0.0, 0.0, 0.0)


def cost(
    duration: int = 100, last: int = 100, link: int = 40, *, bits: int = 500, apart: bool = False, branch: bool = False
) -> TaskCost:
    return TaskCost(
        duration=duration,
        last_duration=last,
        link_cycles=link,
        first_link_cycles=link * last // duration,
        last_link_cycles=link * last // duration,
        first_bits=bits * last // duration,
        tail_bits=bits,
        energy_pj=7.0,
        channels_apart=apart,
        branch=branch,
    )


def figures(*transfer_costs: TransferCost) -> Floats:
    """One row per option, the same for every label."""
    return transfer_cost_rows(transfer_costs)[:, None, :]


def after(model: PartialPlanModel, *costs: TaskCost, trip: TransferCost = STAY, start: Floats | None = None) -> Floats:
    """One label, moved through the tasks one after the other."""
    values = np.zeros((1, NUM_COLUMNS)) if start is None else start
    for item in costs:
        values = model.advance(values, PositionCosts.of([item]), figures(trip))[0]
    return values[0]


def model(*, prefetch: bool = True, relaxed: bool = False, waits: bool = True) -> PartialPlanModel:
    return PartialPlanModel(prefetch, waits, relaxed, weight_memory_bits=1000)


def test_in_turn_everything_adds_up() -> None:
    label = after(model(prefetch=False), cost(), cost(), trip=TransferCost(10, 5, 3, 2.0))
    assert label[BACKBONE] == 2 * (100 + 40 + 10 + 3)
    assert label[ENERGY] == 2 * (7 + 2)


def test_weights_come_while_the_layer_before_computes() -> None:
    label = after(model(), cost(), cost())
    # 40 cycles for the first weights, then 100 for each layer.
    assert (label[BACKBONE], label[LINK]) == (240, 80)


def test_a_slow_link_decides() -> None:
    label = after(model(), cost(link=300), cost(link=300))
    assert (label[BACKBONE], label[LINK]) == (700, 600)


def test_weights_wait_for_room() -> None:
    crowded = after(model(), cost(bits=600), cost(bits=600))
    # The second weights come after the first layer: 40 + 100 + 40 + 100.
    assert crowded[BACKBONE] == 280
    assert after(model(relaxed=True), cost(bits=600), cost(bits=600))[BACKBONE] == 240
    assert list(crowded[FIRST_USED : FIRST_USED + 2]) == [280, 140]
    assert list(crowded[FIRST_BITS : FIRST_BITS + 2]) == [600, 600]


def test_only_what_is_exposed_of_a_journey_counts() -> None:
    trip = TransferCost(80, 20, 0, 0.0)
    whole = after(model(relaxed=True), cost(link=0), trip=trip)
    assert whole[BACKBONE] == 120
    # Blocks that treat channels apart start with the first channels: the last of four takes 25 cycles.
    assert after(model(relaxed=True), cost(100, 25, 0, apart=True), trip=trip)[BACKBONE] == 100


def test_a_branch_has_its_own_end() -> None:
    label = after(model(), cost(branch=True))
    assert (label[BACKBONE], label[BRANCH]) == (0, 140)


@pytest.mark.parametrize(("waits", "backbone", "link"), [(True, 90.0, 90.0), (False, 50.0, 60.0)])
def test_the_next_stage_waits_for_the_verdict_or_not(waits: bool, backbone: float, link: float) -> None:
    values = np.zeros((1, NUM_COLUMNS))
    values[0, [BACKBONE, BRANCH, LINK]] = 50, 90, 60
    model(waits=waits).enter_stage(values)
    assert (values[0, BACKBONE], values[0, LINK], values[0, BRANCH]) == (backbone, link, 0)


def test_all_options_at_once_are_each_one_alone() -> None:
    rng = np.random.default_rng(1)
    start = rng.integers(0, 500, (5, NUM_COLUMNS)).astype(float)
    costs = [cost(), cost(300, 100, 90), cost(80, 20, 200, bits=900)]
    transfer_costs = [STAY, TransferCost(50, 20, 7, 3.0), TransferCost(9, 9, 0, 1.0)]
    together = model().advance(start, PositionCosts.of(costs), figures(*transfer_costs))
    for index, (item, trip) in enumerate(zip(costs, transfer_costs, strict=True)):
        alone = model().advance(start, PositionCosts.of([item]), figures(trip))[0]
        assert np.array_equal(together[index], alone)


def test_relaxed_is_never_later() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        costs = [cost(int(d), max(1, int(d) // 4), int(k), bits=int(b)) for d, k, b in rng.integers(4, 400, (6, 3))]
        strict, loose = after(model(), *costs), after(model(relaxed=True), *costs)
        assert loose[BACKBONE] <= strict[BACKBONE]
        assert loose[LINK] <= strict[LINK]
