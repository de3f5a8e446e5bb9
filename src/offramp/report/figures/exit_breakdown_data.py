"""Values of the figures about exits and layers: exit rates, and where energy and latency come from."""

from collections.abc import Sequence
from dataclasses import dataclass

from offramp.cost.report import CostReport, LayerReport
from offramp.exits.exit_policy import ExitProfile
from offramp.records.run_summary import ChosenNetwork
from offramp.report import units
from offramp.report.architecture_layout import exit_label
from offramp.workload.graph import Role

MAX_SOURCES = 8
"""Sources of energy that are shown separately at most."""


@dataclass(frozen=True)
class ExitBar:
    """An exit on one split.

    Attributes:
        exit: Name of the exit.
        split: Name of the split.
        rate: Share of the samples that left there.
        accuracy: Accuracy on these, a share; None where no sample left.
    """

    exit: str
    split: str
    rate: float
    accuracy: float | None


@dataclass(frozen=True)
class EnergyPart:
    """Energy of a layer in one source.

    Attributes:
        source: Name of the source: a memory, ``arithmetic``, ``transfers``, or ``other`` for several.
        energy_pj: Energy in picojoule.
    """

    source: str
    energy_pj: float


@dataclass(frozen=True)
class LayerRow:
    """A layer; its energy and cycles are of one image that runs it.

    Attributes:
        name: Name of the layer.
        op: Its operation.
        core: Name of its core.
        stage: Index of its stage, from 0.
        role: Whether it belongs to the backbone or a branch.
        run_share: Share of the images that run it.
        parts: Its energy by source.
        busy_cycles: Clock cycles in which it keeps its core busy.
    """

    name: str
    op: str
    core: str
    stage: int
    role: Role
    run_share: float
    parts: tuple[EnergyPart, ...]
    busy_cycles: float

    @property
    def expected_energy_pj(self) -> float:
        """Mean energy per image in picojoule."""
        return self.run_share * sum(part.energy_pj for part in self.parts)

    @property
    def expected_cycles(self) -> float:
        """Mean busy cycles per image."""
        return self.run_share * self.busy_cycles


@dataclass(frozen=True)
class Breakdown:
    """Energy and busy cycles by layer and source.

    Attributes:
        sources: Names of the sources, from the largest expected energy to the smallest.
        layers: The layers in order of execution.
    """

    sources: tuple[str, ...]
    layers: tuple[LayerRow, ...]

    def expected_energy_pj(self, source: str, role: Role | None = None) -> float:
        """Mean energy of a source per image.

        Args:
            source: Name of the source.
            role: Only layers of this role count; None = all layers count.

        Returns:
            The energy in picojoule.
        """
        return sum(
            row.run_share * part.energy_pj
            for row in self.layers
            if role is None or row.role is role
            for part in row.parts
            if part.source == source
        )


def exit_bars(network: ChosenNetwork) -> tuple[ExitBar, ...]:
    """Rates and accuracies per exit and split.

    Args:
        network: The network.

    Returns:
        The exits on the validation samples, then those on the test samples where they were measured.
    """
    bars: list[ExitBar] = []
    splits: list[tuple[str, ExitProfile | None]] = [("validation", network.validation), ("test", network.test)]
    for split, profile in splits:
        if profile is None:
            continue
        for index, (rate, accuracy) in enumerate(zip(profile.rates, profile.accuracies, strict=True)):
            label = exit_label(index, network.num_exits)
            bars.append(ExitBar(label, split, rate, accuracy if rate > 0.0 else None))
    return tuple(bars)


def breakdown(cost: CostReport, exit_rates: Sequence[float]) -> Breakdown:
    """Energy by source and busy cycles of every layer.

    Args:
        cost: Cost report of the network.
        exit_rates: Share of the samples that leave at each exit; samples that left before a stage do not run it.

    Returns:
        The layers; of more than `MAX_SOURCES` sources, the smallest ones are merged into ``other``.
    """
    run_shares = [sum(exit_rates[stage:]) for stage in range(len(exit_rates))]
    busy = _busy_cycles(cost)
    layers = tuple(
        LayerRow(
            name=layer.name,
            op=layer.op,
            core=layer.core,
            stage=layer.stage,
            role=layer.role,
            run_share=run_shares[layer.stage],
            parts=energy_parts(layer),
            busy_cycles=busy.get(layer.name, layer.end_cycle - layer.start_cycle),
        )
        for layer in cost.layers
    )
    totals: dict[str, float] = {}
    for row in layers:
        for part in row.parts:
            totals[part.source] = totals.get(part.source, 0.0) + row.run_share * part.energy_pj
    ranked = sorted((source for source, total in totals.items() if total > 0.0), key=lambda s: (-totals[s], s))
    if len(ranked) <= MAX_SOURCES:
        return Breakdown(tuple(ranked), layers)
    kept = ranked[: MAX_SOURCES - 1]
    return Breakdown((*kept, "other"), tuple(_with_other(row, kept) for row in layers))


def _busy_cycles(cost: CostReport) -> dict[str, float]:
    """Cycles in which the busiest core of each layer computes, without waits; only layers that the schedule lists."""
    found: dict[tuple[str, str], float] = {}
    for span in cost.busy:
        if not span.carries:
            key = (span.layer, span.place)
            found[key] = found.get(key, 0.0) + span.end_cycle - span.start_cycle
    return {layer: max(found[key] for key in found if key[0] == layer) for layer, _ in found}


def energy_parts(layer: LayerReport) -> tuple[EnergyPart, ...]:
    """Split the energy of a layer by source.

    Args:
        layer: Report of the layer.

    Returns:
        Energy of each memory, of arithmetic and of transfers; together the energy of the layer.
    """
    parts: dict[str, float] = {}
    for item in layer.memory_energy:
        parts[item.memory] = parts.get(item.memory, 0.0) + item.energy_pj
    arithmetic = layer.compute_energy_pj - sum(parts.values())
    transfers = layer.transfer_energy_pj
    if arithmetic < -1e-9 * max(layer.energy_pj, 1.0):
        # The memories already include the transfers; the rest of the total is arithmetic.
        arithmetic, transfers = arithmetic + transfers, 0.0
    parts["arithmetic"] = max(arithmetic, 0.0)
    parts["transfers"] = transfers
    return tuple(EnergyPart(source, value) for source, value in parts.items() if value != 0.0)


def _with_other(row: LayerRow, kept: Sequence[str]) -> LayerRow:
    rest = sum(part.energy_pj for part in row.parts if part.source not in kept)
    parts = (*(part for part in row.parts if part.source in kept), EnergyPart("other", rest))
    return LayerRow(row.name, row.op, row.core, row.stage, row.role, row.run_share, parts, row.busy_cycles)


def layer_note(row: LayerRow) -> str:
    """Text about the share of images that run a layer.

    Args:
        row: The layer.

    Returns:
        A text for the hover box.
    """
    part = "backbone" if row.role is Role.BACKBONE else "branch"
    return f"{part}, run by {units.percent(row.run_share)} of the images"
