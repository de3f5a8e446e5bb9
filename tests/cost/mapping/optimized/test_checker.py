"""The checker of schedules finds each kind of fault when a good schedule is spoilt by hand."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.mapping.optimized.optimized_model import OptimizedModel
from offramp.cost.schedule import Execution, Schedule, Transfer, TransferKind
from tests.cost.mapping.optimized.checker import faults
from tests.cost.mapping.optimized.networks import quad
from tests.cost.mapping.optimized.planning.test_plan_optimizer import chain

GOOD = OptimizedModel(NativeEngine(num_spatial_mappings=1)).map(chain(), quad()).schedule


def shifted(schedule: Schedule, chosen: Callable[[Execution | Transfer], bool], cycles: float) -> Schedule:
    """All chosen pieces and moves earlier or later."""

    def move(item: Execution | Transfer) -> Execution | Transfer:
        if not chosen(item):
            return item
        return replace(item, start_cycle=item.start_cycle + cycles, end_cycle=item.end_cycle + cycles)

    pieces = tuple(move(x) for x in schedule.executions)
    return replace(schedule, executions=pieces, transfers=tuple(move(x) for x in schedule.transfers))  # type: ignore[arg-type]


def test_the_schedule_is_good_before_it_is_spoilt() -> None:
    assert faults(GOOD, chain(), quad()) == []
    assert len({piece.core for piece in GOOD.executions}) > 4


SPOILT: dict[str, tuple[Schedule, str]] = {
    "a piece is missing": (replace(GOOD, executions=GOOD.executions[1:]), "not made in full"),
    "a layer too early": (shifted(GOOD, lambda x: isinstance(x, Execution) and x.layer == "c", -200), "is there"),
    "all weights at once": (
        replace(
            GOOD,
            transfers=tuple(
                replace(x, start_cycle=0.0, end_cycle=x.end_cycle - x.start_cycle)
                if x.kind is TransferKind.WEIGHTS
                else x
                for x in GOOD.transfers
            ),
        ),
        "overlaps",
    ),
    "no weights": (
        replace(GOOD, transfers=tuple(x for x in GOOD.transfers if x.kind is not TransferKind.WEIGHTS)),
        "weights are there",
    ),
    "no input": (
        replace(GOOD, transfers=tuple(x for x in GOOD.transfers if x.kind is not TransferKind.INPUT)),
        "before input is there",
    ),
    "a link too fast": (
        replace(GOOD, transfers=tuple(replace(x, end_cycle=x.start_cycle) for x in GOOD.transfers)),
        "cycles, not",
    ),
    "too much in a memory": (
        replace(GOOD, holdings=tuple(replace(x, bits=x.bits * 10**5) for x in GOOD.holdings)),
        "holds",
    ),
    "no room for anything": (replace(GOOD, holdings=()), "no room"),
    "logits stay": (
        replace(GOOD, transfers=tuple(x for x in GOOD.transfers if x.kind is not TransferKind.LOGITS)),
        "logits",
    ),
    "verdict before the logits": (replace(GOOD, verdict_cycles=(1.0,)), "logits"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_faults_are_found(name: str) -> None:
    schedule, words = SPOILT[name]
    assert any(words in fault for fault in faults(schedule, chain(), quad()))
