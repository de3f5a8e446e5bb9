"""What a training step with quantisation-aware training costs, relative to the plain one.

Both networks take the same steps in turn, in one thread, so that a busy machine slows both; CPU seconds, the least and
the median over the steps (for a supernet, whose steps differ, the mean and the median). The goal is a ratio of at most
2.

    python -m benchmarks.qat_step [--steps 12] [--batch 64]
"""

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.record import save_result
from offramp.nn.backbone import BACKBONES
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Precision
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.precision_choices import FIXED, ZNIBER_PRECISIONS, PrecisionChoices
from offramp.train.compute import Compute
from offramp.train.loss import LossSettings
from offramp.train.supernet_training import plain_step, sandwich_step
from offramp.train.trainer import Step

IMAGE = (3, 32, 32)
NUM_CLASSES = 10
BACKBONES_MEASURED = ("resnet-large", "mobilenetv2", "resnet")
BITS = {"8/8": Precision(8, 8), "4/4": Precision(4, 4), "ternary/4": Precision(2, 4, ternary=True)}
WARM_UP = 2


@dataclass(frozen=True)
class StepCost:
    """CPU seconds of a step, plain and quantised, and their ratio."""

    backbone: str
    number_format: str
    bits: str
    plain_s: float
    plain_median_s: float
    quantised_s: float
    quantised_median_s: float
    ratio: float
    ratio_of_medians: float


def build_network(backbone: str) -> EarlyExitNetwork:
    """The largest member, with an exit at every other tap."""
    space = EarlyExitSpace(BACKBONES.get(backbone).space(IMAGE), ("pool_linear", "conv"), max_exits=3)
    architecture = space.with_all_exits(space.max_architecture(), np.random.default_rng(0))
    architecture = replace(architecture, exits=architecture.exits[::2])
    return Supernet(space.backbone, ("pool_linear", "conv"), IMAGE, NUM_CLASSES, seed=0).extract(architecture)


def step_timer(module: nn.Module, step: Step, compute: Compute, batch: int) -> Callable[[], float]:
    """A function that trains for one step and gives the CPU seconds it took."""
    compute.place(module).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    generator = torch.Generator().manual_seed(0)
    images = compute.place_images(torch.randn(batch, *IMAGE, generator=generator))
    labels = torch.randint(NUM_CLASSES, (batch,), generator=generator)
    seeds = itertools.count()

    def run() -> float:
        # Steps of a supernet draw networks and bits anew; all timers draw from the same seeds.
        rng = np.random.default_rng(next(seeds))
        start = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        step(images, labels, rng)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        return time.process_time() - start

    return run


def network_step_timer(network: EarlyExitNetwork, compute: Compute, batch: int) -> Callable[[], float]:
    return step_timer(network, plain_step(network, LossSettings(), compute), compute, batch)


def times_in_turn(timers: Mapping[str, Callable[[], float]], num_steps: int) -> dict[str, list[float]]:
    """As many steps of every timer, one after the other, those that warm up left out."""
    times: dict[str, list[float]] = {name: [] for name in timers}
    for index in range(num_steps + WARM_UP):
        for name, run in timers.items():
            seconds = run()
            if index >= WARM_UP:
                times[name].append(seconds)
    return times


def measure(backbone: str, compute: Compute, num_steps: int, batch: int) -> list[StepCost]:
    plain = build_network(backbone)
    timers = {"plain": network_step_timer(copy.deepcopy(plain), compute, batch)}
    for name, precision in BITS.items():
        network = copy.deepcopy(plain)
        network.architecture = replace(network.architecture, precision=precision, branch_precision=precision)
        prepare_(network, [torch.randn(16, *IMAGE)])
        timers[name] = network_step_timer(network, compute, batch)
    times = times_in_turn(timers, num_steps)
    least = {name: min(values) for name, values in times.items()}
    median = {name: statistics.median(values) for name, values in times.items()}
    return [
        StepCost(
            backbone,
            compute.dtype,
            name,
            least["plain"],
            median["plain"],
            least[name],
            median[name],
            least[name] / least["plain"],
            median[name] / median["plain"],
        )
        for name in BITS
    ]


def supernet_step_timer(backbone: str, choices: PrecisionChoices, compute: Compute, batch: int) -> Callable[[], float]:
    """As `step_timer`, for a sandwich step (largest, smallest, one random network) of a supernet at sampled bits."""
    branches = ("pool_linear", "conv")
    family = BACKBONES.get(backbone).space(IMAGE)
    space = EarlyExitSpace(family, branches, max_exits=3, precisions=choices)
    supernet = Supernet(family, branches, IMAGE, NUM_CLASSES, seed=0, precisions=choices.choices)
    step = sandwich_step(supernet, space, LossSettings(), compute, random_subnets=1)
    return step_timer(supernet, step, compute, batch)


def measure_supernet(backbone: str, compute: Compute, num_steps: int, batch: int) -> list[StepCost]:
    """All formats: with 32/32 among the choices the largest network of each step is plain; without, none is."""
    sampled = {
        "sampled, 32/32 among them": PrecisionChoices("layer", ZNIBER_PRECISIONS),
        "sampled, all quantised": PrecisionChoices("layer", ZNIBER_PRECISIONS[1:]),
    }
    timers = {"plain": supernet_step_timer(backbone, FIXED, compute, batch)}
    timers |= {name: supernet_step_timer(backbone, choices, compute, batch) for name, choices in sampled.items()}
    # Networks differ from step to step, so the sums are compared: each timer takes as many steps, turn by turn.
    times = times_in_turn(timers, num_steps)
    mean = {name: statistics.fmean(values) for name, values in times.items()}
    median = {name: statistics.median(values) for name, values in times.items()}
    return [
        StepCost(
            f"{backbone} (supernet)",
            compute.dtype,
            name,
            mean["plain"],
            median["plain"],
            mean[name],
            median[name],
            mean[name] / mean["plain"],
            median[name] / median["plain"],
        )
        for name in sampled
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--supernet-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("backbone", "format", "bits", "plain s", "QAT s", "ratio", "ratio of medians")
    costs: list[StepCost] = []
    for backbone in BACKBONES_MEASURED:
        for compute in (Compute(dtype="fp32"), Compute(dtype="bf16")):
            if not options.supernet_only:
                costs += measure(backbone, compute, options.steps, options.batch)
            costs += measure_supernet(backbone, compute, options.steps, options.batch)
    for cost in costs:
        table.add_row(
            cost.backbone,
            cost.number_format,
            cost.bits,
            f"{cost.plain_s:.3f}",
            f"{cost.quantised_s:.3f}",
            f"{cost.ratio:.2f}",
            f"{cost.ratio_of_medians:.2f}",
        )
    Console().print(table)
    save_result("qat_step", {"batch": options.batch, "steps": options.steps, "costs": [vars(cost) for cost in costs]})


if __name__ == "__main__":
    main()
