"""The native engine against the published per-layer figures and against arithmetic done by hand."""

import ast
import csv
from dataclasses import replace
from pathlib import Path

import pytest

from offramp.cost.base import LayerCost
from offramp.cost.native_engine import NativeEngine
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import Core, CoreKind
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "eenn" / "layers.csv"
ACCELERATOR = load_accelerator("edge-tpu-quad")
COMPUTE = ACCELERATOR.cores_of(CoreKind.COMPUTE)[0]
POOLING = ACCELERATOR.cores_of(CoreKind.POOLING)[0]
SIMD = ACCELERATOR.cores_of(CoreKind.SIMD)[0]
OFFCHIP = ACCELERATOR.cores_of(CoreKind.OFFCHIP)[0]


def backed(core: Core) -> Core:
    """The core with the off-chip memory on top, which the reference adds where a layer's tensors exceed the core."""
    memory = replace(OFFCHIP.memories[0], served_dimensions=tuple(item.name for item in core.array))
    return replace(core, memories=(*core.memories, memory))


def shape_of(row: dict[str, str]) -> LayerShape:
    def number(name: str) -> int:
        return int(float(row[name])) if row[name] else 1

    activation, weight = number("bits_I"), max(1, number("bits_W"))
    if row["op"] == "gemm":
        return LayerShape(Op.DENSE, k=number("K"), c=number("C"), weight_bits=weight, activation_bits=activation)
    if row["op"] == "add":
        oy, ox = number("D"), number("K")
        return LayerShape(
            Op.ADD, g=number("H"), oy=oy, ox=ox, iy=oy, ix=ox, weight_bits=activation, activation_bits=activation
        )
    pool = row["op"] == "maxpool"
    padding = ast.literal_eval(row["pad"])
    (left, right), (top, bottom) = padding["IX"], padding["IY"]
    return LayerShape(
        Op.MAX_POOL if pool else Op.CONV,
        g=number("K") if pool else number("G"),
        k=1 if pool else number("K"),
        # The published figures charge pooling once per channel: the C loop of the defect.
        c=number("C"),
        oy=number("OY"),
        ox=number("OX"),
        fy=number("FY"),
        fx=number("FX"),
        iy=number("OY") * number("stride_y"),
        ix=number("OX") * number("stride_x"),
        stride_y=number("stride_y"),
        stride_x=number("stride_x"),
        padding=(top, left, bottom, right),
        weight_bits=activation if pool else weight,
        activation_bits=activation,
    )


def core_of(row: dict[str, str]) -> Core:
    core = {"maxpool": POOLING, "add": SIMD}.get(row["op"], COMPUTE)
    return backed(core) if core is not COMPUTE and row["E_O_dram_pJ"] else core


def figures(cost: LayerCost, op: str) -> dict[str, float]:
    used = cost.latency_cycles if op in ("maxpool", "add") else cost.latency_without_offload_cycles
    return {
        "temporal_cycles": cost.temporal_cycles,
        "stall_cycles": cost.stall_cycles,
        "loading_cycles": cost.onload_cycles,
        "offloading_cycles": cost.offload_cycles,
        "runtime_used_by_stream": int(used),
        "energy_total_pJ": cost.energy_pj,
        "mac_utilization2": cost.utilization,
        "E_mac_pJ": cost.mac_energy_pj,
    } | {f"E_{part.operand}_{part.memory}_pJ": part.energy_pj for part in cost.memory_energy}


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference figures are not here")
def test_every_published_layer_is_reproduced() -> None:
    with REFERENCE.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 127
    engine = NativeEngine()
    for row, cost in zip(rows, engine.price([(shape_of(row), core_of(row)) for row in rows]), strict=True):
        for name, value in figures(cost, row["op"]).items():
            assert value == pytest.approx(float(row[name] or 0), rel=1e-9), (row["example_layer"], row["bits_I"], name)


def test_layers_without_a_mapping_are_all_named() -> None:
    big = LayerShape(Op.ADD, g=1000, oy=64, ox=64, iy=64, ix=64)
    fine = LayerShape(Op.ADD, g=8, oy=8, ox=8, iy=8, ix=8)
    with pytest.raises(UnsupportedLayerError, match=r"2 layer.*1000 channels.*'simd': no loop order fits.*'offchip'"):
        NativeEngine().price([(big, SIMD), (fine, SIMD), (fine, OFFCHIP)])
