"""Products of plans that are compared without a report, against reports."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.cost.mapping.optimized.mapping_steps import ALL_STEPS
from offramp.cost.mapping.optimized.plan_trials import PlanTrials
from offramp.cost.mapping.optimized.simulation.plan_simulator import Speculation
from offramp.cost.schedule_report import StageBoundary, layer_reports, stage_costs
from offramp.workload.graph import Workload
from tests.cost.mapping.optimized.networks import networks, quad
from tests.cost.mapping.optimized.planning.test_plan_optimizer import Setting
from tests.cost.mapping.optimized.test_mapping_steps import two_stages

QUIET = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@QUIET
@given(workload=networks(), mode=st.sampled_from(list(Speculation)))
def test_products_are_those_of_the_report(workload: Workload, mode: Speculation) -> None:
    setting = Setting(workload, quad())
    plan = replace(setting.optimizer().greedy(), speculation=(mode,) * workload.num_stages)
    best = PlanTrials(workload, setting.builder, setting.router, ALL_STEPS, setting.rates).run(plan)
    schedule = best.simulator.schedule()
    stages = stage_costs(workload, schedule, layer_reports(workload, quad(), schedule), StageBoundary.VERDICTS)
    pairs = zip(setting.rates, stages, strict=True)
    product = sum(rate * x.energy_to_exit_pj * 1e-12 * x.latency_to_exit_cycles for rate, x in pairs)
    assert best.product == pytest.approx(product, rel=1e-12)


@pytest.mark.parametrize("rates", [(0.01, 0.99), (0.5, 0.5), (0.99, 0.01)])
def test_the_search_finds_the_best_speculation_of_one_exit(rates: tuple[float, ...]) -> None:
    setting = Setting(two_stages(), quad())
    setting.rates = rates
    trials = PlanTrials(setting.workload, setting.builder, setting.router, ALL_STEPS, rates)
    optimizer = setting.optimizer(waits=False)
    found = optimizer.best(optimizer.greedy())
    products = [trials.run(replace(found, speculation=(mode, Speculation.WAIT))).product for mode in Speculation]
    assert trials.run(found).product <= min(products) * 1.02
