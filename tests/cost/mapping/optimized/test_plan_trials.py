"""Plans run to be compared: forks against runs from the start, and products without a report against reports."""

import pytest
from hypothesis import HealthCheck, given, settings

from offramp.cost.mapping.optimized.mapping_steps import ALL_STEPS
from offramp.cost.mapping.optimized.plan_trials import PlanTrials
from offramp.cost.mapping.optimized.simulation.plan_simulator import PlanSimulator, Speculation
from offramp.cost.schedule_report import StageBoundary, layer_reports, stage_costs
from offramp.hardware.accelerator import Accelerator
from offramp.workload.graph import Workload
from tests.cost.mapping.optimized.networks import networks, quad
from tests.cost.mapping.optimized.planning.test_plan_optimizer import Setting, run_to_the_end
from tests.cost.mapping.optimized.test_mapping_steps import two_stages

QUIET = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
MODES = (Speculation.WAIT, Speculation.LOAD, Speculation.START)


def plan_trials(setting: Setting, rates: tuple[float, ...], *, speculates: bool = True) -> PlanTrials:
    return PlanTrials(setting.workload, setting.builder, setting.router, ALL_STEPS, rates, speculates=speculates)


def from_the_start(setting: Setting, tasks: tuple, modes: tuple[Speculation, ...]) -> PlanSimulator:  # type: ignore[type-arg]
    simulator = PlanSimulator(setting.group, setting.builder, setting.router, ALL_STEPS, modes, tasks)
    run_to_the_end(simulator)
    return simulator


def check_forks(workload: Workload, accelerator: Accelerator) -> None:
    setting = Setting(workload, accelerator)
    plan = setting.optimizer().greedy()
    waits = (Speculation.WAIT,) * workload.num_stages
    trial = plan_trials(setting, setting.rates).run(plan)
    assert trial.simulator.schedule() == from_the_start(setting, plan.tasks, waits).schedule()
    for stage, entry in trial.entries.items():
        for mode in MODES:
            modes = tuple(mode if index == stage - 1 else Speculation.WAIT for index in range(workload.num_stages))
            fork = entry.fork(modes)
            run_to_the_end(fork)
            assert fork.schedule() == from_the_start(setting, plan.tasks, modes).schedule()
    # What forks did left the trial itself as it was.
    assert trial.simulator.schedule() == from_the_start(setting, plan.tasks, waits).schedule()


@QUIET
@given(workload=networks())
def test_a_fork_goes_on_as_a_run_from_the_start_would(workload: Workload) -> None:
    check_forks(workload, quad())


@QUIET
@given(workload=networks())
def test_a_fork_has_memories_of_its_own(workload: Workload) -> None:
    check_forks(workload, quad(activation_kib=3, weight_kib=2))


@QUIET
@given(workload=networks())
def test_products_are_those_of_the_report(workload: Workload) -> None:
    setting = Setting(workload, quad())
    best = plan_trials(setting, setting.rates).speculate(
        plan_trials(setting, setting.rates).run(setting.optimizer().greedy())
    )
    schedule = best.simulator.schedule()
    stages = stage_costs(workload, schedule, layer_reports(workload, quad(), schedule), StageBoundary.VERDICTS)
    pairs = zip(setting.rates, stages, strict=True)
    product = sum(rate * x.energy_to_exit_pj * 1e-12 * x.latency_to_exit_cycles for rate, x in pairs)
    assert best.product == pytest.approx(product, rel=1e-12)


def test_speculation_is_the_best_of_all_modes_of_one_exit() -> None:
    setting = Setting(two_stages(), quad())
    for rates in ((0.01, 0.99), (0.5, 0.5), (0.99, 0.01)):
        trials = plan_trials(setting, rates)
        waiting = trials.run(setting.optimizer(waits=False).greedy())
        best = trials.speculate(waiting)
        products = []
        for mode in MODES:
            fork = waiting.entries[1].fork((mode, Speculation.WAIT))
            run_to_the_end(fork)
            schedule = fork.schedule()
            layers = layer_reports(setting.workload, quad(), schedule)
            stages = stage_costs(setting.workload, schedule, layers, StageBoundary.VERDICTS)
            pairs = zip(rates, stages, strict=True)
            products.append(sum(r * x.energy_to_exit_pj * 1e-12 * x.latency_to_exit_cycles for r, x in pairs))
        assert best.product == pytest.approx(min(products))
        assert best.product <= waiting.product


def test_without_speculation_nothing_is_kept() -> None:
    setting = Setting(two_stages(), quad())
    trial = plan_trials(setting, (0.5, 0.5), speculates=False).run(setting.optimizer().greedy())
    assert trial.entries == {}
    assert plan_trials(setting, (0.5, 0.5)).speculate(trial) is trial
