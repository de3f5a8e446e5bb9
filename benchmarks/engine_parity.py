"""Compare the native engine with zigzag-dse mapping by mapping on random layers, cores and spatial mappings.

    python -m benchmarks.engine_parity --cases 2000 --seed 1

Ends with exit code 1 if any figure of any mapping differs by more than 1e-9 of its value, or any list of loop orders or
of proposed spatial mappings differs.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import zigzag_oracle
from benchmarks.record import save_result
from offramp.cost.engines.native.intra_core import MappingCosts, evaluate_orderings
from offramp.cost.engines.native.loop_mapping import Orderings, all_orderings, plan_spatial, temporal_loops
from offramp.cost.engines.native.loop_nest import LoopNest, loop_nest
from offramp.cost.engines.native.memory_levels import view_core
from offramp.cost.engines.native.spatial_unrolling import SpatialSearch, spatial_mappings
from offramp.hardware.accelerator import Core, CoreKind, SpatialLoop
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op, conv_output_size

TOLERANCE = 1e-9
MOST_ORDERS = 24
"""Loop orders compared per case; a random sample where there are more."""

ZIGZAG_CORES = (
    "aimc",
    "ascend_like",
    "dimc",
    "edge_tpu_like",
    "eyeriss_like",
    "gemm_l1",
    "gemm_l1_l3",
    "meta_prototype",
    "tesla_npu_like",
    "tpu_like",
)


@dataclass(frozen=True)
class Case:
    """One comparison: all loop orders of a layer on a core under a spatial mapping."""

    shape: LayerShape
    core: Core
    mapping: tuple[SpatialLoop, ...]
    lpf_limit: int


@dataclass(frozen=True)
class Comparison:
    """How far the two engines are apart; ``fault`` says what differs, empty where nothing does."""

    mappings: int
    largest_difference: float
    fault: str = ""
    skipped: str = ""


def cores() -> list[Core]:
    """Cores shipped with ZigZag and those of our own accelerator."""
    import zigzag

    folder = Path(zigzag.__file__).parent / "inputs" / "hardware"
    shipped = [load_accelerator(folder / f"{name}.yaml").cores[0] for name in ZIGZAG_CORES]
    own = load_accelerator("edge-tpu-quad")
    return shipped + [own.cores_of(kind)[0] for kind in (CoreKind.COMPUTE, CoreKind.POOLING, CoreKind.SIMD)]


def random_shape(rng: np.random.Generator) -> LayerShape:
    """A layer of any kind, often with sizes that nothing divides."""
    weight_bits, activation_bits = int(rng.choice([2, 4, 8])), int(rng.choice([4, 8]))
    kind = rng.choice(["conv", "pointwise", "depthwise", "grouped", "dense", "pool", "add"])
    channels = _channel_numbers(rng)
    if kind == "dense":
        batch = int(rng.choice([1, 1, 1, 2, 5]))
        sizes = {"b": batch, "k": channels(), "c": channels() * int(rng.integers(1, 5))}
        return LayerShape(Op.DENSE, weight_bits=weight_bits, activation_bits=activation_bits, **sizes)
    if kind == "add":
        oy, ox, g = int(rng.integers(1, 33)), int(rng.integers(1, 33)), channels()
        return LayerShape(
            Op.ADD, g=g, oy=oy, ox=ox, iy=oy, ix=ox, weight_bits=weight_bits, activation_bits=activation_bits
        )
    fy, fx = (int(rng.choice([1, 2, 3, 3, 5, 7])) for _ in range(2))
    if kind == "pointwise":
        fy = fx = 1
    stride_y, stride_x = (int(rng.choice([1, 1, 2, 3])) for _ in range(2))
    dilation_y, dilation_x = (int(rng.choice([1, 1, 1, 2])) for _ in range(2))
    top, left, bottom, right = (int(rng.integers(0, 2)) for _ in range(4))
    iy = int(rng.integers(dilation_y * (fy - 1) + 1, dilation_y * (fy - 1) + 34))
    ix = int(rng.integers(dilation_x * (fx - 1) + 1, dilation_x * (fx - 1) + 34))
    groups = {"depthwise": channels(), "pool": channels(), "grouped": int(rng.choice([2, 3, 4, 8]))}.get(str(kind), 1)
    single = kind in ("depthwise", "pool")
    return LayerShape(
        Op.MAX_POOL if kind == "pool" else Op.CONV,
        g=groups,
        k=1 if single else channels(),
        c=1 if single else channels(),
        oy=conv_output_size(iy, fy, stride_y, top + bottom, dilation_y),
        ox=conv_output_size(ix, fx, stride_x, left + right, dilation_x),
        fy=fy,
        fx=fx,
        iy=iy,
        ix=ix,
        stride_y=stride_y,
        stride_x=stride_x,
        dilation_y=dilation_y,
        dilation_x=dilation_x,
        padding=(top, left, bottom, right),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
    )


def _channel_numbers(rng: np.random.Generator) -> Callable[[], int]:
    def draw() -> int:
        if rng.random() < 0.5:
            return int(rng.choice([8, 16, 24, 32, 48, 64, 96, 128]))
        return int(rng.integers(1, 100))

    return draw


def random_mapping(rng: np.random.Generator, nest: LoopNest, core: Core) -> tuple[SpatialLoop, ...]:
    """One or two loops of any factor on each array dimension."""
    left = dict(zip(nest.dims, nest.sizes, strict=True))
    loops: list[SpatialLoop] = []
    for item in core.array:
        room = item.size
        dims = [dim for dim in nest.dims if left[dim] > 1]
        for dim in rng.permutation(dims)[: int(rng.choice([0, 1, 1, 1, 2]))]:
            most = min(room, left[str(dim)])
            if most < 1:
                break
            factor = most if rng.random() < 0.4 else int(rng.integers(1, most + 1))
            loops.append(SpatialLoop(item.name, str(dim), factor))
            room //= factor
            left[str(dim)] //= factor
    return tuple(loops)


def random_case(rng: np.random.Generator, available: list[Core]) -> Case:
    """A layer, a core that may run it and a spatial mapping: the generator's or a random one."""
    shape = random_shape(rng)
    core = available[int(rng.integers(len(available)))]
    nest = loop_nest(shape)
    if rng.random() < 0.5:
        found = spatial_mappings(nest, view_core(core), SpatialSearch())
        if found:
            return Case(shape, core, found[int(rng.integers(len(found)))], int(rng.choice([3, 4])))
    return Case(shape, core, random_mapping(rng, nest, core), int(rng.choice([3, 4])))


