"""What each step of the mapping gains on the reference networks, beside what no mapping can beat.

    python -m benchmarks.mapping [FOLDER]

Average energy-delay product (J x cycles, mean of the products over the exit rates of stats.json) under the honest
convention: one DRAM for all cores. FOLDER holds the networks (default: ../shared/reference/eenn beside the repository).
Prints a table and writes benchmarks/results/mapping.json; fails if nas/iter_0/net_3 needs more than 30 J x cycles.
"""

import json
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.record import save_result
from benchmarks.roofline import RooflineBound, roofline
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.expected import expected_cost
from offramp.cost.mapping.optimized.mapping_steps import ALL_STEPS, MappingStep
from offramp.cost.mapping.optimized.optimized_model import OptimizedMapping, OptimizedModel
from offramp.cost.price_cache import cached_engines
from offramp.cost.pricing import build_cost_model
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.loader import load_accelerator
from offramp.settings.cost_config import CostConfig
from offramp.workload.from_onnx.conversion import network_from_onnx
from offramp.workload.graph import Workload

DEFAULT_FOLDER = Path(__file__).parents[2] / "shared" / "reference" / "eenn"
NETWORKS = (
    *(f"nas/iter_0/{name}" for name in ("net_1", "net_3", "net_8")),
    *(f"focus/{name}" for name in ("0_2_6", "0_4_8", "1_2_4", "3_5_8")),
)
ALLOWED = {"nas/iter_0/net_3": 30.0}


@dataclass(frozen=True)
class StepResult:
    """One column of the table.

    Attributes:
        steps: The last step that is switched on.
        product_j_cycles: Weighted product of energy and latency.
        latency_to_exit_cycles: Latency to each exit.
        energy_to_exit_uj: Energy to each exit.
        speculation: Mode of speculation of each exit but the last.
        seconds_once_priced: Processor time of mapping once all layers are priced.
    """

    steps: str
    product_j_cycles: float
    latency_to_exit_cycles: tuple[float, ...]
    energy_to_exit_uj: tuple[float, ...]
    speculation: tuple[str, ...]
    seconds_once_priced: float


@dataclass(frozen=True)
class NetworkResult:
    """All figures of one network.

    Attributes:
        network: Its folder.
        exit_rates: Share of the samples that leave at each exit.
        published_j_cycles: Product of the layer-by-layer schedule with the published convention.
        reference_schedule_j_cycles: Product of the layer-by-layer schedule.
        steps: Results with more and more steps.
        plan_bound_j_cycles: No schedule of the tasks considered is better.
        roofline_j_cycles: No mapping at all is better.
        roofline_latency_cycles: Latency to each exit at the roofline.
        roofline_energy_uj: Energy to each exit at the roofline.
        times_roofline: The product with all steps over that of the roofline.
        mixed_dataflows_j_cycles: Product with spatial mappings that put several loops on one array dimension.
        mixed_times_roofline: The same over the product of the roofline.
        energy_shares_uj: Energy of a sample that leaves last, by purpose.
        dram_link_busy_share: Share of the time in which the DRAM link is busy.
    """

    network: str
    exit_rates: tuple[float, ...]
    published_j_cycles: float
    reference_schedule_j_cycles: float
    steps: tuple[StepResult, ...]
    plan_bound_j_cycles: float
    roofline_j_cycles: float
    roofline_latency_cycles: tuple[float, ...]
    roofline_energy_uj: tuple[float, ...]
    times_roofline: float
    mixed_dataflows_j_cycles: float
    mixed_times_roofline: float
    energy_shares_uj: dict[str, float]
    dram_link_busy_share: float


_MIXED = cached_engines(
    [
        NativeEngine(goal=goal, mixed_spatial_mappings=True, num_spatial_mappings=12)
        for goal in ("energy_delay_product", "energy")
    ],
    None,
)


def with_mixed_dataflows(rates: tuple[float, ...]) -> OptimizedModel:
    """Build a model with all steps and a wider choice of spatial mappings, which takes longer to price.

    Args:
        rates: Weights of the exits.

    Returns:
        The model.
    """
    return OptimizedModel(_MIXED[0], ALL_STEPS, _MIXED[1:], rates)


def cumulative_steps() -> tuple[frozenset[MappingStep], ...]:
    """No step, then one step more each time, in the order in which they are listed.

    Returns:
        One set of steps per column of the table.
    """
    return tuple(frozenset(list(MappingStep)[:count]) for count in range(len(MappingStep) + 1))


def weighted_roofline(bounds: tuple[RooflineBound, ...], rates: tuple[float, ...]) -> float:
    """Mean product of energy and latency at the roofline.

    Args:
        bounds: One bound per exit.
        rates: Weights of the exits.

    Returns:
        J x cycles.
    """
    return sum(r * x.latency_cycles * x.energy_pj * 1e-12 for r, x in zip(rates, bounds, strict=True))


def energy_shares(mapping: OptimizedMapping) -> dict[str, float]:
    """Divide the energy of a sample that leaves last.

    Args:
        mapping: The mapping.

    Returns:
        uJ by purpose, the largest first.
    """
    shares: dict[str, float] = defaultdict(float)
    for piece in mapping.schedule.executions:
        shares["MACs"] += piece.mac_energy_pj / 1e6
        for part in piece.memory_energy:
            shares[f"{part.memory} {part.operand}"] += part.energy_pj / 1e6
    for move in mapping.schedule.transfers:
        shares[f"moving {move.kind.value}"] += move.energy_pj / 1e6
    return {name: round(value, 3) for name, value in sorted(shares.items(), key=lambda item: -item[1])}


