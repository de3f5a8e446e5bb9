"""Simulation of plans that are only compared with others."""

from dataclasses import dataclass

from offramp.cost.mapping.exit_energy import energies_to_exits, mean_energy_delay_product
from offramp.cost.mapping.optimized.candidates.task_builder import TaskBuilder
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.mapping.optimized.planning.plan_optimizer import Plan
from offramp.cost.mapping.optimized.router import Router
from offramp.cost.mapping.optimized.simulation.plan_simulator import PlanSimulator
from offramp.workload.graph import Workload


@dataclass(frozen=True, eq=False)
class PlanTrial:
    """A plan that was simulated.

    Attributes:
        simulator: The simulator after the last stage.
        plan: The plan.
        product: Weighted product of energy and latency in J x cycles.
    """

    simulator: PlanSimulator
    plan: Plan
    product: float


class PlanTrials:
    """Simulates plans for one network."""

    def __init__(
        self,
        workload: Workload,
        builder: TaskBuilder,
        router: Router,
        steps: frozenset[MappingStep],
        rates: tuple[float, ...],
    ) -> None:
        """Prepare trials.

        Args:
            workload: The network.
            builder: What built the tasks of the plans.
            router: Plans transfers.
            steps: Steps of the mapping that are switched on.
            rates: Weights of the exits.
        """
        self._builder, self._router, self._steps, self._rates = builder, router, steps, rates
        self._stage_of = {layer.name: layer.stage for layer in workload.layers}

    def run(self, plan: Plan) -> PlanTrial:
        """Simulate a plan.

        Args:
            plan: The plan.

        Returns:
            The trial.

        Raises:
            UnsupportedLayerError: A layer does not fit a memory, even with everything else off chip.
        """
        group, builder = self._builder.group, self._builder
        simulator = PlanSimulator(group, builder, self._router, self._steps, plan.speculation, plan.tasks)
        simulator.run()
        verdicts = simulator.verdict_cycles
        energies = energies_to_exits(simulator.charges, self._stage_of, verdicts)
        return PlanTrial(simulator, plan, mean_energy_delay_product(energies, verdicts, self._rates))