def orders_of(case: Case) -> Orderings:
    """All loop orders of a case, as the native engine enumerates them."""
    nest, view = loop_nest(case.shape), view_core(case.core)
    return all_orderings(temporal_loops(nest, plan_spatial(nest, view, case.mapping), case.lpf_limit))


def native_costs(case: Case, orders: Orderings) -> MappingCosts:
    """The native engine's costs, loads overlapping the computation as in zigzag-dse 3.9.1."""
    nest, view = loop_nest(case.shape), view_core(case.core)
    return evaluate_orderings(nest, view, plan_spatial(nest, view, case.mapping), orders, fill_early=True)


def compare(case: Case, rng: np.random.Generator, most_orders: int = MOST_ORDERS) -> Comparison:
    """Both engines on one case, figure by figure, for all loop orders or a sample of them."""
    orders = orders_of(case)
    tried = zigzag_oracle.loop_orders(case.shape, case.core, case.mapping, case.lpf_limit)
    if [orders.describe(column) for column in range(orders.count)] != tried:
        return Comparison(0, 0.0, f"loop orders differ ({orders.count} here, {len(tried)} there)")
    if orders.count > most_orders:
        chosen = np.sort(rng.choice(orders.count, most_orders, replace=False))
        orders = Orderings(orders.loops, orders.index[:, chosen])
    ours = native_costs(case, orders)
    shown = [orders.describe(column) for column in range(orders.count)]
    try:
        theirs = zigzag_oracle.order_costs(case.shape, case.core, case.mapping, shown)
    except zigzag_oracle.OracleError as exc:
        return Comparison(0, 0.0, skipped=str(exc))
    if ours.count != len(theirs.stall):
        return Comparison(0, 0.0, f"{ours.count} orders fit here, {len(theirs.stall)} there")
    return _difference(ours, theirs)


