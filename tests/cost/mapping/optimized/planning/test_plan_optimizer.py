"""The dynamic programming against all plans tried one by one."""

from itertools import product as combinations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.mapping.optimized.candidates.block_pricer import BlockPricer
from offramp.cost.mapping.optimized.candidates.task_builder import TaskBuilder
from offramp.cost.mapping.optimized.candidates.tasks import Task
from offramp.cost.mapping.optimized.core_groups import CoreGroup, core_groups
from offramp.cost.mapping.optimized.mapping_steps import ALL_STEPS
from offramp.cost.mapping.optimized.planning.plan_optimizer import PlanOptimizer
from offramp.cost.mapping.optimized.router import Router
from offramp.cost.mapping.optimized.simulation.plan_simulator import PlanSimulator, Speculation
from offramp.cost.schedule_report import StageBoundary, layer_reports, stage_costs
from offramp.hardware.accelerator import Accelerator
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from tests.cost.mapping.optimized.networks import branch, conv, networks, quad, team_of

PRICER = BlockPricer([NativeEngine(goal="energy_delay_product", loma_lpf_limit=4, num_spatial_mappings=1)])
MOST_PLANS = 100
QUIET = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


class Setting:
    """All that plans are made of, for one workload on one accelerator."""

    def __init__(self, workload: Workload, accelerator: Accelerator) -> None:
        self.workload, self.accelerator = workload, accelerator
        self.group: CoreGroup = core_groups(accelerator)[0]
        self.builder = TaskBuilder(workload, self.group, PRICER, ALL_STEPS)
        self.router = Router(self.group)
        self.choices = [self.builder.options((layer,)) for layer in self.builder.layers]
        self.rates = (1 / workload.num_stages,) * workload.num_stages

    def optimizer(self, choices: list[list[Task]] | None = None, waits: bool = True) -> PlanOptimizer:
        exits = [self.builder.origin[name] for name in self.workload.exits]
        chosen = self.choices if choices is None else choices
        return PlanOptimizer(self.builder, self.router, self.group, ALL_STEPS, chosen, self.rates, waits, exits)

    def simulated(self, tasks: tuple[Task, ...], mode: Speculation = Speculation.WAIT) -> float:
        modes = [mode] * self.workload.num_stages
        simulator = PlanSimulator(self.group, self.builder, self.router, ALL_STEPS, modes, tasks)
        simulator.run()
        schedule = simulator.schedule()
        layers = layer_reports(self.workload, self.accelerator, schedule)
        stages = stage_costs(self.workload, schedule, layers, StageBoundary.VERDICTS)
        return sum(
            rate * stage.energy_to_exit_pj * stage.latency_to_exit_cycles
            for rate, stage in zip(self.rates, stages, strict=True)
        )

    def plans(self) -> list[tuple[Task, ...]]:
        return list(combinations(*self.choices))

    @property
    def num_plans(self) -> int:
        total = 1
        for options in self.choices:
            total *= len(options)
        return total


@QUIET
@given(workload=networks(), name=st.sampled_from(["quad", "two"]), waits=st.booleans())
def test_no_plan_beats_the_bound_and_none_is_much_better_than_the_best(
    workload: Workload, name: str, waits: bool
) -> None:
    setting = Setting(workload, quad() if name == "quad" else team_of(2))
    assume(setting.num_plans <= MOST_PLANS)
    optimizer = setting.optimizer(waits=waits)
    best = optimizer.best(optimizer.greedy())
    modes = [Speculation.WAIT] if waits else list(Speculation)
    real = [setting.simulated(plan, mode) for plan in setting.plans() for mode in modes]
    # What is known does not help here.
    bound = optimizer.bound(10 * min(real))
    assert bound <= min(real) * (1 + 1e-12)
    # In the label model itself: each plan alone, as a problem with a single option per position.
    estimates = [setting.optimizer([[task] for task in plan], waits).greedy().product for plan in setting.plans()]
    assert best.product <= min(estimates) * (1 + 1e-9)
    assert all(mode is Speculation.WAIT for mode in best.speculation) or not waits
    if waits:
        assert setting.simulated(best.tasks) <= 1.1 * min(real)


def chain() -> Workload:
    layers = [
        Layer("a", conv(8, 3, 48, 3), (GRAPH_INPUT,), 0, Role.BACKBONE),
        Layer("b", conv(8, 48, 48, 3, 1, 48), ("a",), 0, Role.BACKBONE),
        Layer("c", conv(8, 48, 20), ("b",), 0, Role.BACKBONE),
        *branch(0, "c", 20, 8),
    ]
    return Workload("chain", tuple(layers), ("fc0",))


def test_the_best_plan_is_close_to_the_best_of_all_schedules() -> None:
    setting = Setting(chain(), quad())
    optimizer = setting.optimizer()
    best = setting.simulated(optimizer.best(optimizer.greedy()).tasks)
    everything = [setting.simulated(plan) for plan in setting.plans()]
    assert len(everything) > 20
    assert best <= 1.05 * min(everything)
    assert best < 0.7 * max(everything)


def test_the_bound_holds_with_few_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(chain(), quad())
    best = min(setting.simulated(plan) for plan in setting.plans())
    free = setting.optimizer().bound(best)
    monkeypatch.setattr("offramp.cost.mapping.optimized.planning.plan_optimizer.BOUND_LABELS", 1)
    joined = setting.optimizer().bound(best)
    assert 0 < joined <= free <= best


def test_a_known_plan_that_cannot_be_beaten_stays() -> None:
    setting = Setting(chain(), quad())
    optimizer = setting.optimizer()
    best = optimizer.best(optimizer.greedy())
    assert optimizer.best(best).product == best.product
