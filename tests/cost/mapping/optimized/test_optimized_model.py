"""Mapped schedules of random networks obey an independent reading of the rules, and cost what their parts cost."""

from typing import Any

import pytest
from benchmarks.mapping import cumulative_steps
from benchmarks.roofline import roofline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.mapping.optimized import optimized_model
from offramp.cost.mapping.optimized.mapping_steps import ALL_STEPS, MappingStep
from offramp.cost.mapping.optimized.optimized_model import OptimizedMapping, OptimizedModel
from offramp.cost.mapping.optimized.plan_trials import PlanTrials
from offramp.cost.price_cache import CachedEngine
from offramp.hardware.accelerator import Accelerator
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from tests.cost.mapping.optimized.checker import faults
from tests.cost.mapping.optimized.networks import branch, conv, networks, quad, team_of
from tests.cost.mapping.optimized.planning.test_plan_optimizer import Setting
from tests.cost.mapping.optimized.test_mapping_steps import two_stages

# All models share the prices of layers.
ENGINE = CachedEngine(NativeEngine(goal="energy_delay_product", loma_lpf_limit=4, num_spatial_mappings=1), None)
RELAXED = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

ACCELERATORS = {
    "quad": quad(),
    "small scratchpads": quad(activation_kib=3),
    "small weight memories": quad(weight_kib=1),
    "two in a row": team_of(2),
    "one": team_of(1),
}


def check(mapping: OptimizedMapping, workload: Workload, accelerator: Accelerator) -> None:
    assert faults(mapping.schedule, workload, accelerator) == []
    report = mapping.report
    moved = sum(move.energy_pj for move in mapping.schedule.transfers)
    made = sum(piece.energy_pj for piece in mapping.schedule.executions)
    assert sum(layer.energy_pj for layer in report.layers) == pytest.approx(moved + made)
    assert report.stages[-1].energy_to_exit_pj == pytest.approx(moved + made)
    for stage, bound in zip(report.stages, roofline(workload, accelerator), strict=True):
        assert stage.latency_to_exit_cycles >= bound.latency_cycles
        assert stage.energy_to_exit_pj >= bound.energy_pj
        parts = stage.backbone_latency_cycles + stage.gap_cycles + stage.branch_latency_cycles
        assert parts == pytest.approx(stage.stage_latency_cycles)
    if mapping.bound is not None:
        assert mapping.bound <= mapping.product * (1 + 1e-12)


@pytest.mark.parametrize("name", ACCELERATORS)
@RELAXED
@given(workload=networks(), steps=st.sampled_from(cumulative_steps()), informed=st.booleans())
def test_random_networks(name: str, workload: Workload, steps: frozenset[MappingStep], informed: bool) -> None:
    accelerator = ACCELERATORS[name]
    count = workload.num_stages
    rates = tuple([0.5**i for i in range(1, count)] + [0.5 ** (count - 1)]) if informed else None
    model = OptimizedModel(ENGINE, steps, exit_rates=rates)
    check(model.map(workload, accelerator, bound=True), workload, accelerator)


@RELAXED
@given(workload=networks())
def test_all_steps_are_never_worse_than_none(workload: Workload) -> None:
    least = OptimizedModel(ENGINE, frozenset()).map(workload, quad())
    most = OptimizedModel(ENGINE, ALL_STEPS).map(workload, quad())
    assert most.product <= least.product


def test_the_greedy_plan_is_taken_where_it_runs_better_than_the_one_that_was_estimated_to_be_best() -> None:
    first = Layer("wide", conv(24, 3, 48, 1), (GRAPH_INPUT,), 0, Role.BACKBONE)
    workload = Workload("one layer and a branch", (first, *branch(0, "wide", 48, 24)), ("fc0",))
    setting = Setting(workload, quad(activation_kib=3))
    greedy = setting.optimizer().greedy()
    estimated = setting.optimizer().best(greedy)
    trials = PlanTrials(workload, setting.builder, setting.router, ALL_STEPS, (1.0,))
    assert estimated.product < greedy.product
    assert trials.run(greedy).product < trials.run(estimated).product
    mapping = OptimizedModel(ENGINE).map(workload, quad(activation_kib=3))
    assert mapping.product == pytest.approx(trials.run(greedy).product, rel=1e-12)


@pytest.mark.parametrize(("rates", "steps", "waits"), [(None, ALL_STEPS, True), ((0.5, 0.5), ALL_STEPS, False)])
def test_plans_wait_for_verdicts_unless_something_may_start_before(
    monkeypatch: pytest.MonkeyPatch, rates: tuple[float, ...] | None, steps: frozenset[MappingStep], waits: bool
) -> None:
    seen: list[bool] = []

    class Watched(optimized_model.PlanOptimizer):
        def __init__(self, *arguments: Any) -> None:
            seen.append(arguments[6])
            super().__init__(*arguments)

    monkeypatch.setattr(optimized_model, "PlanOptimizer", Watched)
    OptimizedModel(ENGINE, steps, exit_rates=rates).map(two_stages(), quad())
    assert set(seen) == {waits}
