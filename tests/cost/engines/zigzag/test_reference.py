"""The reference evaluation of Zniber et al., reproduced to the cycle.

Layer prices come from the reference's own table (and, where it lists none, from a small file beside the tests), so that
the quick tests are about the schedule; the slow one prices every layer with ZigZag.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from offramp import jsonio
from offramp.cost.engines.zigzag.engine import ZigzagEngine
from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.price_cache import CachedEngine
from offramp.cost.report import Convention, CostReport, LayerCost, LayerEngine, MemoryEnergy
from offramp.hardware.accelerator import Core
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op
from tests.workload.from_onnx.onnx_samples import workload_from_onnx

TESTS = Path(__file__).parents[3]
REFERENCE = TESTS.parents[1] / "shared" / "reference" / "eenn"
pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference data lies in ../shared, which is absent")

Row = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Rows of one network: all its stages in one variant at one pair of precisions."""

    model: str
    variant: str
    backbone_bits: int
    branch_bits: int

    @property
    def convention(self) -> Convention:
        return "published" if self.variant.startswith("as_published_code") else "offramp"

    @property
    def onnx(self) -> Path:
        name = self.model.removesuffix("_precision")
        folder = f"nas/iter_0/{name[11:]}" if name.startswith("nas") else f"focus/{name.removeprefix('focus_')}"
        return REFERENCE / folder / "model.onnx"

    def belongs(self, row: Row) -> bool:
        bits = (int(row["pb"]), int(row["pc"]))
        return (row["model"], row["variant"], *bits) == (self.model, self.variant, *self.bits)

    @property
    def bits(self) -> tuple[int, int]:
        return self.backbone_bits, self.branch_bits


def rows(name: str) -> list[Row]:
    with (REFERENCE / name).open() as stream:
        return list(csv.DictReader(stream))


def cases() -> list[Case]:
    """All rows but those of the genetic search, which use several cores."""
    if not REFERENCE.is_dir():
        return []
    found = [Case(r["model"], r["variant"], int(r["pb"]), int(r["pc"])) for r in rows("stages.csv")]
    return [case for case in dict.fromkeys(found) if "GA" not in case.variant]


class TableEngine:
    """Answers from the reference's table of layers."""

    name = "table"
    version = "1"

    def __init__(self) -> None:
        self._costs: dict[tuple[Any, ...], LayerCost] = {}
        for row in rows("layers.csv"):
            self._costs[_row_key(row)] = _row_cost(row)
        golden = json.loads((TESTS / "golden" / "zigzag_layer_costs.json").read_text())
        for item in golden["layers"]:
            shape = jsonio.from_data(LayerShape, item["shape"])
            self._costs[_shape_key(shape)] = jsonio.from_data(LayerCost, item["cost"])

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        return [self._costs[_shape_key(shape)] for shape, _ in jobs]


def _shape_key(shape: LayerShape) -> tuple[Any, ...]:
    if shape.op is Op.ADD:
        return ("add", shape.g, shape.oy, shape.activation_bits)
    if shape.op is Op.MAX_POOL:
        return ("pool", shape.g, shape.c, shape.ox, shape.fx, shape.activation_bits)
    sizes = (shape.g, shape.k, shape.c, shape.ox, shape.fx, shape.stride_x)
    return (shape.op.value, *sizes, shape.weight_bits, shape.activation_bits)


def _row_key(row: Row) -> tuple[Any, ...]:
    def size(name: str) -> int:
        return int(float(row[name]))

    if row["op"] == "add":
        return ("add", size("H"), size("D"), size("bits_I"))
    if row["op"] == "maxpool":
        return ("pool", size("K"), size("C"), size("OX"), size("FX"), size("bits_I"))
    op = "dense" if row["op"] == "gemm" else "conv"
    sizes = [size(name) for name in ("G", "K", "C", "OX", "FX", "stride_x")]
    return (op, *sizes, size("bits_W"), size("bits_I"))


def _row_cost(row: Row) -> LayerCost:
    mac = float(row["E_mac_pJ"])
    return LayerCost(
        temporal_cycles=float(row["temporal_cycles"]),
        stall_cycles=float(row["stall_cycles"]),
        onload_cycles=float(row["loading_cycles"]),
        offload_cycles=float(row["offloading_cycles"]),
        mac_energy_pj=mac,
        memory_energy=(MemoryEnergy("all", "O", float(row["energy_total_pJ"]) - mac),),
        utilization=float(row["mac_utilization2"]),
    )


