"""Plans run on the chip to be compared, and what may start before an exit's verdict tried exit by exit."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from offramp.cost.mapping.exit_energy import energies_to_exits, mean_energy_delay_product
from offramp.cost.mapping.optimized.dynamic_programming import Plan
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.mapping.optimized.plan_simulation import Simulator, Speculation
from offramp.cost.mapping.optimized.task_candidates import TaskBuilder
from offramp.cost.mapping.optimized.transfers import Router
from offramp.workload.graph import Workload


@dataclass(frozen=True, eq=False)
class Trial:
    """A plan that was run, and its weighted product in J x cycles; ``entries``: where stages began, by number."""

    simulator: Simulator
    plan: Plan
    speculation: tuple[Speculation, ...]
    product: float
    entries: dict[int, Simulator] = field(repr=False)


class Rehearsals:
    """Runs plans for one workload; ``rates`` weigh its exits. ``speculates``: ``speculate`` will be asked for."""

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
        self._speculates = speculates
        self._builder, self._router, self._steps, self._rates = builder, router, steps, rates
        self._stage_of = {layer.name: layer.stage for layer in workload.layers}

    def rehearse(self, plan: Plan) -> Trial:
        """With every stage waiting for the verdict before it."""
        waits = (Speculation.WAIT,) * len(self._rates)
        simulator = Simulator(self._builder.chip, self._builder, self._router, self._steps, waits, plan.tasks)
        return self._finish(simulator, plan, waits)

    def speculate(self, best: Trial) -> Trial:
        """Exit by exit, the first one first: fetch weights or even compute for the next stage, where that is better."""
        for stage in range(len(self._rates) - 1):
            for mode in (Speculation.LOAD, Speculation.START):
                entry = best.entries.get(stage + 1)
                if entry is None:
                    continue
                tried = tuple(mode if index == stage else old for index, old in enumerate(best.speculation))
                # Up to the verdict in question nothing differs.
                other = self._finish(entry.fork(tried), best.plan, tried)
                if other.product < best.product:
                    best = other
        return best

    def _finish(self, simulator: Simulator, plan: Plan, modes: Sequence[Speculation]) -> Trial:
        entries: dict[int, Simulator] = {}
        while not simulator.finished:
            if self._speculates:
                entries[simulator.next_stage] = simulator.fork(modes)
            simulator.run_stage()
        verdicts = simulator.verdict_cycles
        energies = energies_to_exits(simulator.charges, self._stage_of, verdicts)
        product = mean_energy_delay_product(energies, verdicts, self._rates)
        return Trial(simulator, plan, tuple(modes), product, entries)
