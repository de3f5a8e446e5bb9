"""Instructions, flash and RAM of networks written in C, on chips in QEMU; logits compared to the bit.

ResNet-8 and DS-CNN of MLPerf Tiny in 8 bits with exits after their first two blocks. Weights are random: instructions
depend on shapes, and hardly on values. Thresholds are set on noise so that 40 % leave at exit 0 and 33 % at exit 1.

    python -m benchmarks.c_target [--samples 50] [--host-samples 1000]
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.record import save_result
from offramp.deploy.bench.device_bench import DeviceBench, bench_on_device
from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.deploy.bundle.verification import network_logits
from offramp.deploy.targets.c.c_target import export_c, random_pixels
from offramp.deploy.targets.c.program import FeatureMap
from offramp.exits.confidence_measures import confidence
from offramp.exits.exit_policy import ExitPolicy
from offramp.jsonio import to_data
from offramp.nn.backbone import BACKBONES
from offramp.nn.batch_norm import recalibrate_batch_norm_
from offramp.nn.quantization.quantize import prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import ExitChoice, Precision
from offramp.space.early_exit_space import EarlyExitSpace

NETWORKS = {"resnet8": (3, 32, 32), "ds-cnn": (1, 49, 10)}
CHIPS = ("cortex-m4", "cortex-m55", "rv32imac", "cortex-m7", "cortex-m3", "rv32imafc")
WELL_COMPARED = 3
BRANCH = "global_pool"
LEAVING = (0.4, 0.55)  # of those that reach an early exit
MEAN, STD = 0.5, 0.25
# deploy.md: a trial of the same ResNet-8, and CMSIS-NN 4.0.0 by bakenn (bodies alone), millions to each exit.
BEFORE = {
    "trial, cortex-m4 -O3": (12.7, 20.3, 26.7),
    "trial, cortex-m55 -O2": (6.0, 8.8, 10.7),
    "trial, rv32imac -O3": (33.7, 53.8, 69.4),
    "trial, rv32imafc -O3": (21.6, 35.7, 48.4),
    "trial, cortex-m7 -O2": (12.1, 19.2, 25.3),
    "trial, cortex-m3 -O3": (29.9, 47.1, 59.5),
    "CMSIS-NN bodies, cortex-m4": (16.2, 26.0, 34.2),
    "CMSIS-NN bodies, cortex-m55": (6.2, 9.9, 13.6),
}


def noise(shape: tuple[int, int, int], count: int, seed: int) -> NDArray[np.uint8]:
    channels, height, width = shape
    return random_pixels(FeatureMap("", height, width, channels, None), count, seed)


def normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return ((pixels.astype(np.float32) / np.float32(255)) - np.float32(MEAN)) / np.float32(STD)


def write_bundle(name: str, shape: tuple[int, int, int], folder: Path) -> Path:
    space = BACKBONES.get(name).space(shape)
    exits = (ExitChoice(0, BRANCH), ExitChoice(1, BRANCH))
    architecture = replace(EarlyExitSpace(space, (BRANCH,), max_exits=3).max_architecture(), exits=exits)
    network = Supernet(space, (BRANCH,), shape, 10, 0).extract(architecture).eval()
    network.architecture = replace(architecture, precision=Precision(8, 8), branch_precision=Precision(8, 8))
    images = torch.from_numpy(normalised(noise(shape, 128, seed=1)))
    recalibrate_batch_norm_(network, [images])
    prepare_(network, [images])
    network.eval()
    checks = normalised(noise(shape, 200, seed=2))
    logits = network_logits(network, checks)
    here, thresholds = np.ones(len(checks), dtype=bool), []
    for exit_logits, share in zip(logits[:-1], LEAVING, strict=True):
        scores = confidence(exit_logits, "max_probability")
        thresholds.append(float(np.quantile(scores[here], 1 - share)))
        here &= scores < thresholds[-1]
    export_bundle(
        network,
        folder,
        policy=ExitPolicy("max_probability", tuple(thresholds)),
        class_names=tuple("0123456789"),
        mean=(MEAN,) * shape[0],
        std=(STD,) * shape[0],
        checks=checks[:70],
        name=name,
        seed=1,
    )
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--host-samples", type=int, default=1000)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, shape in NETWORKS.items():
        with tempfile.TemporaryDirectory() as place:
            bundle = write_bundle(name, shape, Path(place, "bundle"))
            pixels = noise(shape, options.host_samples, seed=3)
            host = export_c(bundle, Path(place, "c"), pixels=pixels)
            print(f"{name}: {host.num_compared} samples equal to the bit on the host", flush=True)
            for index, chip in enumerate(CHIPS):
                # The others share their paths with the first three.
                count = options.samples if index < WELL_COMPARED else 2
                found = bench_on_device(bundle, chip, images=pixels[:300], source="noise", num_samples=count)
                print(_line(found), flush=True)
                rows.append({"host_samples": host.num_compared, **to_data(found)})
                save_result("c_target", {"weights": "random", "before_millions": BEFORE, "rows": rows})


def _line(found: DeviceBench) -> str:
    exits = " / ".join(f"{count / 1e6:.2f}" for count in found.to_exit)
    return (
        f"{found.name} {found.device} {found.optimisation}: {exits} M, expected {found.expected / 1e6:.2f}, static "
        f"{found.static / 1e6:.2f}, flash {found.code_bytes + found.constant_bytes:,} ({found.code_bytes:,} code), "
        f"RAM {found.memory_bytes:,} + stack {found.stack_bytes:,}, {found.num_samples} samples equal"
    )


if __name__ == "__main__":
    main()
