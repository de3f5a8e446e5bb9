"""Cycles of every loop order: stalls at shared ports, first load, last store."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from offramp.cost.engines.native.loop_mapping import FloatArray, IntArray
from offramp.cost.engines.native.loop_nest import LoopNest
from offramp.cost.engines.native.memory_levels import CoreView, Direction, PortDuty, Served
from offramp.cost.engines.native.traffic import Reuse, Traffic
from offramp.cost.sparsity_gain import SparseGain
from offramp.hardware.accelerator import MemoryOperand

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Movements:
    """All movements of all operands, one per row; arrays are (movements x orders).

    A window is the time in which a movement does not delay the computation.

    Attributes:
        rows: The row of each movement.
        busy: Cycles that a movement takes its port each time.
        window: Length of the window in cycles, at most the period.
        period: Cycles between the openings of two windows.
        times: How often the movement occurs; 0 where it does not.
        demand: Average bandwidth in bits per cycle.
        least: Bits that must be present before the first cycle.
    """

    rows: dict[Served, int]
    busy: FloatArray
    window: FloatArray
    period: FloatArray
    times: FloatArray
    demand: FloatArray
    least: FloatArray


@dataclass(frozen=True, eq=False)
class Latency:
    """Cycles per loop order.

    Attributes:
        stall: Cycles in which the array waits for memories.
        onload: Cycles before the array starts.
        offload: Cycles that the last results take to the outermost memory.
    """

    stall: FloatArray
    onload: FloatArray
    offload: FloatArray


@dataclass(frozen=True)
class Clock:
    """How long a layer computes without any stall.

    Attributes:
        total: Rounds of the temporal loops.
        cycles_per_operation: Cycles of a round: 1 except for bit-serial arrays and, on average, for arrays that skip
            zero weights.
        sparsity: What zero weights save; None where they save nothing.
    """

    total: int
    cycles_per_operation: float
    sparsity: SparseGain | None = None

    @property
    def temporal_cycles(self) -> float:
        """Cycles of computing without any stall."""
        if self.sparsity is not None:
            return float(self.sparsity.whole_cycles(self.total))
        return self.total * self.cycles_per_operation


def double_buffered(
    nest: LoopNest, view: CoreView, reuses: tuple[Reuse, ...], exact: tuple[Traffic, ...]
) -> tuple[BoolArray, ...]:
    """Return whether memory levels can be refilled while their content is in use.

    Operands that share a memory claim its free half one after the other, in the order of the layer's operands.

    Args:
        nest: The layer's loops.
        view: The core.
        reuses: How loops are split over the memories, per operand.
        exact: Traffic per operand under the exact spatial mapping.

    Returns:
        One (levels + 1 x orders) array per operand; row ``l + 1`` belongs to memory level ``l``.
    """
    links = [operand.memory_operand for operand in nest.operands]
    alone: dict[tuple[MemoryOperand, int], FloatArray] = {}
    for link, reuse, traffic in zip(links, reuses, exact, strict=True):
        for level, item in enumerate(view.levels[link]):
            held = np.floor_divide(traffic.data[level + 1] * traffic.bits[level + 1], reuse.top_relevant[level + 1])
            alone[link, level] = held / view.memories[item.memory].level.size_bits
    shared = []
    for use in view.memories:
        shared.append(sum((alone[key] for key in use.operand_levels if key in alone), np.zeros(1)))
    result = []
    for link, reuse in zip(links, reuses, strict=True):
        answer = np.zeros(reuse.cycles.shape, dtype=bool)
        for level, item in enumerate(view.levels[link]):
            used, own = shared[item.memory], alone[link, level]
            roomy = used <= 0.5
            answer[level + 1] = roomy | (own <= 1 - used)
            if len(view.memories[item.memory].operand_levels) > 1:
                shared[item.memory] = np.where(answer[level + 1] & ~roomy, used + own, used)
        result.append(answer)
    return tuple(result)


def movements_of(
    nest: LoopNest,
    view: CoreView,
    clock: Clock,
    reuses: tuple[Reuse, ...],
    whole: tuple[Traffic, ...],
    buffered: tuple[BoolArray, ...],
) -> Movements:
    """Lay out the movements of all operands.

    Args:
        nest: The layer's loops.
        view: The core.
        clock: How long the layer computes.
        reuses: How loops are split over the memories, per operand.
        whole: Traffic per operand under the spatial mapping cut to integers.
        buffered: Result of `double_buffered`.

    Returns:
        The movements that can occur.
    """
    rows: dict[Served, int] = {}
    parts: dict[str, list[FloatArray]] = {name: [] for name in ("busy", "window", "period", "times", "demand", "least")}
    for operand, reuse, traffic, double in zip(nest.operands, reuses, whole, buffered, strict=True):
        link = operand.memory_operand
        top = len(view.levels[link]) - 1
        # Windows: the whole period if the level is double-buffered, else the last run of reusing loops.
        window = np.where(double, reuse.cycles, np.floor(reuse.cycles / reuse.top_irrelevant))
        window = np.ceil(window * clock.cycles_per_operation)
        period = np.ceil(reuse.cycles * clock.cycles_per_operation)
        times = np.floor(clock.total / reuse.cycles)
        flow = traffic.data * traffic.bits / reuse.cycles
        for level, item in enumerate(view.levels[link]):
            for way in Direction:
                moved = _moved(operand.is_output, traffic, level, way, top)
                if moved is None:
                    continue
                served = level + 1 if way in (Direction.READ_TO_HIGH, Direction.WRITE_FROM_HIGH) else level
                boost = 1 if served > level else traffic.boost[level]
                width = item.bandwidth_bits[way]
                rows[Served(link, level, way)] = len(rows)
                busy = np.ceil(moved.bits / width) if width else np.zeros_like(moved.bits)
                parts["busy"].append(busy)
                parts["window"].append(window[served])
                parts["period"].append(period[served])
                parts["times"].append(np.where(moved.occurs, times[served], 0.0))
                parts["demand"].append(np.ceil(np.floor(flow[served] * boost) / clock.cycles_per_operation))
                parts["least"].append(traffic.data[1] * traffic.bits[1])
    return Movements(rows, **{name: np.stack(found) for name, found in parts.items()})


@dataclass(frozen=True, eq=False)
class _Moved:
    bits: FloatArray
    occurs: BoolArray


def _moved(is_output: bool, traffic: Traffic, level: int, way: Direction, top: int) -> _Moved | None:
    """Bits per period of one movement; None where it cannot occur."""
    amount = amount_of(traffic, level, way)
    always = np.ones(amount.shape, dtype=bool)
    if way in (Direction.READ_TO_HIGH, Direction.WRITE_FROM_HIGH) and level == top:
        return None
    match way:
        case Direction.READ_TO_LOW:
            bits = traffic.back_bits[level]
            return _Moved(amount * bits, traffic.unfinished[level] if is_output else always)
        case Direction.WRITE_FROM_LOW:
            return _Moved(amount * traffic.link_bits[level], always) if is_output else None
        case Direction.READ_TO_HIGH:
            return _Moved(amount * traffic.link_bits[level + 1], always) if is_output else None
        case Direction.WRITE_FROM_HIGH:
            bits = traffic.back_bits[level + 1]
            return _Moved(amount * bits, traffic.unfinished[level + 1] if is_output else always)


def amount_of(traffic: Traffic, level: int, way: Direction) -> FloatArray:
    """Return how many elements a movement at a memory carries.

    Args:
        traffic: The operand's traffic.
        level: The operand's memory level; 0 is next to the array.
        way: The movement.

    Returns:
        Elements per period and unit, one per order.
    """
    low = way in (Direction.READ_TO_LOW, Direction.WRITE_FROM_LOW)
    amount: FloatArray = traffic.data[level] * traffic.boost[level] if low else traffic.data[level + 1]
    return amount


def latency_of(nest: LoopNest, view: CoreView, clock: Clock, moves: Movements, fill_early: bool) -> Latency:
    """Return stall, first load and last store of every loop order.

    Args:
        nest: The layer's loops.
        view: The core.
        clock: How long the layer computes.
        moves: The movements.
        fill_early: Whether data that is moved once uses the bandwidth that computing leaves free, as in zigzag-dse 3.9.
            Before 3.9 all of it was moved before and after computing.

    Returns:
        Cycles per order.
    """
    stall = np.zeros(moves.busy.shape[1])
    for port in view.ports:
        rows = [moves.rows[item] for item in port.served if item in moves.rows]
        rows = [row for row in rows if moves.times[row].any()]
        if rows:
            stall = np.maximum(stall, _port_stall(moves, np.array(rows)))
    left = moves.busy.copy()
    for port in view.ports if fill_early else ():
        _fill_during_compute(moves, port, clock, stall, left)
    return Latency(stall, _onload(nest, view, moves, left), _offload(nest, view, moves, left))


def _port_stall(moves: Movements, rows: IntArray) -> FloatArray:
    """Cycles by which the movements of one port exceed their windows, those that overlap taken together."""
    times = moves.times[rows]
    active = times > 0
    again = np.where(active, times - 1, 0.0)
    slack = (moves.busy[rows] - moves.window[rows]) * again
    total: FloatArray = slack.sum(axis=0)
    if len(rows) == 1:
        return total
    late = np.maximum(slack, 0.0).sum(axis=0)
    early = np.minimum(slack, 0.0).sum(axis=0)
    windows = (moves.window[rows] * again).sum(axis=0)
    together = late + np.maximum(0.0, early + windows - _window_union(moves, rows, active))
    result: FloatArray = np.where(active.sum(axis=0) == 1, total, together)
    return result


def _window_union(moves: Movements, rows: IntArray, active: BoolArray) -> FloatArray:
    """Cycles of the whole run during which at least one window is open."""
    window, period = moves.window[rows], moves.period[rows]
    always_open = active & (window == period)
    first = np.argmax(always_open, axis=0)
    columns = np.arange(window.shape[1])
    result: FloatArray = period[first, columns] * moves.times[rows][first, columns]
    partly = np.flatnonzero(~always_open.any(axis=0) & (active.sum(axis=0) > 1))
    if len(partly):
        shown = active[:, partly]
        lengths = np.where(shown, period[:, partly], 1.0)
        opened = np.where(shown, window[:, partly], 0.0)
        longest = np.argmax(lengths, axis=0)
        times = moves.times[rows][:, partly][longest, np.arange(len(partly))]
        result[partly] = covered_cycles(lengths, opened) * times
    return result


def covered_cycles(periods: FloatArray, windows: FloatArray) -> FloatArray:
    """Return the length of the union of the windows [0, w) mod p within the longest period.

    Args:
        periods: Periods (windows x orders) in cycles. Each must divide the next longer one of its column, as products
            of the loops of one order do.
        windows: Lengths w (windows x orders) in cycles, at most their periods.

    Returns:
        Cycles, one per order.
    """
    order = np.argsort(periods, axis=0, kind="stable")
    p = np.take_along_axis(periods, order, axis=0)
    w = np.take_along_axis(windows, order, axis=0)
    per_period: list[FloatArray] = []
    inside: list[FloatArray] = []

    def covered(count: int, x: FloatArray) -> FloatArray:
        """Cycles of [0, x) that the ``count`` shortest windows cover."""
        if count == 0:
            return np.zeros_like(x)
        k = count - 1
        whole, rest = np.divmod(x, p[k])
        tail = np.where(rest <= w[k], rest, w[k] - inside[k] + covered(k, rest))
        total: FloatArray = whole * per_period[k] + tail
        return total

    for k in range(len(p)):
        inside.append(covered(k, w[k]))
        per_period.append(w[k] + covered(k, p[k]) - inside[k])
    longest: FloatArray = per_period[-1]
    return longest


def _fill_during_compute(moves: Movements, port: PortDuty, clock: Clock, stall: FloatArray, left: FloatArray) -> None:
    """Take from ``left`` what a port can move ahead of time with the bandwidth that computing leaves free.

    Only movements that happen once can be spread; the largest goes first. Partial sums do not count.
    """
    partial = (Direction.READ_TO_LOW, Direction.WRITE_FROM_HIGH)
    served = [item for item in port.served if not (item.operand == "O" and item.direction in partial)]
    rows = np.array([moves.rows[item] for item in served if item in moves.rows], dtype=np.int64)
    if not len(rows):
        return
    times = moves.times[rows]
    once = times == 1
    if not once.any():
        return
    width = port.bandwidth_bits
    demand = np.where(times > 1, moves.demand[rows], 0.0).sum(axis=0)
    cycles = np.ceil(clock.temporal_cycles) + stall
    free = np.maximum(0.0, (width - demand) / width * cycles)
    spare = np.maximum(0.0, moves.busy[rows] - np.ceil(moves.least[rows] / width))
    spare = np.where(once, spare, 0.0)
    if len(rows) == 1:
        left[rows[0]] -= np.minimum(spare[0], free)
        return
    order = np.argsort(np.where(once, -moves.busy[rows], 1.0), axis=0, kind="stable")
    columns = np.arange(times.shape[1])
    for rank in range(len(rows)):
        place = order[rank]
        cut = np.minimum(spare[place, columns], free)
        left[rows[place], columns] -= cut
        free = free - cut


def _onload(nest: LoopNest, view: CoreView, moves: Movements, left: FloatArray) -> FloatArray:
    """Cycles until both inputs are where the array can take them; ports shared by both inputs serve one at a time."""
    alone, half, both = [], [], []
    for operand in nest.operands[1:]:
        link = operand.memory_operand
        own, mixed, common = (np.zeros(left.shape[1]) for _ in range(3))
        for level in range(len(view.levels[link]) - 1):
            lower, upper = view.levels[link][level], view.levels[link][level + 1]
            write = left[moves.rows[Served(link, level, Direction.WRITE_FROM_HIGH)]]
            read = left[moves.rows[Served(link, level + 1, Direction.READ_TO_LOW)]]
            cycles = np.maximum(write, read)
            at_write = lower.shared_by_inputs[Direction.WRITE_FROM_HIGH]
            at_read = upper.shared_by_inputs[Direction.READ_TO_LOW]
            if at_write and at_read:
                common = common + cycles
            elif not at_write and not at_read:
                own = own + cycles
            else:
                mixed = cycles
        alone.append(own)
        half.append(mixed)
        both.append(common)
    first = both[0] + np.maximum(both[1] + half[1] + alone[1], half[0] + alone[0])
    second = both[1] + np.maximum(both[0] + half[0] + alone[0], half[1] + alone[1])
    return np.minimum(first, second)


def _offload(nest: LoopNest, view: CoreView, moves: Movements, left: FloatArray) -> FloatArray:
    """Cycles that the last results take to the outermost memory, level after level."""
    link = nest.operands[0].memory_operand
    cycles = np.zeros(left.shape[1])
    for level in range(len(view.levels[link]) - 1):
        read = left[moves.rows[Served(link, level, Direction.READ_TO_HIGH)]]
        write = left[moves.rows[Served(link, level + 1, Direction.WRITE_FROM_LOW)]]
        cycles = cycles + np.maximum(read, write)
    return cycles
