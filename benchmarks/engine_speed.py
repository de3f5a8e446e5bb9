"""CPU time per mapping of the native engine and of zigzag-dse, both on the same layers in one run.

    python -m benchmarks.engine_speed

Prints a table and writes benchmarks/results/engine_speed.json. Fails if the engines disagree on a cost.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.record import save_result
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.engines.native.loop_mapping import all_orderings, plan_spatial, temporal_loops
from offramp.cost.engines.native.loop_nest import loop_nest
from offramp.cost.engines.native.memory_levels import view_core
from offramp.cost.engines.native.spatial_unrolling import SpatialSearch, spatial_mappings
from offramp.cost.engines.zigzag.engine import ZigzagEngine
from offramp.cost.report import LayerCost, LayerEngine
from offramp.hardware.accelerator import Core
from offramp.hardware.loader import load_accelerator
from offramp.testing.layer_shapes import square_convolution as conv
from offramp.workload.layer import LayerShape, Op

# Expansion, channels, blocks and stride of the first block, per stage. Source: Sandler et al., CVPR 2018, table 2; the
# stem and the second stage keep the resolution, as is usual for 32 x 32 images.
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@dataclass(frozen=True)
class Speed:
    """One comparison; times are CPU seconds of this process."""

    name: str
    layers: int
    mappings: int
    zigzag_seconds: float
    native_seconds: float
    zigzag_us_per_mapping: float
    native_us_per_mapping: float
    times_faster: float
    required: float


def mobilenet_v2(size: int = 32, classes: int = 10) -> list[LayerShape]:
    """All 64 layers: 52 convolutions, 10 additions, the pooling and the classifier."""
    layers = [conv(size, 3, 32, kernel=3)]
    channels = 32
    for expansion, outputs, blocks, first_stride in MOBILENET_V2:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            hidden = channels * expansion
            if expansion > 1:
                layers.append(conv(size, channels, hidden))
            layers.append(conv(size, hidden, hidden, kernel=3, stride=stride, groups=hidden))
            size = layers[-1].oy
            layers.append(conv(size, hidden, outputs))
            if stride == 1 and channels == outputs:
                layers.append(LayerShape(Op.ADD, g=outputs, oy=size, ox=size, iy=size, ix=size))
            channels = outputs
    layers.append(conv(size, channels, 1280))
    layers.append(LayerShape(Op.AVG_POOL, g=1280, fy=size, fx=size, iy=size, ix=size))
    layers.append(LayerShape(Op.DENSE, k=classes, c=1280))
    return layers


def count_mappings(shapes: Sequence[LayerShape], core: Core, candidates: int) -> int:
    """Loop orders tried in all, over all spatial mappings."""
    view, total = view_core(core), 0
    for shape in shapes:
        nest = loop_nest(shape)
        for mapping in spatial_mappings(nest, view, SpatialSearch(candidates)):
            total += all_orderings(temporal_loops(nest, plan_spatial(nest, view, mapping), 6)).count
    return total


@dataclass(frozen=True)
class _Timed:
    seconds: float
    costs: list[LayerCost]


def _timed(engine: LayerEngine, jobs: Sequence[tuple[LayerShape, Core]]) -> _Timed:
    start = time.process_time()
    costs = engine.price(jobs)
    return _Timed(time.process_time() - start, costs)


def measure(name: str, shapes: Sequence[LayerShape], core: Core, candidates: int, required: float) -> Speed:
    """Price all ``shapes`` with both engines, from nothing known."""
    jobs = [(shape, core) for shape in shapes]
    zigzag = ZigzagEngine(num_spatial_mappings=candidates, num_workers=1, loads_overlap_computation=True)
    native = NativeEngine(num_spatial_mappings=candidates, loads_overlap_computation=True, unrolling="zigzag")
    own, other = _timed(native, jobs), _timed(zigzag, jobs)
    for shape, ours, theirs in zip(shapes, own.costs, other.costs, strict=True):
        for figure in ("latency_cycles", "energy_pj"):
            a, b = getattr(ours, figure), getattr(theirs, figure)
            if abs(a - b) > 1e-9 * abs(b):
                raise SystemExit(f"The engines disagree on {figure} of {shape}: {a} and {b}.")
    mappings = count_mappings(shapes, core, candidates)
    return Speed(
        name=name,
        layers=len(shapes),
        mappings=mappings,
        zigzag_seconds=round(other.seconds, 3),
        native_seconds=round(own.seconds, 4),
        zigzag_us_per_mapping=round(other.seconds / mappings * 1e6, 1),
        native_us_per_mapping=round(own.seconds / mappings * 1e6, 2),
        times_faster=round(other.seconds / own.seconds, 1),
        required=required,
    )


def main() -> int:
    core = load_accelerator("edge-tpu-quad").cores[0]
    unique = list(dict.fromkeys(mobilenet_v2()))
    # Imports and first calls are not part of what is compared.
    warm = [conv(8, 8, 8)]
    measure("warm-up", warm, core, candidates=1, required=0)
    speeds = [
        measure("3x3 convolution, 64 to 64 channels, 32x32", [conv(32, 64, 64, kernel=3)], core, 1, required=100),
        measure("MobileNetV2 at 32x32, unique layers", unique, core, 1, required=80),
    ]
    print(f"{'':45} {'layers':>7} {'mappings':>9} {'zigzag':>12} {'native':>12} {'faster':>8}")
    for item in speeds:
        print(
            f"{item.name:45} {item.layers:7} {item.mappings:9} {item.zigzag_us_per_mapping:9.1f} us "
            f"{item.native_us_per_mapping:9.2f} us {item.times_faster:7.1f}x"
        )
    path = save_result("engine_speed", [asdict(item) for item in speeds])
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 0 if all(item.times_faster >= item.required for item in speeds) else 1


if __name__ == "__main__":
    sys.exit(main())
