"""Block diagram of an architecture in inline SVG: the backbone from top to bottom, exits to its right."""

from dataclasses import dataclass

from markupsafe import Markup

from offramp.objectives.picking import rule_name
from offramp.records.run_summary import ChosenNetwork, DataSummary
from offramp.report import units
from offramp.report.architecture_layout import Block, ExitPlace, Layout, layout_of
from offramp.report.pages.tables import threshold

WIDTH = 340
COLUMN = 150
BLOCK_HEIGHT = 26
EXIT_HEIGHT = 54
GAP = 12


@dataclass(frozen=True)
class _Box:
    """A place in the drawing: upper edge and height."""

    top: float
    height: float

    @property
    def middle(self) -> float:
        return self.top + self.height / 2


def draw_diagram(network: ChosenNetwork, data: DataSummary, max_depths: tuple[int, ...]) -> Markup:
    """Draw a chosen network; the line of the backbone is as thick as the share of images that reach each block.

    Args:
        network: The network.
        data: The data set of the run.
        max_depths: Largest depth of each stage in the search space.

    Returns:
        An SVG element; names in it are escaped.
    """
    layout = layout_of(network.architecture, max_depths)
    rates = network.measured.profile.rates
    boxes, exit_tops, height = _arranged(layout)
    parts = [_input(data)]
    top = float(BLOCK_HEIGHT)
    for block in layout.blocks:
        box = boxes[block.number]
        left_before = sum(
            rate for place, rate in zip(layout.exits, rates, strict=True) if place.after_block < block.number
        )
        parts.append(_line(top, box.top, 1.0 - left_before))
        parts.append(_block(block, box))
        top = box.top + box.height
    for index, (place, rate) in enumerate(zip(layout.exits, rates, strict=True)):
        parts.append(_exit(place, boxes[place.after_block], exit_tops[index], rate, threshold(network, index)))
    title = f"Network {rule_name(network.rule)}: {units.count(len(layout.blocks), 'block')}, " + "; ".join(
        f"{place.label} {place.position} ({place.branch}), {units.percent(rate)} leave"
        for place, rate in zip(layout.exits, rates, strict=True)
    )
    return Markup('<svg class="diagram" viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, round(height), WIDTH, title, Markup("").join(parts)
    )


def _arranged(layout: Layout) -> tuple[dict[int, _Box], list[float], float]:
    """Boxes of the blocks, upper edges of the exits, and the height; exits after one block push the next one down."""
    boxes: dict[int, _Box] = {}
    exit_tops: list[float] = []
    top = float(BLOCK_HEIGHT + GAP)
    free_for_exit = 0.0
    for block in layout.blocks:
        boxes[block.number] = _Box(top, BLOCK_HEIGHT)
        mine = [place for place in layout.exits if place.after_block == block.number]
        for _ in mine:
            exit_top = max(free_for_exit, top)
            exit_tops.append(exit_top)
            free_for_exit = exit_top + EXIT_HEIGHT + 6
        # The next block starts below the upper edge of the last exit, so that branches never cross.
        top = max(top + BLOCK_HEIGHT + GAP, exit_tops[-1] + BLOCK_HEIGHT + GAP if mine else 0.0)
    bottom = max(top - GAP, free_for_exit)
    return boxes, exit_tops, bottom + 4


def _input(data: DataSummary) -> Markup:
    shape = " × ".join(str(size) for size in data.input_shape)
    return Markup(
        '<rect class="d-input" x="1" y="1" width="{}" height="{}" rx="5"/>'
        '<text x="{}" y="{}" class="d-text" text-anchor="middle">input {}</text>'
    ).format(COLUMN, BLOCK_HEIGHT - 2, COLUMN / 2, BLOCK_HEIGHT / 2 + 4, shape)


def _line(start: float, end: float, share: float) -> Markup:
    thickness = 1.0 + 9.0 * max(0.0, share)
    return Markup('<line class="d-line" x1="{}" x2="{}" y1="{}" y2="{}" stroke-width="{}"/>').format(
        COLUMN / 2, COLUMN / 2, round(start, 1), round(end, 1), round(thickness, 1)
    )


def _block(block: Block, box: _Box) -> Markup:
    label = f"{block.number}: {block.width} ch"
    if block.heads:
        label += f", {units.count(block.heads, 'head')}"
    elif block.kernel_size is not None:
        label += f", {1 if block.over_time else block.kernel_size}×{block.kernel_size}"
    if block.expansion != 1:
        label += f", ×{block.expansion}"
    return Markup(
        '<rect class="d-block d-stage{}" x="1" y="{}" width="{}" height="{}" rx="5"/>'
        '<text x="{}" y="{}" class="d-text" text-anchor="middle">{}</text>'
    ).format(block.stage % 2, box.top, COLUMN, box.height, COLUMN / 2, box.middle + 4, label)


def _exit(place: ExitPlace, source: _Box, top: float, rate: float, threshold_text: str) -> Markup:
    left = COLUMN + 36
    middle = top + 13
    thickness = round(1.0 + 9.0 * rate, 1)
    bend = COLUMN + 18
    rule = threshold_text if place.final or threshold_text == "closed" else f"if confidence ≥ {threshold_text}"
    return Markup(
        '<path class="d-branch" d="M{} {} H{} V{} H{}" stroke-width="{}"/>'
        '<rect class="d-exit" x="{}" y="{}" width="{}" height="{}" rx="5"/>'
        '<text x="{}" y="{}" class="d-text"><tspan class="d-strong">{}: {}</tspan>'
        '<tspan x="{}" dy="15">{}</tspan><tspan x="{}" dy="15" class="d-muted">{}</tspan></text>'
    ).format(
        COLUMN + 1, source.middle, bend, middle, left, thickness,
        left, top, WIDTH - left - 1, EXIT_HEIGHT - 2,
        left + 8, top + 16, place.label, units.percent(rate),
        left + 8, _clipped(place.branch), left + 8, rule,
    )  # fmt: skip


def _clipped(text: str, length: int = 20) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