@cache
def table_engine() -> TableEngine:
    return TableEngine()


def report_of(case: Case, engine: LayerEngine) -> CostReport:
    backbone, branch = case.bits
    workload = workload_from_onnx(
        case.onnx,
        weight_bits=backbone,
        activation_bits=backbone,
        branch_weight_bits=branch,
        branch_activation_bits=branch,
    )
    return LayerByLayerModel(engine, case.convention).estimate(workload, load_accelerator("edge-tpu-quad"))


def check(case: Case, report: CostReport) -> None:
    expected = [row for row in rows("stages.csv") if case.belongs(row)]
    assert len(expected) == len(report.stages)
    for stage, row in zip(report.stages, expected, strict=True):
        assert stage.backbone_latency_cycles == float(row["block_latency"])
        assert stage.gap_cycles == float(row["transfer_gap"])
        assert stage.branch_latency_cycles == float(row["classifier_latency"])
        assert stage.stage_latency_cycles == float(row["stage_latency"])
        assert stage.stage_energy_pj == pytest.approx(float(row["stage_energy_pJ"]), rel=1e-12)


def _id(case: Case) -> str:
    return f"{case.model}-{case.variant}-{case.backbone_bits}-{case.branch_bits}"


@pytest.mark.parametrize("case", cases(), ids=_id)
def test_every_stage_to_the_cycle_and_picojoule(case: Case) -> None:
    check(case, report_of(case, table_engine()))


@pytest.mark.parametrize("case", cases(), ids=_id)
def test_average_energy_delay_product(case: Case) -> None:
    (row,) = [row for row in rows("models.csv") if case.belongs(row)]
    stages = report_of(case, table_engine()).stages
    products = [stage.energy_to_exit_pj * 1e-12 * stage.latency_to_exit_cycles for stage in stages]
    rates = [float(word) for word in row["exit_ratios"].split()]
    average = sum(rate * product for rate, product in zip(rates, products, strict=True))
    assert average == pytest.approx(float(row["avg_et_Jcycles"]), rel=1e-12)


@pytest.mark.parametrize(("label", "model"), [("8/8", "nas_iter_0_net_3"), ("focus 3_5_8", "focus_3_5_8")])
def test_every_layer_starts_and_ends_when_it_does_in_the_reference(label: str, model: str) -> None:
    report = report_of(Case(model, "as_published_code", 8, 8), table_engine())
    expected = [row for row in rows("nodes.csv") if row["model"] == label]
    times = [(entry.start_cycle, entry.end_cycle) for entry in report.layers]
    assert times == [(float(row["start"]), float(row["end"])) for row in expected]
    for entry, row in zip(report.layers, expected, strict=True):
        moved = sum(_number(row[name]) for name in ("weight_transfer_pJ", "input_transfer_pJ", "out_transfer_pJ"))
        assert entry.transfer_energy_pj == pytest.approx(moved, rel=1e-12)
        assert entry.compute_energy_pj == pytest.approx(float(row["cn_energy_pJ"]), rel=1e-12)


def _number(text: str) -> float:
    return float(text) if text else 0.0


def test_defect_of_the_published_figures_is_the_pooling_alone() -> None:
    honest = report_of(Case("nas_iter_0_net_3", "pool_C_loop_removed", 8, 8), table_engine())
    published = report_of(Case("nas_iter_0_net_3", "as_published_code", 8, 8), table_engine())
    assert _compute_energies(honest.layers, pooling=False) == _compute_energies(published.layers, pooling=False)
    once, often = _compute_energies(honest.layers, pooling=True), _compute_energies(published.layers, pooling=True)
    assert all(cheap < dear for cheap, dear in zip(once, often, strict=True))


def _compute_energies(layers: Iterable[Any], *, pooling: bool) -> list[float]:
    return [entry.compute_energy_pj for entry in layers if (entry.op == Op.MAX_POOL) is pooling]


@pytest.mark.slow
def test_every_stage_priced_by_zigzag(tmp_path_factory: pytest.TempPathFactory) -> None:
    """About 136 different layers, 5 s of CPU each."""
    engine = CachedEngine(ZigzagEngine(), tmp_path_factory.mktemp("cache") / "costs.sqlite")
    for case in cases():
        check(case, report_of(case, engine))
