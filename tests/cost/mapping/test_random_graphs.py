"""Early-exit ONNX graphs nobody has seen, priced in both mappings: sane figures, sums of their parts, no traceback."""

import math
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from benchmarks.roofline import RooflineBound, roofline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.expected import expected_cost
from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.mapping.optimized.optimized_model import OptimizedModel
from offramp.cost.price_cache import cached_engines
from offramp.cost.report import CostModel, CostReport
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.loader import load_accelerator
from offramp.workload.graph import Workload
from offramp.workload.layer import Op
from tests.cost.mapping.optimized.checker import faults
from tests.workload.from_onnx.onnx_samples import Net, save, workload_from_onnx

QUIET = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
KINDS = (
    *("plain", "point", "deep", "grouped", "dilated", "strided", "normed", "clipped", "hard_swish", "pool"),
    *("residual", "concat", "gate", "excite"),
)
# All models share the prices of layers.
FAST, BALANCED = cached_engines(
    [NativeEngine(goal=goal, loma_lpf_limit=3, num_spatial_mappings=1) for goal in ("latency", "energy_delay_product")],
    None,
)
HEADS = ("global", "mean", "flat", "matmul", "conv", "turned")


@cache
def models(rates: tuple[float, ...] | None) -> tuple[CostModel, CostModel]:
    return LayerByLayerModel(FAST), OptimizedModel(BALANCED, exit_rates=rates)


