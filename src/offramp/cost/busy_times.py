"""When every core and every link is busy, and with what: a schedule as it is drawn."""

from collections.abc import Iterable

from offramp.cost.report import BusySpan
from offramp.cost.schedule import Schedule

STREAMED = "operands"
"""What a link carries while a layer runs whose operands do not fit its core."""


def busy_spans(schedule: Schedule) -> tuple[BusySpan, ...]:
    """In order of place and time; spans of one layer that follow each other without a gap are one."""
    return join_spans(_spans(schedule))


def join_spans(spans: Iterable[BusySpan]) -> tuple[BusySpan, ...]:
    """The same in order of place and time, with what follows each other without a gap as one."""
    return tuple(_joined(sorted(spans, key=lambda x: (x.place, x.start_cycle, x.end_cycle))))


def _spans(schedule: Schedule) -> Iterable[BusySpan]:
    for run in schedule.executions:
        if run.end_cycle > run.start_cycle:
            yield BusySpan(run.core, run.layer, run.start_cycle, run.end_cycle)
            for medium in run.held_media:
                yield BusySpan(medium, run.layer, run.start_cycle, run.end_cycle, STREAMED)
    for sent in schedule.transfers:
        if sent.end_cycle > sent.start_cycle and not sent.broadcast:
            for medium in sent.media:
                yield BusySpan(medium, sent.origin, sent.start_cycle, sent.end_cycle, sent.kind.value)


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
