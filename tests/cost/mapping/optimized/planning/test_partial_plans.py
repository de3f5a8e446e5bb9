"""Labels moved forward by hand."""

from dataclasses import replace

import numpy as np
import pytest

from offramp.cost.mapping.optimized.planning.partial_plans import (
    BACKBONE,
    BITS,
    BRANCH,
    ENERGY,
    LINK,
    NUM_COLUMNS,
    PRODUCT,
    STARTS,
    VERDICT,
    PartialPlanModel,
)
from offramp.cost.mapping.optimized.planning.task_costs import (
    Floats,
    PositionCosts,
    TaskCost,
    TransferCost,
    WeightSizes,
    transfer_cost_rows,
)
from offramp.cost.mapping.optimized.planning.task_orders import TaskOrder

STAY = TransferCost(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def cost(
    duration: int = 100,
    last: int = 100,
    link: int = 40,
    *,
    bits: int = 500,
    apart: bool = False,
    branch: bool = False,
    kind: int = 0,
) -> TaskCost:
    return TaskCost(
        duration=duration,
        last_duration=last,
        link_cycles=link,
        first_link_cycles=link * last // duration,
        last_link_cycles=link * last // duration,
        first_duration=last,
        fullest=WeightSizes(bits * last // duration, bits * last // duration, bits, bits),
        emptiest=WeightSizes(bits * last // duration, bits * last // duration, bits, bits),
        block_bits=bits * last // duration,
        block_cycles=last,
        energy_pj=7.0,
        load_pj=2.0,
        channels_apart=apart,
        kind=kind,
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
    label = after(model(prefetch=False), cost(), cost(), trip=TransferCost(10, 5, 5, 5, 5, 3, 2.0))
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
    assert after(model(relaxed=True), cost(bits=600), cost(bits=600))[BACKBONE] == 280
    assert after(model(), cost(bits=500), cost(bits=500))[BACKBONE] == 240
    # Computing began in cycles 180 and 40.
    assert list(crowded[STARTS : STARTS + 2]) == [180, 40]
    assert list(crowded[BITS : BITS + 2]) == [600, 600]


def test_weights_of_a_layer_that_exceed_the_memory_arrive_as_its_blocks_are_computed() -> None:
    # Four blocks of 500 bits, two fit: the last one is loaded in 10 cycles when the second is done, after 10 + 2 x 100.
    label = after(model(), cost(400, 100, 40, bits=2000))
    assert label[LINK] == 220
    assert label[BACKBONE] == 410


def test_the_smaller_of_two_memories_counts_in_a_bound() -> None:
    uneven = replace(cost(bits=600), emptiest=WeightSizes(300, 300, 300, 300))
    assert after(model(), uneven, uneven)[BACKBONE] == 280
    assert after(model(relaxed=True), uneven, uneven)[BACKBONE] == 240


def test_only_what_is_exposed_of_a_journey_counts() -> None:
    trip = TransferCost(80, 20, 20, 20, 20, 0, 0.0)
    whole = after(model(relaxed=True), cost(link=0), trip=trip)
    assert whole[BACKBONE] == 120
    trip = TransferCost(80, 20, 20, 0, 0, 0, 0.0)
    # Blocks that treat channels apart start with the first channels: the last of four takes 25 cycles.
    assert after(model(relaxed=True), cost(100, 25, 0, apart=True), trip=trip)[BACKBONE] == 100


def test_a_branch_has_its_own_end() -> None:
    label = after(model(), cost(branch=True))
    assert (label[BACKBONE], label[BRANCH]) == (0, 140)


def test_a_layer_on_other_cores_starts_with_the_first_part() -> None:
    # Four parts of 25 cycles; the four of the other core take 30 each and begin after the first: 25 + 120.
    parts, other = cost(100, 25, 0), cost(120, 30, 0, apart=True, kind=1)
    assert after(model(), parts, other)[BACKBONE] == 145
    # Where it is faster, its last part follows the last one that it reads: 100 + 5.
    assert after(model(), parts, cost(20, 5, 0, apart=True, kind=1))[BACKBONE] == 105
    assert after(model(), parts, cost(120, 30, 0, apart=True))[BACKBONE] == 220
    assert after(model(), parts, cost(120, 30, 0, kind=1))[BACKBONE] == 220


def test_only_a_plan_runs_layers_in_turn_that_do_not_depend_on_each_other() -> None:
    start = np.zeros((1, NUM_COLUMNS))
    start[0, BACKBONE] = 300
    beside = TaskOrder(follows=False, reads_last=False)
    costs = PositionCosts.of([cost(link=0)])
    assert model().advance(start, costs, figures(STAY), beside)[0, 0, BACKBONE] == 400
    assert model(relaxed=True).advance(start, costs, figures(STAY), beside)[0, 0, BACKBONE] == 300


def entered(*, relaxed: bool = False, waits: bool = True) -> Floats:
    values = np.zeros((1, NUM_COLUMNS))
    values[0, [BACKBONE, BRANCH, LINK]] = 50, 90, 60
    return model(relaxed=relaxed, waits=waits).enter_stage(values, 0.5, 4.0).values


def test_the_next_stage_waits_for_the_verdict_or_begins_before() -> None:
    columns = [BACKBONE, LINK, BRANCH, VERDICT]
    assert entered()[:, columns].tolist() == [[90, 90, 0, 0]]
    # Nothing, loads, or all may happen before the verdict.
    assert entered(waits=False)[:, columns].tolist() == [[90, 90, 0, 0], [90, 60, 0, 90], [50, 60, 0, 90]]


def test_a_bound_charges_the_link_for_what_it_loads_before_a_verdict() -> None:
    ways = entered(relaxed=True, waits=False)
    # All 30 cycles before the verdict: weight 0.5, 4 pJ per cycle, verdict in cycle 90.
    earliest = ways[ways[:, LINK] == 60]
    assert earliest[:, PRODUCT].max() == 0.5 * 4.0 * 30 * 90
    assert set(earliest[:, BACKBONE]) == {50, 90}
    # Who is charged nothing loads next to nothing.
    assert ways[ways[:, PRODUCT] == 0][:, LINK].min() == pytest.approx(90 - 0.02 * 30)


def test_what_begins_before_a_verdict_is_charged_to_its_exit() -> None:
    start = np.zeros((1, NUM_COLUMNS))
    start[0, [LINK, VERDICT]] = 60, 90
    order = TaskOrder(verdict_weight=0.5)
    # Loaded from 60 to 100: three quarters of 2 pJ before the verdict; computed from 100 on.
    early = model().advance(start, PositionCosts.of([cost()]), figures(STAY), order)[0, 0, PRODUCT]
    assert early == pytest.approx(0.5 * 90 * 0.75 * 2.0)


def test_all_options_at_once_are_each_one_alone() -> None:
    rng = np.random.default_rng(1)
    start = rng.integers(0, 500, (5, NUM_COLUMNS)).astype(float)
    costs = [cost(), cost(300, 100, 90), cost(80, 20, 200, bits=900)]
    transfer_costs = [STAY, TransferCost(50, 20, 20, 20, 20, 7, 3.0), TransferCost(9, 9, 9, 9, 9, 0, 1.0)]
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
