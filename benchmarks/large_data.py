"""Memory and speed of training on images that stay on disk, against the same images in memory.

    python -m benchmarks.large_data runs/large_data --count 200000 --save

It makes images of 96x96. One process loads them as a search does (decoding, fingerprint, duplicates, splits,
statistics), trains the largest network of the default backbone for some time, and answers all validation images that a
search judges on; its largest memory is measured. Another process trains the same network in turn on images on disk and
on the same images in memory, so that other work on the machine slows both.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.record import save_result

SIZE = 96
NUM_CLASSES = 10
BATCH = 128
_IMAGES_A_FOLDER = 1000
_COMPARED = 8_192
_ROUNDS, _STEPS_A_ROUND = 9, 2


@dataclass(frozen=True)
class Memory:
    """A run on images on disk: peak resident memory of the process, before loading and at the end."""

    num_images: int
    decoded_mib: float
    on_disk: bool
    import_mib: float
    peak_mib: float
    load_s: float


@dataclass(frozen=True)
class Throughput:
    """Training on the same images: medians over the rounds."""

    on_disk_per_s: float
    in_memory_per_s: float
    ratio: float


def write_images(root: Path, count: int) -> None:
    """A wave per class with noise, as PPM, which is written faster than it is compressed; no two images are equal."""
    rng = np.random.default_rng(0)
    ramp = np.arange(SIZE)
    waves = [100 + 60 * np.sin(2 * np.pi * (label + 1) * ramp / SIZE) for label in range(NUM_CLASSES)]
    noises = rng.integers(0, 40, (256, SIZE, SIZE, 3)).astype(np.uint8)
    for index in range(count):
        label = index % NUM_CLASSES
        folder = root / str(label) / f"{index // _IMAGES_A_FOLDER:04}"
        folder.mkdir(parents=True, exist_ok=True)
        wave = np.roll(waves[label], int(rng.integers(SIZE))).astype(np.uint8)
        pixels = noises[index % len(noises)] + wave[None, :, None]
        pixels[0, :4, 0] = np.frombuffer(index.to_bytes(4, "little"), dtype=np.uint8)
        (folder / f"{index:07}.ppm").write_bytes(f"P6 {SIZE} {SIZE} 255\n".encode() + pixels.tobytes())


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(root: Path, memory_mib: int, train_s: float) -> Memory:
    """Load, train and answer in this process."""
    from offramp.deadline import Clock
    from offramp.progress import SilentReporter
    from offramp.run.factory import build_context, build_dataset
    from offramp.settings.config import Config
    from offramp.train.loss import LossSettings
    from offramp.train.supernet_training import plain_step
    from offramp.train.trainer import Schedule, TrainingData, TrainingLoop, collect_logits

    before = _peak_mib()
    started = time.perf_counter()
    config = Config(data={"source": str(root), "memory_mib": memory_mib})
    dataset = build_dataset(config, SilentReporter())
    loaded_s = time.perf_counter() - started
    context = build_context(config, dataset)
    network = context.supernet.extract(context.space.max_architecture())
    data = TrainingData(dataset.splits.train, dataset.preprocessing, BATCH, context.augmentation)
    loop = TrainingLoop(
        network,
        data,
        Schedule(0.05, None, Clock(train_s).phase(1.0)),
        context.compute,
        momentum=0.9,
        weight_decay=1e-4,
        seed=0,
    )
    with SilentReporter().task("training") as task:
        loop.run(plain_step(network, LossSettings(), context.compute), task)
    collect_logits(network, context.evaluator.data.validation, dataset.preprocessing, context.compute)
    parts = (dataset.splits.train, dataset.splits.validation, dataset.splits.test)
    return Memory(
        num_images=sum(map(len, parts)),
        decoded_mib=sum(part.samples.nbytes for part in parts) / 2**20,
        on_disk=not isinstance(dataset.splits.train.samples, np.ndarray),
        import_mib=before,
        peak_mib=_peak_mib(),
        load_s=loaded_s,
    )


def measure_throughput(root: Path, memory_mib: int) -> Throughput:
    """Train in turn on images on disk and in memory."""
    import torch

    from offramp.data.labelled_data import Split
    from offramp.data.mini_batches import batches
    from offramp.progress import SilentReporter
    from offramp.run.factory import build_context, build_dataset
    from offramp.settings.config import Config
    from offramp.train.loss import LossSettings
    from offramp.train.supernet_training import plain_step

    config = Config(data={"source": str(root), "memory_mib": memory_mib})
    dataset = build_dataset(config, SilentReporter())
    context = build_context(config, dataset)
    network = context.supernet.extract(context.space.max_architecture())
    step = plain_step(network, LossSettings(), context.compute)
    stored = dataset.splits.train.subset(_COMPARED, seed=0)
    loaded = Split(stored.samples[:], stored.labels)
    rng = np.random.default_rng(0)
    streams = [
        batches(
            split,
            dataset.preprocessing,
            batch_size=BATCH,
            shuffle=True,
            augmentation=context.augmentation,
            generator=torch.Generator().manual_seed(0),
        )
        for split in (stored, loaded)
    ]
    times: list[list[float]] = [[], []]
    for round_ in range(_ROUNDS):
        for way, stream in enumerate(streams):
            started = time.perf_counter()
            for _ in range(_STEPS_A_ROUND):
                inputs, labels = next(stream)
                step(inputs, labels, rng)
            if round_:  # the first is a warm-up
                times[way].append((time.perf_counter() - started) / (_STEPS_A_ROUND * BATCH))
    on_disk, in_memory = (statistics.median(own) for own in times)
    ratio = statistics.median(own / other for own, other in zip(times[1], times[0], strict=True))
    return Throughput(1.0 / on_disk, 1.0 / in_memory, ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200_000, help="images")
    parser.add_argument("--memory-mib", type=int, default=1024, help="the setting data.memory_mib")
    parser.add_argument("--train-s", type=float, default=60.0, help="seconds of training of the run for memory")
    parser.add_argument("--part", choices=("memory", "throughput"), help="measure in this process (used by itself)")
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results")
    arguments = parser.parse_args()
    root = arguments.folder / f"images_{arguments.count}"
    if arguments.part == "memory":
        print(json.dumps(asdict(measure_memory(root, arguments.memory_mib, arguments.train_s))))
        return
    if arguments.part == "throughput":
        print(json.dumps(asdict(measure_throughput(root, arguments.memory_mib))))
        return
    if not root.exists():
        write_images(root, arguments.count)
    figures = {}
    for part in ("memory", "throughput"):
        command = [sys.executable, "-m", "benchmarks.large_data", *sys.argv[1:], "--part", part]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures[part] = json.loads(done.stdout.splitlines()[-1])
        print(part, figures[part], flush=True)
    if arguments.save:
        print(save_result("large_data", figures))


if __name__ == "__main__":
    main()