def link_busy_share(mapping: OptimizedMapping, offchip: str) -> float:
    """Work out how long the link to the off-chip memory is busy.

    Args:
        mapping: The mapping.
        offchip: Name of the off-chip memory.

    Returns:
        Share of the time until the last verdict.
    """
    busy = sum(
        move.end_cycle - move.start_cycle
        for move in mapping.schedule.transfers
        if offchip in (move.sender, move.receiver) and not move.broadcast
    )
    return busy / mapping.schedule.verdict_cycles[-1]


def step_result(
    model: OptimizedModel, steps: frozenset[MappingStep], workload: Workload, accelerator: Accelerator
) -> StepResult:
    """Map a network with some steps.

    Args:
        model: The model with these steps.
        steps: The steps.
        workload: The network.
        accelerator: What it runs on.

    Returns:
        One column of the table.
    """
    model.estimate(workload, accelerator)
    start = time.process_time()
    mapping = model.map(workload, accelerator)
    seconds = time.process_time() - start
    names = [step.value for step in MappingStep if step in steps]
    return StepResult(
        steps=f"+ {names[-1]}" if names else "baseline",
        product_j_cycles=round(mapping.product, 4),
        latency_to_exit_cycles=tuple(x.latency_to_exit_cycles for x in mapping.report.stages),
        energy_to_exit_uj=tuple(round(x.energy_to_exit_pj / 1e6, 3) for x in mapping.report.stages),
        speculation=tuple(mode.value for mode in mapping.speculation[:-1]),
        seconds_once_priced=round(seconds, 3),
    )


def measure(folder: Path, name: str, accelerator: Accelerator) -> NetworkResult:
    """Map a network with more and more steps.

    Args:
        folder: Where the networks are.
        name: Folder of the network in it.
        accelerator: What it runs on.

    Returns:
        One row of the table.
    """
    workload = network_from_onnx(folder / name / "model.onnx").workload
    stats = json.loads((folder / name / "stats.json").read_text(encoding="utf-8"))
    rates = tuple(float(rate) for rate in stats["exits_ratios"])
    products = {}
    for convention in ("published", "offramp"):
        settings = CostConfig.model_validate({"convention": convention, "mapping": "layer_by_layer"})
        report = build_cost_model(settings).estimate(workload, accelerator)
        products[convention] = expected_cost(report, rates).energy_delay_product_j_cycles
    full = build_cost_model(CostConfig(), exit_rates=rates)
    assert isinstance(full, OptimizedModel)
    columns = []
    for steps in cumulative_steps():
        model = OptimizedModel(full.engine, steps, full.alternatives, rates)
        columns.append(step_result(model, steps, workload, accelerator))
    best = OptimizedModel(full.engine, ALL_STEPS, full.alternatives, rates).map(workload, accelerator, bound=True)
    mixed = with_mixed_dataflows(rates).map(workload, accelerator).product
    bounds = roofline(workload, accelerator)
    least = weighted_roofline(bounds, rates)
    return NetworkResult(
        network=name,
        exit_rates=rates,
        published_j_cycles=round(products["published"], 4),
        reference_schedule_j_cycles=round(products["offramp"], 4),
        steps=tuple(columns),
        plan_bound_j_cycles=round(best.bound or 0.0, 4),
        roofline_j_cycles=round(least, 4),
        roofline_latency_cycles=tuple(round(x.latency_cycles, 1) for x in bounds),
        roofline_energy_uj=tuple(round(x.energy_pj / 1e6, 3) for x in bounds),
        times_roofline=round(best.product / least, 3),
        mixed_dataflows_j_cycles=round(mixed, 4),
        mixed_times_roofline=round(mixed / least, 3),
        energy_shares_uj=energy_shares(best),
        dram_link_busy_share=round(link_busy_share(best, "offchip"), 3),
    )


def show(results: list[NetworkResult]) -> None:
    """Print the table.

    Args:
        results: One row per network.
    """
    heads = [
        "published",
        "ref. sched.",
        *(column.steps for column in results[0].steps),
        "plan bound",
        "roofline",
        "x roofline",
        "mixed",
        "x roofline",
    ]
    print(f"{'':18}" + "".join(f"{head:>12}" for head in heads))
    for item in results:
        figures = [item.published_j_cycles, item.reference_schedule_j_cycles]
        figures += [column.product_j_cycles for column in item.steps]
        figures += [item.plan_bound_j_cycles, item.roofline_j_cycles, item.times_roofline]
        figures += [item.mixed_dataflows_j_cycles, item.mixed_times_roofline]
        print(f"{item.network:18}" + "".join(f"{figure:12.2f}" for figure in figures))


def main() -> int:
    """Run the benchmark.

    Returns:
        1 where a network needs more than it may, else 0.

    Raises:
        SystemExit: The folder of networks does not exist.
    """
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    if not folder.is_dir():
        raise SystemExit(f"The reference networks must lie in {folder}, which does not exist. Name their folder.")
    accelerator = load_accelerator("edge-tpu-quad")
    results = [measure(folder, name, accelerator) for name in NETWORKS]
    show(results)
    path = save_result("mapping", [asdict(item) for item in results])
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    missed = [x.network for x in results if x.steps[-1].product_j_cycles > ALLOWED.get(x.network, float("inf"))]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
