"""What is drawn of a schedule: spans by hand, and that none is lost or shown twice."""

from itertools import pairwise

from hypothesis import HealthCheck, given, settings

from offramp.cost.busy_times import STREAMED, busy_spans
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.mapping.channel_split.channel_split_model import ChannelSplitModel
from offramp.cost.mapping.optimized.optimized_model import OptimizedModel
from offramp.cost.report import BusySpan
from offramp.cost.schedule import Execution, Schedule, Transfer, TransferKind
from offramp.hardware.loader import load_accelerator
from offramp.workload.graph import Workload
from tests.cost.mapping.optimized.networks import networks, quad
from tests.cost.mapping.optimized.test_mapping_steps import two_stages

MODEL = OptimizedModel(NativeEngine(goal="energy_delay_product", num_spatial_mappings=1))


def sent(origin: str, media: tuple[str, ...], start: float, end: float, broadcast: bool = False) -> Transfer:
    kind = TransferKind.WEIGHTS
    return Transfer(f"weights of {origin}", kind, origin, "dram", "core0", media, start, end, 8, 1.0, broadcast)


def test_spans_by_hand() -> None:
    schedule = Schedule(
        executions=(
            Execution("a", "core1", 5, 9),
            Execution("a", "core0", 5, 10),
            Execution("a", "core0", 10, 12),
            Execution("b", "core0", 12, 20, held_media=("bus",)),
            Execution("free", "core0", 20, 20),
        ),
        transfers=(sent("a", ("bus",), 0, 3), sent("a", ("bus",), 3, 5), sent("a", ("bus",), 3, 5, broadcast=True)),
    )
    assert busy_spans(schedule) == (
        BusySpan("bus", "a", 0, 5, "weights"),
        BusySpan("bus", "b", 12, 20, STREAMED),
        BusySpan("core0", "a", 5, 12),
        BusySpan("core0", "b", 12, 20),
        BusySpan("core1", "a", 5, 9),
    )


def test_a_passage_over_two_links_shows_on_both_and_a_gap_stays_a_gap() -> None:
    found = busy_spans(Schedule((), (sent("a", ("one", "two"), 0, 3), sent("a", ("one",), 4, 5))))
    assert [(x.place, x.start_cycle, x.end_cycle) for x in found] == [("one", 0, 3), ("one", 4, 5), ("two", 0, 3)]


def test_nothing_is_nothing() -> None:
    assert busy_spans(Schedule((), ())) == ()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(networks())
def test_every_busy_cycle_of_a_mapped_network_is_shown_once(workload: Workload) -> None:
    mapping = MODEL.map(workload, quad())
    spans = mapping.report.busy
    for one, two in pairwise(spans):
        assert one.place != two.place or one.end_cycle <= two.start_cycle
    for piece in mapping.schedule.executions:
        inside = [x for x in spans if x.place == piece.core and x.layer == piece.layer and not x.carries]
        assert any(x.start_cycle <= piece.start_cycle and piece.end_cycle <= x.end_cycle for x in inside)
    shown = sum(x.end_cycle - x.start_cycle for x in spans)
    computed = sum(x.end_cycle - x.start_cycle for x in mapping.schedule.executions)
    moved = sum((x.end_cycle - x.start_cycle) * len(x.media) for x in mapping.schedule.transfers if not x.broadcast)
    assert shown == computed + moved


def test_a_chip_with_formulas_shows_its_cores_and_its_transfers() -> None:
    report = ChannelSplitModel(free=True).estimate(two_stages(), load_accelerator("diana"))
    assert {layer.core for layer in report.layers if "+" not in layer.core} <= {x.place for x in report.busy}
    assert {x.carries for x in report.busy if x.place == "offchip"} >= {"weights", "input"}
    for one, two in pairwise(report.busy):
        assert one.place != two.place or one.end_cycle <= two.start_cycle + 1e-6