class Trunk:
    """A backbone that grows by one block at a time."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.net = Net((1, channels, height, width))
        self.at, self.channels, self.height, self.width = self.net.input, channels, height, width

    def add(self, kind: str, out: int) -> None:
        grow = getattr(self, f"_{kind}", None)
        if grow is not None:
            grow()
            return
        per_group, attributes, kernel = self.channels, dict[str, Any](), 3
        if kind == "point":
            kernel = 1
        elif kind == "deep":
            out, per_group, attributes = self.channels, 1, {"group": self.channels}
        elif kind == "grouped" and self.channels % 2 == 0:
            out, per_group, attributes = 2 * (out // 2), self.channels // 2, {"group": 2}
        elif kind == "dilated":
            attributes = {"dilations": [2, 2], "pads": [2, 2, 2, 2]}
        elif kind == "strided":
            attributes = {"strides": [2, 2]}
            self.height, self.width = -(-self.height // 2), -(-self.width // 2)
        self.at = self.net.conv(self.at, out, per_group, kernel, **attributes)
        self.channels = out
        if kind == "normed":
            vectors = [self.net.weight(out) for _ in range(4)]
            self.at = self.net.op("BatchNormalization", self.at, *vectors)
        if kind == "clipped":
            self.at = self.net.op("Clip", self.at, self.net.constant(0.0), self.net.constant(6.0))
        if kind == "hard_swish":
            self.at = self.net.op("HardSwish", self.at)

    def _pool(self) -> None:
        if min(self.height, self.width) > 1:
            self.at = self.net.op("MaxPool", self.at, kernel_shape=[2, 2], strides=[2, 2])
            self.height, self.width = self.height // 2, self.width // 2

    def _residual(self) -> None:
        self.at = self.net.op("Add", self.net.conv(self.at, self.channels, self.channels, 3), self.at)

    def _concat(self) -> None:
        self.at = self.net.op("Concat", self.at, self.net.conv(self.at, 5, self.channels, 1), axis=1)
        self.channels += 5

    def _gate(self) -> None:
        gate = self.net.op("Sigmoid", self.net.conv(self.at, self.channels, self.channels, 1))
        self.at = self.net.op("Mul", self.at, gate)

    def _excite(self) -> None:
        pooled = self.net.op("GlobalAveragePool", self.at)
        scale = self.net.op("Sigmoid", self.net.conv(pooled, self.channels, self.channels, 1))
        self.at = self.net.op("Mul", self.at, scale)

    def head(self, kind: str) -> str:
        net, classes = self.net, 7
        if kind == "flat":
            return net.op("Gemm", net.op("Flatten", self.at), net.weight(self._size, classes))
        if kind == "matmul":
            flat = net.op("Reshape", self.at, net.constant([1, -1], int))
            return net.op("Add", net.op("MatMul", flat, net.weight(self._size, classes)), net.weight(classes))
        if kind == "conv":
            return net.op("Flatten", net.conv(net.op("GlobalMaxPool", self.at), classes, self.channels, 1))
        if kind == "turned":
            # Channels last on a single pixel: another view of the same numbers.
            pooled = net.op("Transpose", net.op("GlobalAveragePool", self.at), perm=[0, 2, 3, 1])
            return net.op("Gemm", net.op("Flatten", pooled), net.weight(self.channels, classes))
        if kind == "mean":
            pooled = net.op("ReduceMean", self.at, axes=[2, 3], keepdims=0)
            return net.op("Gemm", pooled, net.weight(classes, self.channels), transB=1)
        return net.head(self.at, self.channels, classes)

    @property
    def _size(self) -> int:
        return self.channels * self.height * self.width


@st.composite
def graphs(draw: st.DrawFn) -> Net:
    trunk = Trunk(draw(st.sampled_from([4, 6, 9])), draw(st.sampled_from([4, 8, 7])), draw(st.sampled_from([1, 3])))
    outputs = []
    for stage in range(draw(st.integers(2, 3))):
        # Without a layer of its own a stage could have no backbone at all.
        trunk.add("plain", draw(st.sampled_from([4, 10])))
        for _ in range(draw(st.integers(0, 3))):
            trunk.add(draw(st.sampled_from(KINDS)), draw(st.sampled_from([4, 6, 20])))
        outputs.append(trunk.head(draw(st.sampled_from(HEADS))))
        del stage
    return trunk.net.exit(*outputs)


def workload_of(net: Net, *, stripped: bool = False) -> Workload:
    model = net.model()
    if stripped:
        for weight in model.graph.initializer:
            if len(weight.dims) > 1:
                weight.ClearField("raw_data")
    with TemporaryDirectory() as folder:
        return workload_from_onnx(save(model, Path(folder)))


def check(report: CostReport, workload: Workload, bounds: tuple[RooflineBound, ...]) -> None:
    """What holds in both mappings."""
    whole = 0.0
    for number, (stage, bound) in enumerate(zip(report.stages, bounds, strict=True)):
        figures = (stage.stage_latency_cycles, stage.stage_energy_pj, stage.energy_to_exit_pj)
        assert all(math.isfinite(figure) and figure > 0 for figure in figures)
        parts = stage.backbone_latency_cycles + stage.gap_cycles + stage.branch_latency_cycles
        assert parts == pytest.approx(stage.stage_latency_cycles)
        own = sum(layer.energy_pj for layer in report.layers if layer.stage == number)
        assert stage.stage_energy_pj == pytest.approx(own)
        whole += stage.stage_energy_pj
        assert stage.energy_to_exit_pj == pytest.approx(whole + stage.speculation_energy_pj)
        latencies = [other.stage_latency_cycles for other in report.stages[: number + 1]]
        assert stage.latency_to_exit_cycles == pytest.approx(sum(latencies))
        assert stage.macs_to_exit == bound.macs == workload.macs_to_exit()[number]
        assert stage.energy_to_exit_pj >= bound.energy_pj
        assert stage.latency_to_exit_cycles >= bound.compute_cycles
    for layer in report.layers:
        assert 0 <= layer.utilization <= 1 + 1e-9
        assert sum(x.energy_pj for x in layer.memory_energy) <= layer.compute_energy_pj * (1 + 1e-9)
        assert layer.end_cycle >= layer.start_cycle >= 0
    assert max(span.end_cycle for span in report.busy) >= bounds[-1].latency_cycles


def price(workload: Workload, accelerator: Accelerator, rates: tuple[float, ...] | None) -> CostReport:
    bounds = roofline(workload, accelerator)
    plain, mapped = models(rates)
    simple = plain.estimate(workload, accelerator)
    check(simple, workload, bounds)
    assert isinstance(mapped, OptimizedModel)
    mapping = mapped.map(workload, accelerator)
    check(mapping.report, workload, bounds)
    assert faults(mapping.schedule, workload, accelerator) == []
    for stage, bound in zip(mapping.report.stages, bounds, strict=True):
        assert stage.latency_to_exit_cycles >= bound.latency_cycles
    if rates is not None:
        assert expected_cost(mapping.report, rates).energy_delay_product_j_cycles == pytest.approx(mapping.product)
    static = mapped.estimate(workload.static(), accelerator)
    assert len(static.stages) == 1
    return mapping.report


@QUIET
@given(net=graphs(), stripped=st.booleans(), informed=st.booleans())
def test_graphs_that_were_not_seen_before(net: Net, stripped: bool, informed: bool) -> None:
    workload = workload_of(net, stripped=stripped)
    count = workload.num_stages
    rates = tuple([0.5**i for i in range(1, count)] + [0.5 ** (count - 1)]) if informed else None
    price(workload, load_accelerator("edge-tpu-quad"), rates)


@QUIET
@given(net=graphs())
def test_stripped_weights_change_nothing(net: Net) -> None:
    assert workload_of(net, stripped=True) == workload_of(net)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accelerator", ["edge-tpu-quad", "mcu"])
def test_every_kind_of_block_on_two_accelerators(kind: str, accelerator: str) -> None:
    trunk = Trunk(6, 6, 3)
    trunk.add("plain", 8)
    first = trunk.head("global")
    trunk.add(kind, 6)
    workload = workload_of(trunk.net.exit(first, trunk.head("matmul")))
    report = price(workload, load_accelerator(accelerator), (0.5, 0.5))
    assert {layer.op for layer in report.layers} >= {Op.CONV.value, Op.DENSE.value}


@pytest.mark.parametrize("head", HEADS)
def test_every_head(head: str) -> None:
    trunk = Trunk(5, 4, 3)
    trunk.add("plain", 8)
    first = trunk.head(head)
    trunk.add("strided", 6)
    price(workload_of(trunk.net.exit(first, trunk.head(head))), load_accelerator("edge-tpu-quad"), None)
