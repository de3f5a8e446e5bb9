"""Networks of the `diana` benchmark: trained, priced, run with noise; weights are kept in the run's folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offramp.cost.mapping.channel_split.channel_split_model import ChannelSplitModel
from offramp.cost.mapping.channel_split.core_options import analog_refusal
from offramp.cost.report import CostReport
from offramp.data.augmentation import default_augmentation
from offramp.data.labelled_data import Dataset, Split
from offramp.data.mini_batches import batches
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.chip_formulas import InMemoryArray
from offramp.nn.analog.make_analog import analog_parts, make_analog_, set_channels_, set_noise_
from offramp.nn.backbone import BACKBONES
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.progress import TerminalReporter
from offramp.space.architecture import Architecture, BranchLayer, ExitChoice, StageChoice
from offramp.train.compute import Compute
from offramp.train.loss import LossSettings
from offramp.train.supernet_training import plain_step
from offramp.train.trainer import Schedule, Step, TrainingData, TrainingLoop, collect_logits
from offramp.workload.graph import Role, Workload

BATCH = 128
CALIBRATION_IMAGES = 1024
SHARED_NOISE = 8
DIGITAL_COLUMNS = 16
Logits = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Bench:
    """What all parts of the benchmark share.

    Attributes:
        data: The data set.
        accelerator: The chip.
        compute: Where networks run.
        folder: Where weights are kept.
        seed: Seed of the run.
    """

    data: Dataset
    accelerator: Accelerator
    compute: Compute
    folder: Path
    seed: int

    @property
    def array(self) -> InMemoryArray:
        """The analog array of the chip."""
        formulas = self.accelerator.formulas
        assert formulas is not None
        assert formulas.analog is not None
        return cast(InMemoryArray, formulas.analog.cycles)

    def calibration(self) -> list[Tensor]:
        """Batches of training images for calibration."""
        part = self.data.splits.train.subset(CALIBRATION_IMAGES, self.seed)
        images = batches(part, self.data.preprocessing, batch_size=256)
        return [self.compute.place_images(batch.inputs) for batch in images]


def architecture(widths: Sequence[int], taps: Sequence[int]) -> Architecture:
    """Describe a ResNet-8 with an exit with a convolution to 16 channels at each tap.

    Args:
        widths: Channels of the stages.
        taps: Where the exits are.

    Returns:
        The architecture.
    """
    return Architecture("resnet8", 32, _stages(widths), tuple(ExitChoice(tap, "conv") for tap in taps))


def wide_architecture(widths: Sequence[int], tap: int) -> Architecture:
    """Describe a ResNet-8 with one exit, whose convolution has 32 channels.

    Args:
        widths: Channels of the stages.
        tap: Where the exit is.

    Returns:
        The architecture.
    """
    layers = (BranchLayer("convolution", kernel_size=3, stride=2, width=32),)
    return Architecture("resnet8", 32, _stages(widths), (ExitChoice(tap, "searched", layers=layers),))


def _stages(widths: Sequence[int]) -> tuple[StageChoice, ...]:
    return tuple(StageChoice(1, width, (3,), (1,)) for width in widths)


def float_network(bench: Bench, chosen: Architecture) -> EarlyExitNetwork:
    """Build an untrained network; stages may be wider than the family offers.

    Args:
        bench: The benchmark.
        chosen: The architecture.

    Returns:
        The network.
    """
    space = BACKBONES.get("resnet8").space(bench.data.input_shape)
    stages = zip(space.stages, chosen.stages, strict=True)
    space = replace(space, stages=tuple(replace(s, widths=tuple(sorted({*s.widths, own.width}))) for s, own in stages))
    branches = tuple(dict.fromkeys(exit.branch for exit in chosen.exits)) or ("conv",)
    supernet = Supernet(space, branches, bench.data.input_shape, bench.data.num_classes, seed=bench.seed)
    return supernet.extract(chosen)


def inherit_(network: EarlyExitNetwork, trained: EarlyExitNetwork) -> None:
    """Copy weights layer by layer, whatever exits there are; of wider layers their leading channels.

    Args:
        network: The network that gets them; changed in place.
        trained: The network that has them.
    """
    known = {_plain(name): value for name, value in trained.state_dict().items()}
    last = len(trained.branches) - 1
    state = {}
    for name, value in network.state_dict().items():
        final = name.startswith(f"branches.{len(network.branches) - 1}.")
        source = f"branches.{last}.{name.split('.', 2)[2]}" if final else name
        weights = known[_plain(source)]
        state[name] = weights[tuple(slice(0, size) for size in value.shape)].clone()
    network.load_state_dict(state)


def _plain(name: str) -> str:
    """Backbone layers go by their block, in whatever stage that is."""
    return name.split(".", 2)[2] if name.startswith("stages.") else name


def free_digital(bench: Bench, network: EarlyExitNetwork) -> dict[str, int]:
    """Give the digital core as many channels as it can take without any exit being later.

    It computes 16 channels at a time, at 8 bits, beside the analog core, which costs no accuracy.

    Args:
        bench: The benchmark.
        network: The network.

    Returns:
        Analog channels by layer.
    """
    every = all_analog(bench, network.architecture)
    chosen = dict(every)

    def latencies() -> list[float]:
        return [stage.latency_to_exit_cycles for stage in price(bench, network, chosen).stages]

    best = latencies()
    for name, channels in every.items():
        for analog in range(0, channels, DIGITAL_COLUMNS):
            chosen[name] = analog
            found = latencies()
            if all(new <= old for new, old in zip(found, best, strict=True)):
                best = found
                break
            chosen[name] = channels
    return chosen


def with_exits(workload: Workload, kept: Sequence[int]) -> Workload:
    """Remove branches of early exits.

    Args:
        workload: The network.
        kept: Numbers of the early exits that are kept.

    Returns:
        The network with these and the final exit.
    """
    last = workload.num_stages - 1

    def stage(old: int) -> int:
        return sum(exit < old for exit in kept)

    layers = tuple(
        replace(layer, stage=stage(layer.stage))
        for layer in workload.layers
        if layer.role is Role.BACKBONE or layer.stage in (*kept, last)
    )
    return replace(workload, layers=layers, exits=tuple(workload.exits[index] for index in (*kept, last)))


def price(
    bench: Bench, network: EarlyExitNetwork, channels: Mapping[str, int], kept: Sequence[int] | None = None
) -> CostReport:
    """Price a network.

    Args:
        bench: The benchmark.
        network: The network.
        channels: Analog channels by layer.
        kept: Numbers of the early exits that are kept; None = all.

    Returns:
        The cost report.
    """
    workload = lower(network).with_analog_channels(channels)
    if kept is not None:
        workload = with_exits(workload, kept)
    return ChannelSplitModel(overlapping=True).estimate(workload, bench.accelerator)


def train(
    bench: Bench, name: str, network: EarlyExitNetwork, epochs: int, rate: float, step: Step | None = None
) -> None:
    """Train a network, or read weights that were trained before.

    Args:
        bench: The benchmark.
        name: Name of the file of weights.
        network: The network; changed in place.
        epochs: Number of epochs.
        rate: Learning rate.
        step: A training step; None = the plain one.
    """
    loop = TrainingLoop(
        network,
        TrainingData(bench.data.splits.train, bench.data.preprocessing, BATCH, default_augmentation(bench.data)),
        Schedule(rate, epochs),
        bench.compute,
        momentum=0.9,
        weight_decay=5e-4,
        seed=bench.seed,
        checkpoint=bench.folder / f"{name}.safetensors",
    )
    step = step or plain_step(network, LossSettings(), bench.compute)
    with TerminalReporter().task(name) as task:
        loop.run(step, task, resume=True)


def trained_float(bench: Bench, name: str, chosen: Architecture, epochs: int) -> EarlyExitNetwork:
    """Train a network in floating point.

    Args:
        bench: The benchmark.
        name: Name of the file of weights.
        chosen: The architecture.
        epochs: Number of epochs.

    Returns:
        The network.
    """
    network = float_network(bench, chosen)
    train(bench, name, network, epochs, 0.1)
    return network


def quantized(
    bench: Bench, base: EarlyExitNetwork, chosen: Architecture, channels: Mapping[str, int] | None = None
) -> EarlyExitNetwork:
    """Build a network of 8 bits, with analog channels where there are any.

    Args:
        bench: The benchmark.
        base: A network in floating point that has the weights.
        chosen: The architecture.
        channels: Analog channels by layer; None = none.

    Returns:
        The network.
    """
    network = float_network(bench, chosen)
    inherit_(network, base)
    bench.compute.place(network).eval()
    calibration = bench.calibration()
    prepare_(network, calibration)
    if channels:
        make_analog_(network, channels, bench.array, calibration)
    return network


def noisy_step(
    bench: Bench,
    network: EarlyExitNetwork,
    draw: Callable[[np.random.Generator], None],
    teacher: EarlyExitNetwork | None = None,
) -> Step:
    """Make a training step with converter noise.

    Args:
        bench: The benchmark.
        network: The network.
        draw: May change which channels are analog before each step.
        teacher: A network whose outputs are learned as well; None = none.

    Returns:
        The step.
    """
    plain = plain_step(network, LossSettings(), bench.compute, teacher)

    def step(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        draw(rng)
        set_noise_(network, torch.Generator().manual_seed(int(rng.integers(2**31))), shared_by=SHARED_NOISE)
        return plain(images, labels, rng)

    return step


def keep_going(rng: np.random.Generator) -> None:
    """Change nothing between steps.

    Args:
        rng: Not used.
    """


def random_shares(bench: Bench, network: EarlyExitNetwork, shares: Sequence[float]) -> Callable[..., None]:
    """Draw another assignment for every step: everything analog in one of three, else each layer by itself.

    Args:
        bench: The benchmark.
        network: The network; its assignment changes.
        shares: Shares of analog channels to draw from.

    Returns:
        What draws.
    """
    sizes = {name: len(dict(network.named_modules())[name].weight) for name in analog_parts(network)}  # type: ignore[arg-type]

    def draw(rng: np.random.Generator) -> None:
        whole = rng.random() < 1 / 3
        picked = {n: size if whole else rounded(rng.choice(shares) * size) for n, size in sizes.items()}
        set_channels_(network, picked)

    return draw


def rounded(channels: float) -> int:
    """Round to what the chip divides layers into.

    Args:
        channels: Number of channels.

    Returns:
        A multiple of 4.
    """
    return round(channels / 4) * 4


def all_analog(bench: Bench, chosen: Architecture) -> dict[str, int]:
    """Give every convolution that the analog core can run to it, whole.

    Args:
        bench: The benchmark.
        chosen: The architecture.

    Returns:
        Analog channels by layer.
    """
    formulas = bench.accelerator.formulas
    assert formulas is not None
    layers = lower(float_network(bench, chosen)).layers
    return {layer.name: layer.shape.k for layer in layers if layer.shape.macs and not analog_refusal(formulas, layer)}


def noisy_logits(bench: Bench, network: EarlyExitNetwork, split: Split, draws: int) -> list[Logits]:
    """Collect logits under several seeds of converter noise.

    Args:
        bench: The benchmark.
        network: The network.
        split: The samples.
        draws: Number of seeds.

    Returns:
        Logits per seed; one entry where nothing is analog.
    """
    found = []
    analog = any(part.channels for part in analog_parts(network).values())
    for index in range(draws if analog else 1):
        set_noise_(network, torch.Generator().manual_seed(1000 * bench.seed + index))
        found.append(collect_logits(network, split, bench.data.preprocessing, bench.compute))
    set_noise_(network, None)
    return found
