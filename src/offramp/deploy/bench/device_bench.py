"""Instructions of the C files of a bundle to each exit, on a chip in QEMU."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bench.latency_bench import exit_rates
from offramp.deploy.bundle.bundle_files import open_files
from offramp.deploy.bundle.manifest import Manifest
from offramp.deploy.runtime.sample_inputs import normalise
from offramp.deploy.runtime.session import EarlyExitSession, Samples
from offramp.deploy.targets.c.arena_plan import plan_arena
from offramp.deploy.targets.c.c_source import c_files
from offramp.deploy.targets.c.c_target import PREFIX, check_samples, random_pixels
from offramp.deploy.targets.c.device import device_named
from offramp.deploy.targets.c.device_run import OPTIMISATION, DeviceAnswers, run_on_device
from offramp.deploy.targets.c.integer_reference import integer_sums, quantised_inputs
from offramp.deploy.targets.c.program import Program, static_program
from offramp.deploy.targets.c.read_program import read_program
from offramp.errors import ExportError


@dataclass(frozen=True)
class DeviceBench:
    """What was counted. Instructions are not cycles: memories and pipelines differ from chip to chip.

    Attributes:
        name: Name of the bundle.
        device: The chip.
        optimisation: The compiler's option.
        num_samples: Samples that were run and compared with the integer network; all were equal to the bit.
        exit_rates: The exit rates that expectations are taken with.
        rates_from: Where the rates are from.
        to_exit: Instructions to each exit, mean of the samples; what the exit decides is included.
        expected: Mean of these at the exit rates.
        static: Instructions of the same network without early exits.
        relative: The expected instructions in units of the static network's.
        code_bytes: Flash for instructions of the network.
        constant_bytes: Flash for its weights and other constants.
        memory_bytes: RAM for maps, columns and settings.
        stack_bytes: RAM for the stack.
        static_flash_bytes: Flash of the static network, code and constants.
        static_memory_bytes: RAM of the static network, without the stack.
    """

    name: str
    device: str
    optimisation: str
    num_samples: int
    exit_rates: tuple[float, ...]
    rates_from: str
    to_exit: tuple[float, ...]
    expected: float
    static: float
    relative: float
    code_bytes: int
    constant_bytes: int
    memory_bytes: int
    stack_bytes: int
    static_flash_bytes: int
    static_memory_bytes: int


def bench_on_device(
    bundle: Path | str,
    device_name: str,
    *,
    images: Samples | None = None,
    source: str = "images",
    num_samples: int = 3,
    optimisation: str = OPTIMISATION,
    allow_large: bool = False,
) -> DeviceBench:
    """Count instructions to each exit, and compare all logits with the integer network.

    Args:
        bundle: A quantised bundle: a folder, or a .zip of one.
        device_name: The chip, see `DEVICES`.
        images: Samples to take exit rates from; None for the validation rates in the manifest.
        source: Where the images are from.
        num_samples: How many random images are run.
        optimisation: The compiler's option.
        allow_large: Whether a graph may take more memory and operations than `USUAL_LIMIT`.

    Returns:
        What was counted.

    Raises:
        InputError: If a tool is missing, the network cannot be written in C, or there are no rates.
        ExportError: If the firmware does not compile, or answers otherwise than the integer network.
        BundleError: If the bundle is damaged.
    """
    device = device_named(device_name)
    session = EarlyExitSession(bundle, allow_large=allow_large)
    manifest = session.manifest
    check_samples(manifest)
    rates, rates_from = exit_rates(session, images, source)
    program = read_program(open_files(Path(bundle)), manifest, allow_large=allow_large)
    found = {}
    for what, network in (("early", program), ("static", static_program(program))):
        pixels = random_pixels(program.image, num_samples if what == "early" else 1, seed=0)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for name, text in c_files(network, plan_arena(network), manifest, PREFIX).items():
                (folder / name).write_text(text, encoding="ascii")
            in_order = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
            found[what] = run_on_device(folder, device, in_order, optimisation=optimisation)
        _compare(network, manifest, pixels, found[what], device_name)
    early, static = found["early"], found["static"]
    to_exit = early.instructions_to_exit.mean(axis=0)
    expected, alone = float(to_exit @ rates), float(static.instructions.mean())
    return DeviceBench(
        name=manifest.name,
        device=device_name,
        optimisation=optimisation,
        num_samples=num_samples,
        exit_rates=tuple(float(rate) for rate in rates),
        rates_from=rates_from,
        to_exit=tuple(float(value) for value in to_exit),
        expected=expected,
        static=alone,
        relative=expected / alone,
        code_bytes=early.code_bytes,
        constant_bytes=early.constant_bytes,
        memory_bytes=early.memory_bytes,
        stack_bytes=early.stack_bytes,
        static_flash_bytes=static.code_bytes + static.constant_bytes,
        static_memory_bytes=static.memory_bytes,
    )


def _compare(
    program: Program, manifest: Manifest, pixels: NDArray[np.uint8], answers: DeviceAnswers, device: str
) -> None:
    inputs = quantised_inputs(normalise(pixels, manifest.preprocessing), program.image)
    expected = np.stack(integer_sums(program, inputs), axis=1)
    wrong = (answers.sums != expected).any(axis=(1, 2))
    wrong |= (answers.left_sums != expected[np.arange(len(pixels)), answers.exits]).any(axis=1)
    if wrong.any():
        raise ExportError(
            f"On {device}, the C files give other logits than the integer network for {wrong.sum()} of {len(wrong)} "
            "samples."
        )
