"""Does leaving early save as much time as it saves work? Measured on this machine, with onnxruntime, batch 1.

Networks of growing size for 32x32 images with three exits, untrained: latency depends on shapes alone. Thresholds are
set on random inputs so that about half of them leave at exit 0 and half of the rest at exit 1; rates, latencies and
multiply-accumulates are then measured on other random inputs. The goal: latency relative to the static model (same
backbone, final classifier alone) within 15 % of the ratio of expected multiply-accumulates, in floating point and int8.

    python -m benchmarks.exit_latency [--rounds 300]
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.record import save_result
from offramp.deploy.bench.latency_bench import PLAIN, BenchResult, bench
from offramp.deploy.bench.paired_timing import BenchSettings
from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.deploy.bundle.verification import network_logits
from offramp.exits.confidence_measures import confidence
from offramp.exits.exit_policy import ExitPolicy
from offramp.jsonio import to_data
from offramp.nn.backbone import BACKBONES
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Architecture, ExitChoice, Precision
from offramp.space.early_exit_space import EarlyExitSpace

IMAGE = (3, 32, 32)
NUM_CLASSES = 10
GOAL = 0.15
RATES = (0.5, 0.5)
BRANCH = "global_pool"
ONE_BLOCK = "one block a stage"
# Backbone, member (the smallest, the largest, or the largest with one block a stage) and a factor for all widths: the
# families end where small chips do, and what is constant per inference shows against larger networks.
NETWORKS = (
    ("resnet", "smallest", 1),
    ("resnet", "largest", 1),
    ("resnet-large", ONE_BLOCK, 1),
    ("resnet-large", "largest", 1),
    ("resnet-large", ONE_BLOCK, 2),
    ("resnet-large", ONE_BLOCK, 3),
    ("resnet-large", ONE_BLOCK, 4),
    ("resnet-large", "largest", 4),
    ("mobilenetv2", "smallest", 1),
    ("mobilenetv2", "largest", 1),
    ("mobilenetv2", "largest", 4),
)


@dataclass(frozen=True)
class Figure:
    """One network in one number format and one form of the bundle.

    ``overhead_ms``: expected latency beyond the static model's times the ratio of expected multiply-accumulates.
    ``over_plain_layers``: expected latency relative to that of the same layers in plain graphs, less 1: what deciding
    and branching cost. What is left of the deviation is layers that take more time per multiply-accumulate than others.
    """

    network: str
    number_format: str
    form: str
    static_macs: int
    static_ms: float
    relative_macs: float
    relative_latency: float
    relative_latency_low: float
    relative_latency_high: float
    deviation: float
    overhead_ms: float
    over_plain_layers: float
    reached: bool


def build_network(backbone: str, member: str, widening: int) -> EarlyExitNetwork:
    """Two early exits, where a third and two thirds of the backbone's taps lie behind."""
    family = BACKBONES.get(backbone).space(IMAGE)
    stages = tuple(replace(stage, widths=tuple(widening * width for width in stage.widths)) for stage in family.stages)
    space = EarlyExitSpace(replace(family, stages=stages), (BRANCH,), max_exits=3)
    architecture = space.min_architecture() if member == "smallest" else space.max_architecture()
    if member == ONE_BLOCK:
        stages = tuple(
            replace(stage, depth=1, kernel_sizes=stage.kernel_sizes[:1], expansions=stage.expansions[:1])
            for stage in architecture.stages
        )
        architecture = replace(architecture, stages=stages)
    architecture = with_two_exits(architecture, space.active_taps(architecture))
    torch.manual_seed(0)
    return Supernet(space.backbone, (BRANCH,), IMAGE, NUM_CLASSES, seed=0).extract(architecture).eval()


