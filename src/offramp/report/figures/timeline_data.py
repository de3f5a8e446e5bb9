"""Data of the timeline: busy times of cores and links, and the time of each exit decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offramp.cost.report import BusySpan, CostReport, LayerReport
from offramp.report import units
from offramp.report.architecture_layout import exit_label
from offramp.report.pages.tables import Cell, Column, Table
from offramp.workload.graph import Role

MAX_LINKS = 12
"""Links with a row of their own, the busiest; the others share one."""

OFF_CHIP = frozenset({"weights", "input", "logits", "eviction", "operands"})
"""What only travels to or from the off-chip memory."""


@dataclass(frozen=True)
class TimelineBar:
    """A layer on a core, or what travels over a link for a layer (``carries``), from start to end."""

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
    """The moment at which an exit has its answer."""

    label: str
    cycle: float


@dataclass(frozen=True)
class Timeline:
    """The schedule of one image that runs to the end; ``cores`` holds idle ones too, ``links`` those in use."""

    cores: tuple[str, ...]
    links: tuple[str, ...]
    bars: tuple[TimelineBar, ...]
    marks: tuple[TimelineMark, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        return (*self.cores, *self.links)

    @property
    def end_cycle(self) -> float:
        return max((*(bar.end_cycle for bar in self.bars), *(mark.cycle for mark in self.marks)), default=0.0)

    def busy_cycles(self, row: str, role: Role | None = None) -> float:
        """Cycles in which anything happens on a row; overlaps (links that share a row) count once."""
        spans = [(x.start_cycle, x.end_cycle) for x in self.bars if x.row == row and role in (None, x.role)]
        total = reached = 0.0
        for start, end in sorted(spans):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total


def timeline(cost: CostReport, core_names: Sequence[str] = ()) -> Timeline:
    """When each core and link works for which layer, and when each exit has its answer."""
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
    """For reports that do not say what is busy when: each layer where it says that it runs."""
    return [BusySpan(x.core, x.name, x.start_cycle, x.end_cycle) for x in layers if x.end_cycle > x.start_cycle]


def _link_rows(spans: Sequence[BusySpan]) -> Mapping[str, str]:
    """The row of each link: those that lead off chip first, then the busiest."""
    busy: dict[str, float] = {}
    for span in spans:
        busy[span.place] = busy.get(span.place, 0.0) + span.end_cycle - span.start_cycle
    off_chip = {span.place for span in spans if span.carries in OFF_CHIP}
    ranked = sorted(busy, key=lambda name: (name not in off_chip, -busy[name], name))
    kept = ranked if len(ranked) <= MAX_LINKS else ranked[: MAX_LINKS - 1]
    others = f"{len(ranked) - len(kept)} other links"
    return {name: link_label(name) if name in kept else others for name in ranked}


def link_label(name: str) -> str:
    """``core0->core1`` as an arrow, a shared medium by its own name."""
    return name.replace("->", " → ") if "->" in name else f"{name} link"


def _marks(cost: CostReport) -> tuple[TimelineMark, ...]:
    marks = []
    for index, stage in enumerate(cost.stages):
        ends = [x.end_cycle for x in cost.layers if x.stage == index]
        branch_ends = [x.end_cycle for x in cost.layers if x.stage == index and x.role is Role.BRANCH]
        # An optimized mapping counts from cycle 0 to the last logit off chip; the other one leaves waits out.
        mapped = [stage.latency_to_exit_cycles] if cost.mapping == "optimized" else []
        if ends:
            marks.append(TimelineMark(exit_label(index, len(cost.stages)), max(mapped or branch_ends or ends)))
    return tuple(marks)


def busy_table(data: Timeline) -> Table:
    """How long every core and link works, for the backbone and for the branches."""
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
