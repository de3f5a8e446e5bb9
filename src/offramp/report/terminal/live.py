"""Live view of a running search in the terminal: progress, the front as a plot and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offramp.files.escaped_text import escaped
from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.objectives.fronts import split_fronts
from offramp.report.terminal.run_tables import EARLY_FRONT, STATIC_FRONT, evaluations_table

if TYPE_CHECKING:
    from rich.console import Group

_WIDTH, _HEIGHT = 60, 12
_MOST_ROWS = 12
_PHASES = {
    None: "starting",
    "training": "training the supernet",
    "search": "searching",
    "finish": "fine-tuning and exporting",
    "ended": "ended",
    "stopped": "stopped early",
}


@dataclass(frozen=True)
class LiveState:
    """State of a run, read from its record.

    Attributes:
        name: Name of the run.
        phase: Phase of the run as its record names it; None = it is starting.
        running: Whether the search still runs.
        num_proposed: Number of candidates proposed so far.
        evaluations: Evaluations so far, in the order of the proposals.
        objectives: Objectives of the search.
        statics: Evaluations of static networks so far.
    """

    name: str
    phase: str | None
    running: bool
    num_proposed: int
    evaluations: tuple[Evaluation, ...]
    objectives: tuple[Objective, ...]
    statics: tuple[Evaluation, ...] = ()

    @property
    def over(self) -> bool:
        """Whether the search does not run any more."""
        return not self.running


def live_view(state: LiveState) -> "Group":
    """The state, the last failure, and the front as a plot and as a table.

    Args:
        state: State of the run.

    Returns:
        What the terminal shows.
    """
    from rich.console import Group
    from rich.text import Text

    failed = [evaluation for evaluation in state.evaluations if evaluation.status is Status.FAILED]
    phase = _PHASES.get(state.phase, escaped(str(state.phase)))
    if not state.running and state.phase not in ("ended", "stopped"):
        phase = f"not running any more; it was {phase}"
    open_now = state.num_proposed - len(state.evaluations)
    head = (
        f"{state.name}: {phase}. {len(state.evaluations)} candidates evaluated, {open_now} open, {len(failed)} failed."
    )
    parts: list[object] = [Text(head)]
    if failed:
        parts.append(Text(f"Last failure: {escaped(failed[-1].error or '')}"))
    early = [item for item in state.evaluations if not item.architecture.is_static]
    fronts = split_fronts((*early, *state.statics), state.objectives)
    for title, everyone, front in (
        (EARLY_FRONT, early, fronts.early_exit.evaluations),
        (STATIC_FRONT, state.statics, fronts.static.evaluations),
    ):
        if not front:
            continue
        table = evaluations_table(front[:_MOST_ROWS], objectives=state.objectives, title=title)
        parts += [Text(scatter(everyone, front, state.objectives)), table]
        if len(front) > _MOST_ROWS:
            parts.append(Text(f"and {len(front) - _MOST_ROWS} more on the front"))
    return Group(*parts)  # type: ignore[arg-type]


def scatter(
    evaluations: Sequence[Evaluation],
    front: Sequence[Evaluation],
    objectives: Sequence[Objective],
    width: int = _WIDTH,
    height: int = _HEIGHT,
) -> str:
    """Scatter plot of the first objective over the second one; with one objective, over the candidate's number.

    Args:
        evaluations: Evaluations; only complete ones are drawn, as ``·``.
        front: Members of the front, among ``evaluations``; they are drawn as ``●``.
        objectives: Objectives of the search, at least one.
        width: Width of the plotting area in characters.
        height: Height of the plotting area in lines.

    Returns:
        The plot as text; empty where no evaluation is complete.
    """
    shown = [evaluation for evaluation in evaluations if evaluation.status is Status.COMPLETE]
    upwards = objectives[0].metric
    across = objectives[1].metric if len(objectives) > 1 else None
    members = {id(member) for member in front}
    if not shown:
        return ""
    xs = [float(index) if across is None else item.values[across] for index, item in enumerate(shown)]
    ys = [item.values[upwards] for item in shown]
    cells = [[" "] * width for _ in range(height)]
    order = sorted(range(len(shown)), key=lambda index: id(shown[index]) in members)
    for index in order:
        column = _cell(xs[index], min(xs), max(xs), width)
        row = height - 1 - _cell(ys[index], min(ys), max(ys), height)
        cells[row][column] = "●" if id(shown[index]) in members else "·"
    label = across or "candidate"
    lines = [f"{upwards} {max(ys):.4g}", *("│" + "".join(row).rstrip() for row in cells)]
    lines.append("└" + "─" * width)
    lines.append(f"{min(ys):.4g} at the bottom; {label} from {min(xs):.4g} to {max(xs):.4g}")
    return "\n".join(lines)


def _cell(value: float, low: float, high: float, count: int) -> int:
    if high <= low:
        return 0
    return min(count - 1, int((value - low) / (high - low) * count))