def with_two_exits(architecture: Architecture, taps: tuple[int, ...]) -> Architecture:
    places = sorted({taps[len(taps) // 3], taps[2 * len(taps) // 3]})
    if len(places) < 2:
        raise ValueError(f"there must be two places for exits, got taps {taps}.")
    return replace(architecture, exits=tuple(ExitChoice(tap, BRANCH) for tap in places))


def quantised(network: EarlyExitNetwork, inputs: NDArray[np.float32]) -> EarlyExitNetwork:
    eight = Precision(8, 8)
    network.architecture = replace(network.architecture, precision=eight, branch_precision=eight)
    prepare_(network, [torch.from_numpy(inputs[:64])])
    return network.eval()


def policy_for(network: EarlyExitNetwork, inputs: NDArray[np.float32]) -> ExitPolicy:
    """Thresholds at which the wanted share of those who arrive leaves."""
    logits = network_logits(network, inputs)
    staying = np.ones(len(inputs), dtype=bool)
    thresholds = []
    for exit_logits, share in zip(logits, RATES, strict=False):
        sure = confidence(exit_logits, "max_probability")
        thresholds.append(float(np.quantile(sure[staying], 1.0 - share)))
        staying &= sure < thresholds[-1]
    return ExitPolicy("max_probability", tuple(thresholds))


def random_inputs(count: int, seed: int) -> NDArray[np.float32]:
    """Noise of differing strength, so that confidences differ."""
    rng = np.random.default_rng(seed)
    strength = rng.uniform(0.3, 3.0, size=(count, 1, 1, 1))
    return (rng.standard_normal((count, *IMAGE)) * strength).astype(np.float32)


def measure(backbone: str, member: str, widening: int, *, int8: bool, rounds: int) -> BenchResult:
    network = build_network(backbone, member, widening)
    if int8:
        network = quantised(network, random_inputs(64, 2))
    policy = policy_for(network, random_inputs(1000, 0))
    with tempfile.TemporaryDirectory() as folder:
        record = export_bundle(
            network,
            Path(folder) / "bundle",
            policy=policy,
            class_names=[str(index) for index in range(NUM_CLASSES)],
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            checks=random_inputs(1000, 0),
            name=f"{backbone}, {member}" + (f", {widening} times as wide" if widening > 1 else ""),
            seed=0,
        )
        images = random_inputs(1000, 1)
        return bench(record.path, images=images, source="random inputs", settings=BenchSettings(rounds=rounds))


def figures_of(result: BenchResult, number_format: str) -> list[Figure]:
    figures = []
    plain = next(form for form in result.forms if form.form == PLAIN)
    for form in result.forms:
        ratio = form.relative_latency
        deviation = ratio.value / result.relative_macs - 1.0
        figures.append(
            Figure(
                network=result.name,
                number_format=number_format,
                form=form.form,
                static_macs=result.static_macs,
                static_ms=result.static_ms.value,
                relative_macs=result.relative_macs,
                relative_latency=ratio.value,
                relative_latency_low=ratio.low,
                relative_latency_high=ratio.high,
                deviation=deviation,
                overhead_ms=form.expected_ms.value - result.relative_macs * result.static_ms.value,
                over_plain_layers=form.expected_ms.value / plain.expected_ms.value - 1.0,
                reached=abs(deviation) <= GOAL,
            )
        )
    return figures


def smallest_reached(figures: list[Figure]) -> dict[str, str]:
    """For each number format and form: the smallest network from which on every one of at least its size is within."""
    found = {}
    for key in dict.fromkeys((figure.number_format, figure.form) for figure in figures):
        group = sorted(
            (f for f in figures if (f.number_format, f.form) == key), key=lambda f: f.static_macs, reverse=True
        )
        within = [f for f in group if f.reached]
        all_above = group[: next((i for i, f in enumerate(group) if not f.reached), len(group))]
        smallest = f"{within[-1].network} ({within[-1].static_macs / 1e6:.1f} M MACs)" if within else "none"
        above = f"{all_above[-1].static_macs / 1e6:.1f} M MACs" if all_above else "none"
        found[", ".join(key)] = f"smallest within: {smallest}; all within from: {above}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(
        "network", "format", "form", "M MACs", "static ms", "MACs", "latency", "deviation", "overhead ms", "over layers"
    )
    results: list[BenchResult] = []
    figures: list[Figure] = []
    for backbone, member, widening in NETWORKS:
        for int8 in (False, True):
            results.append(measure(backbone, member, widening, int8=int8, rounds=options.rounds))
            for f in figures_of(results[-1], "int8" if int8 else "fp32"):
                figures.append(f)
                latency = f"{f.relative_latency:.3f} [{f.relative_latency_low:.3f}, {f.relative_latency_high:.3f}]"
                shown = (f"{f.static_macs / 1e6:.1f}", f"{f.static_ms:.3f}", f"{f.relative_macs:.3f}", latency)
                table.add_row(
                    f.network,
                    f.number_format,
                    f.form,
                    *shown,
                    f"{f.deviation:+.1%}",
                    f"{f.overhead_ms:+.4f}",
                    f"{f.over_plain_layers:+.1%}",
                )
            print(f"{results[-1].name}, {'int8' if int8 else 'fp32'}: done", flush=True)
    Console(width=160).print(table)
    smallest = smallest_reached(figures)
    for key, text in smallest.items():
        print(f"{key}: {text}")
    save_result(
        "exit_latency",
        {
            "goal": GOAL,
            "within_goal": f"{sum(f.reached for f in figures)} of {len(figures)}",
            "over_plain_layers_within_goal": sum(
                abs(f.over_plain_layers) <= GOAL for f in figures if f.form == "one file"
            ),
            "smallest_within_goal": smallest,
            "figures": [vars(f) for f in figures],
            "benches": [to_data(result) for result in results],
        },
    )


if __name__ == "__main__":
    main()
