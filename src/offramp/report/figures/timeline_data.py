"""Data of the timeline: busy times of cores and links, and the time of each exit decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offramp.cost.report import BusySpan, CostReport, LayerReport
from offramp.report import units
from offramp.report.architecture_layout import exit_label
from offramp.report.table import Cell, Column, Table
from offramp.workload.graph import Role

MAX_LINKS = 12
"""The busiest links have their own rows, at most this many; the others share one."""

OFF_CHIP = frozenset({"weights", "input", "logits", "eviction", "operands"})
"""Kinds of data that are only transferred to or from the off-chip memory."""


@dataclass(frozen=True)
class TimelineBar:
    """A layer on a core, or a transfer over a link for a layer.

    Attributes:
        row: Name of the row: of the core or the link.
        name: Name of the layer.
        op: Its operation.
        stage: Index of its stage, from 0.
        role: Whether it belongs to the backbone or a branch.
        start_cycle: Clock cycle at which it starts.
        end_cycle: Clock cycle at which it ends.
        carries: Kind of the data transferred; empty = the bar is of a core.
    """

    row: str
    name: str
    op: str
    stage: int
    role: Role
    start_cycle: float
    end_cycle: float
    carries: str = ""


@dataclass(frozen=True)
class TimelineMark:
    """The time at which an exit has its result.

    Attributes:
        label: Name of the exit.
        cycle: Clock cycle.
    """

    label: str
    cycle: float


@dataclass(frozen=True)
class Timeline:
    """The schedule of one image that runs to the final exit.

    Attributes:
        cores: Names of the rows of cores, idle ones included.
        links: Names of the rows of links, those in use.
        bars: Layers and transfers.
        marks: Times of the exits.
    """

    cores: tuple[str, ...]
    links: tuple[str, ...]
    bars: tuple[TimelineBar, ...]
    marks: tuple[TimelineMark, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of all rows, those of cores first."""
        return (*self.cores, *self.links)

    @property
    def end_cycle(self) -> float:
        """Clock cycle at which everything has ended."""
        return max((*(bar.end_cycle for bar in self.bars), *(mark.cycle for mark in self.marks)), default=0.0)

    def busy_cycles(self, row: str, role: Role | None = None) -> float:
        """Cycles in which a row is busy; overlaps, of links that share a row, count once.

        Args:
            row: Name of the row.
            role: Only layers of this role count; None = all layers count.

        Returns:
            Number of clock cycles.
        """
        spans = [(x.start_cycle, x.end_cycle) for x in self.bars if x.row == row and role in (None, x.role)]
        total = reached = 0.0
        for start, end in sorted(spans):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total


def timeline(cost: CostReport, core_names: Sequence[str] = ()) -> Timeline:
    """The timeline of a cost report.

    Args:
        cost: The report.
        core_names: Names of the accelerator's cores, whose rows come first; cores in use are added.

    Returns:
        The timeline.
    """
    layers = {layer.name: layer for layer in cost.layers}
    spans = [span for span in cost.busy if span.layer in layers] or _spans_of_layers(cost.layers)
    cores = tuple(dict.fromkeys((*core_names, *(span.place for span in spans if not span.carries))))
    rows = _link_rows([span for span in spans if span.carries])
    bars = tuple(_bar(span, layers[span.layer], rows.get(span.place, span.place)) for span in spans)
    return Timeline(cores, tuple(dict.fromkeys(rows.values())), bars, _marks(cost))


def _bar(span: BusySpan, layer: LayerReport, row: str) -> TimelineBar:
    times = (span.start_cycle, span.end_cycle)
    return TimelineBar(row, layer.name, layer.op, layer.stage, layer.role, *times, span.carries)


def _spans_of_layers(layers: Sequence[LayerReport]) -> list[BusySpan]:
    """One span per layer from its start to its end, for reports without busy spans."""
    return [BusySpan(x.core, x.name, x.start_cycle, x.end_cycle) for x in layers if x.end_cycle > x.start_cycle]


def _link_rows(spans: Sequence[BusySpan]) -> Mapping[str, str]:
    """The row of each link: links to the off-chip memory first, then the busiest."""
    busy: dict[str, float] = {}
    for span in spans:
        busy[span.place] = busy.get(span.place, 0.0) + span.end_cycle - span.start_cycle
    off_chip = {span.place for span in spans if span.carries in OFF_CHIP}
    ranked = sorted(busy, key=lambda name: (name not in off_chip, -busy[name], name))
    kept = ranked if len(ranked) <= MAX_LINKS else ranked[: MAX_LINKS - 1]
    others = f"{len(ranked) - len(kept)} other links"
    return {name: link_label(name) if name in kept else others for name in ranked}


def link_label(name: str) -> str:
    """Name of a link on pages.

    Args:
        name: Name of the link: ``core0->core1``, or the name of a shared medium.

    Returns:
        The name with an arrow, or with the word "link".
    """
    return name.replace("->", " → ") if "->" in name else f"{name} link"


def _marks(cost: CostReport) -> tuple[TimelineMark, ...]:
    marks = []
    for index, stage in enumerate(cost.stages):
        ends = [x.end_cycle for x in cost.layers if x.stage == index]
        branch_ends = [x.end_cycle for x in cost.layers if x.stage == index and x.role is Role.BRANCH]
        # The latency of an optimized mapping is from cycle 0 to the last logit off chip; the other one excludes waits.
        mapped = [stage.latency_to_exit_cycles] if cost.mapping == "optimized" else []
        if ends:
            marks.append(TimelineMark(exit_label(index, len(cost.stages)), max(mapped or branch_ends or ends)))
    return tuple(marks)


def busy_table(data: Timeline) -> Table:
    """Table of the busy times of cores and links.

    Args:
        data: The timeline.

    Returns:
        The table, one row per core and link, with shares of the time until the final exit.
    """
    whole = data.end_cycle or 1.0
    columns = ("Core or link", "Busy", "Share of the time", "Backbone", "Branches")
    rows = []
    for row in data.rows:
        total, *parts = (data.busy_cycles(row, role) for role in (None, Role.BACKBONE, Role.BRANCH))
        shares = [units.percent(cycles / whole) for cycles in (total, *parts)]
        rows.append((Cell(row), Cell(units.cycles(total)), *(Cell(share) for share in shares)))
    return Table(
        "How busy cores and links are until the final exit",
        tuple(Column(heading, numeric=index > 0) for index, heading in enumerate(columns)),
        tuple(rows),
    )