def _difference(ours: MappingCosts, theirs: zigzag_oracle.OrderCosts) -> Comparison:
    if not ours.count:
        return Comparison(0, 0.0)
    latency = theirs.temporal + theirs.stall + theirs.onload + theirs.offload
    pairs: dict[str, tuple[npt.ArrayLike, npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {
        "temporal cycles": (ours.temporal_cycles, theirs.temporal, theirs.temporal),
        # ZigZag gives these three as differences of totals, so they carry the rounding of the totals.
        "stall cycles": (ours.stall_cycles, theirs.stall, theirs.temporal),
        "onload cycles": (ours.onload_cycles, theirs.onload, theirs.temporal),
        "offload cycles": (ours.offload_cycles, theirs.offload, theirs.temporal),
        "MAC energy": (ours.mac_energy_pj, theirs.mac_energy_pj, theirs.mac_energy_pj),
        "memory energy": (
            np.concatenate(ours.memory_energy_pj),
            theirs.memory_energy_pj,
            np.zeros_like(theirs.memory_energy_pj),
        ),
        "latency": (ours.latency_cycles, latency, latency),
    }
    largest, fault = 0.0, ""
    for name, (own, other, least) in pairs.items():
        scale = np.maximum(np.maximum(np.abs(other), least), 1e-12)
        difference = float((np.abs(own - other) / scale).max())
        largest = max(largest, difference)
        if difference > TOLERANCE and not fault:
            fault = f"{name} differ by {difference:.3g}"
    return Comparison(ours.count, largest, fault)


def candidates_agree(case: Case) -> bool:
    """Whether both engines propose the same spatial mappings in the same order (ZigZag may repeat one)."""
    nest, view = loop_nest(case.shape), view_core(case.core)
    own = [_canonical(mapping) for mapping in spatial_mappings(nest, view, SpatialSearch())]
    theirs = [_canonical(found) for found in zigzag_oracle.spatial_candidates(case.shape, case.core, 3)]
    return own == list(dict.fromkeys(theirs))


def _canonical(mapping: tuple[SpatialLoop, ...]) -> tuple[SpatialLoop, ...]:
    return tuple(sorted(mapping, key=lambda loop: (loop.array_dimension, loop.loop)))


@dataclass
class Tally:
    """What a run has compared so far."""

    seed: int
    cases: int = 0
    mappings: int = 0
    mismatches: int = 0
    candidate_lists: int = 0
    largest_relative_difference: float = 0.0
    cases_per_core: Counter[str] = field(default_factory=Counter)
    not_answered_by_zigzag: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case, result: Comparison) -> None:
        if result.skipped:
            self.not_answered_by_zigzag[result.skipped] += 1
            return
        self.cases += 1
        self.mappings += result.mappings
        self.mismatches += bool(result.fault)
        self.largest_relative_difference = max(self.largest_relative_difference, result.largest_difference)
        self.cases_per_core[case.core.name] += 1


def run(seed: int, count: int, show: Callable[[str], None]) -> Tally:
    """Draw cases until ``count`` have been compared; every tenth time the proposed spatial mappings too."""
    rng = np.random.default_rng(seed)
    available = cores()
    tally = Tally(seed)
    while tally.cases < count:
        case = random_case(rng, available)
        result = compare(case, rng)
        tally.add(case, result)
        if result.fault:
            show(f"{result.fault}: {case}")
        if rng.random() < 0.1:
            tally.candidate_lists += 1
            if not candidates_agree(case):
                tally.mismatches += 1
                show(f"proposed spatial mappings differ: {case}")
        if tally.cases % 200 == 0 and not result.skipped:
            show(f"{tally.cases} cases, {tally.mappings} mappings, {tally.mismatches} mismatches")
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results/engine_parity.json")
    arguments = parser.parse_args()
    start = time.perf_counter()
    tally = run(arguments.seed, arguments.cases, lambda text: print(text, flush=True))
    figures = {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(tally).items()}
    figures["seconds"] = round(time.perf_counter() - start, 1)
    for name, value in figures.items():
        print(f"{name}: {value}")
    if arguments.save:
        save_result("engine_parity", figures)
    return 1 if tally.mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
