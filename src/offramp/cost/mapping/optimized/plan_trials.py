"""Comparison of plans by simulation, and the choice of what starts before the decision of each exit."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from offramp.cost.mapping.exit_energy import energies_to_exits, mean_energy_delay_product
from offramp.cost.mapping.optimized.candidates.task_builder import TaskBuilder
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.mapping.optimized.planning.plan_optimizer import Plan
from offramp.cost.mapping.optimized.router import Router
from offramp.cost.mapping.optimized.simulation.plan_simulator import PlanSimulator, Speculation
from offramp.workload.graph import Workload


@dataclass(frozen=True, eq=False)
class PlanTrial:
    """A plan that was simulated.

    Attributes:
        simulator: The simulator after the last stage.
        plan: The plan.
        speculation: One mode per exit.
        product: Weighted product of energy and latency in J x cycles.
        entries: By number of the stage, the simulator before it; empty where speculation is not wanted.
    """

    simulator: PlanSimulator
    plan: Plan
    speculation: tuple[Speculation, ...]
    product: float
    entries: dict[int, PlanSimulator] = field(repr=False)


class PlanTrials:
    """Simulates plans for one network."""

    def __init__(
        self,
        workload: Workload,
        builder: TaskBuilder,
        router: Router,
        steps: frozenset[MappingStep],
        rates: tuple[float, ...],
        *,
        speculates: bool,
    ) -> None:
        """Prepare trials.

        Args:
            workload: The network.
            builder: What built the tasks of the plans.
            router: Plans transfers.
            steps: Steps of the mapping that are switched on.
            rates: Weights of the exits.
            speculates: Whether `speculate` will be called.
        """
        self._speculates = speculates
        self._builder, self._router, self._steps, self._rates = builder, router, steps, rates
        self._stage_of = {layer.name: layer.stage for layer in workload.layers}

    def run(self, plan: Plan) -> PlanTrial:
        """Simulate a plan with every stage waiting for the verdict before it.

        Args:
            plan: The plan.

        Returns:
            The trial.

        Raises:
            UnsupportedLayerError: A layer does not fit a memory, even with everything else off chip.
        """
        waits = (Speculation.WAIT,) * len(self._rates)
        simulator = PlanSimulator(self._builder.group, self._builder, self._router, self._steps, waits, plan.tasks)
        return self._finish(simulator, plan, waits)

    def speculate(self, best: PlanTrial) -> PlanTrial:
        """Load weights or even compute for the next stage before a verdict, where that is better.

        Exits are decided one after the other, the first one first.

        Args:
            best: A trial in which every stage waits.

        Returns:
            The best trial that was found.

        Raises:
            UnsupportedLayerError: A layer does not fit a memory, even with everything else off chip.
        """
        for stage in range(len(self._rates) - 1):
            for mode in (Speculation.LOAD, Speculation.START):
                entry = best.entries.get(stage + 1)
                if entry is None:
                    continue
                tried = tuple(mode if index == stage else old for index, old in enumerate(best.speculation))
                # Up to that verdict nothing differs.
                other = self._finish(entry.fork(tried), best.plan, tried)
                if other.product < best.product:
                    best = other
        return best

    def _finish(self, simulator: PlanSimulator, plan: Plan, modes: Sequence[Speculation]) -> PlanTrial:
        entries: dict[int, PlanSimulator] = {}
        while not simulator.finished:
            if self._speculates:
                entries[simulator.next_stage] = simulator.fork(modes)
            simulator.run_stage()
        verdicts = simulator.verdict_cycles
        energies = energies_to_exits(simulator.charges, self._stage_of, verdicts)
        product = mean_energy_delay_product(energies, verdicts, self._rates)
        return PlanTrial(simulator, plan, tuple(modes), product, entries)
