"""Every registered cost engine passes the checks, and an engine with a fault does not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from offramp.cost.engines.cost_engine import COST_ENGINES, CostEngine, EngineOptions
from offramp.cost.engines.measured.command_runner import PERMISSION
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.report import LayerCost, LayerEngine, MemoryEnergy
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.hardware.accelerator import Core, CoreKind
from offramp.testing.engine_conformance import (
    CHECKS,
    check_core_names,
    check_more_work_costs_more,
    check_parts,
    check_refusals,
    check_registration,
    check_same_price,
)
from offramp.workload.layer import LayerShape
from tests.cost.engines.measured.devices import device_file

Check = Callable[[str, str], None]
# The formulas of a chip belong to cores by name, and its cost model keeps no prices.
BY_NAME = ("formula",)
CASES = [
    (name, check) for name in COST_ENGINES for check in CHECKS if not (name in BY_NAME and check is check_core_names)
]


@pytest.mark.parametrize(("name", "check"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_every_engine_passes(name: str, check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "zigzag":
        pytest.importorskip("zigzag")
    monkeypatch.setenv(PERMISSION, "1")
    own = {"formula": "diana", "measured": str(device_file(tmp_path))}
    check(name, own.get(name, "edge-tpu-quad"))


def by_size(shape: LayerShape) -> LayerCost:
    """A cycle and a picojoule per MAC and result."""
    work = float(shape.macs + shape.num_outputs)
    return LayerCost(work, 0.0, 0.0, 0.0, work, (MemoryEnergy("sram", "I", 1.0),), 0.5)


@dataclass
class Plain:
    """Prices compute cores without zero weights; ``cost`` is what a test breaks."""

    cost: Callable[[LayerShape, Core, int], LayerCost]
    name: str = "plain"
    version: str = "1"
    refuses_sparse: bool = True
    refuses_offchip: bool = True
    names_all: bool = True
    num_asked: int = 0

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        refused = [
            UnpricedJob(shape, core.name, "no")
            for shape, core in jobs
            if (core.kind is CoreKind.OFFCHIP and self.refuses_offchip)
            or (core.sparsity is not None and self.refuses_sparse)
        ]
        if refused:
            raise UnpricedJobsError(self.name, refused if self.names_all else refused[:1])
        self.num_asked += 1
        return [self.cost(shape, core, self.num_asked) for shape, core in jobs]


def register(monkeypatch: pytest.MonkeyPatch, build: Callable[[EngineOptions], tuple[LayerEngine, ...]]) -> None:
    list(COST_ENGINES)
    monkeypatch.setattr(COST_ENGINES, "_items", dict(COST_ENGINES._items))
    COST_ENGINES.add("plain", CostEngine("an engine for tests", build))


@pytest.mark.parametrize("check", [check_parts, check_more_work_costs_more, check_same_price, check_refusals])
def test_the_plain_engine_is_sound(check: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, lambda _: (Plain(lambda shape, *_: by_size(shape)),))
    check("plain")


def less_for_more(shape: LayerShape, _core: Core, _asked: int) -> LayerCost:
    return replace(by_size(shape), temporal_cycles=1e9 / shape.num_outputs)


def dearer_each_time(shape: LayerShape, _core: Core, asked: int) -> LayerCost:
    return replace(by_size(shape), temporal_cycles=float(asked))


def by_core_name(shape: LayerShape, core: Core, _asked: int) -> LayerCost:
    return replace(by_size(shape), temporal_cycles=float(len(core.name)))


@pytest.mark.parametrize(
    ("check", "cost", "sentence"),
    [
        (check_parts, lambda shape, *_: replace(by_size(shape), stall_cycles=-1.0), "parts must be >= 0"),
        (
            check_parts,
            lambda shape, *_: replace(by_size(shape), mac_energy_pj=float("nan")),
            "parts must be >= 0",
        ),
        (check_parts, lambda shape, *_: replace(by_size(shape), utilization=1.5), "utilization must be in 0..1"),
        (check_parts, lambda shape, *_: replace(by_size(shape), temporal_cycles=0.0), "must take time"),
        (check_more_work_costs_more, less_for_more, "latency_cycles must be at least"),
        (check_same_price, dearer_each_time, "must have one price"),
        (check_core_names, by_core_name, "must not depend on the core's name"),
    ],
)
def test_wrong_prices_are_found(
    check: Callable[[str], None],
    cost: Callable[[LayerShape, Core, int], LayerCost],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(monkeypatch, lambda _: (Plain(cost),))
    with pytest.raises(AssertionError, match=sentence):
        check("plain")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"refuses_offchip": False}, "must refuse 2 layer"),
        ({"refuses_sparse": False}, "must refuse 2 layer"),
        ({"names_all": False}, "must name all layers"),
    ],
)
def test_prices_by_omission_are_found(changes: dict[str, bool], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, lambda _: (replace(Plain(lambda shape, *_: by_size(shape)), **changes),))
    with pytest.raises(AssertionError, match=sentence):
        check_refusals("plain")


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda options: (NativeEngine(), NativeEngine(loma_lpf_limit=4), NativeEngine()), "one engine per goal"),
        (lambda options: (NativeEngine(),) * len(options.goals), "another version for each goal"),
        (lambda options: (Plain(lambda shape, *_: by_size(shape), version=""),), "a name and a version"),
        (
            lambda options: (Plain(lambda shape, *_: replace(by_size(shape), stall_cycles=float(options.coarse))),),
            "coarse pricing gives other prices",
        ),
    ],
)
def test_variants_with_one_version_are_found(
    build: Callable[[EngineOptions], tuple[LayerEngine, ...]], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, build)
    with pytest.raises(AssertionError, match=sentence):
        check_registration("plain")


def test_an_engine_that_prices_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(shape: LayerShape, core: Core, _asked: int) -> LayerCost:
        raise UnpricedJobsError("plain", [UnpricedJob(shape, core.name, "never")])

    register(monkeypatch, lambda _: (Plain(nothing),))
    with pytest.raises(AssertionError, match="must price some layer"):
        check_parts("plain")
