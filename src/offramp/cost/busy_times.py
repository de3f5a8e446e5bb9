"""Busy times of cores and links in a schedule, for drawing it."""

from collections.abc import Iterable

from offramp.cost.report import BusySpan
from offramp.cost.schedule import Schedule

STREAMED = "operands"
"""What a link carries while a layer runs whose operands do not fit its core."""


def busy_spans(schedule: Schedule) -> tuple[BusySpan, ...]:
    """List what every core and every link does and when.

    Args:
        schedule: What a mapping planned.

    Returns:
        Spans in order of place and time; spans of one layer that follow each other without a gap are one.
    """
    spans = sorted(_spans(schedule), key=lambda span: (span.place, span.start_cycle, span.end_cycle))
    return tuple(_joined(spans))


def _spans(schedule: Schedule) -> Iterable[BusySpan]:
    for execution in schedule.executions:
        start, end = execution.start_cycle, execution.end_cycle
        if end > start:
            yield BusySpan(execution.core, execution.layer, start, end)
            for medium in execution.held_media:
                yield BusySpan(medium, execution.layer, start, end, STREAMED)
    for transfer in schedule.transfers:
        start, end = transfer.start_cycle, transfer.end_cycle
        if end > start and not transfer.broadcast:
            for medium in transfer.media:
                yield BusySpan(medium, transfer.origin, start, end, transfer.kind.value)


def _joined(spans: Iterable[BusySpan]) -> Iterable[BusySpan]:
    last: BusySpan | None = None
    for span in spans:
        if last is None:
            last = span
        elif (last.place, last.layer, last.carries, last.end_cycle) == (
            span.place,
            span.layer,
            span.carries,
            span.start_cycle,
        ):
            last = BusySpan(last.place, last.layer, last.start_cycle, span.end_cycle, last.carries)
        else:
            yield last
            last = span
    if last is not None:
        yield last
