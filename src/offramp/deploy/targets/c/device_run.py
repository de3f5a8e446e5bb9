"""Builds firmware of an export, and runs it on a chip in QEMU: answers, instructions, flash and stack."""

import subprocess
import tempfile
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.targets.c.c_text import template
from offramp.deploy.targets.c.device import Device
from offramp.deploy.targets.c.host_run import ExportedInterface
from offramp.errors import ExportError

OPTIMISATION = "-O3"
"""How firmware is optimised unless told otherwise."""

_NETWORK_FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffunction-sections", "-fdata-sections")
_SECONDS = 600


@dataclass(frozen=True, eq=False)
class DeviceAnswers:
    """What an export answers on a chip.

    Attributes:
        exits: Where each sample left, (samples,).
        classes: Its class, (samples,).
        left_sums: The sums of that exit, (samples, classes).
        sums: The sums of all exits, (samples, exits, classes).
        instructions: Instructions of each run, (samples,).
        instructions_to_exit: Instructions where the sample is made to leave at each exit, (samples, exits).
        code_bytes: Instructions and constants of code in the network's object file.
        constant_bytes: Weights and other constants in it.
        memory_bytes: Variables in it: the arena, the columns and the settings.
        stack_bytes: The most of the stack that was in use.
    """

    exits: NDArray[np.int32]
    classes: NDArray[np.int32]
    left_sums: NDArray[np.int32]
    sums: NDArray[np.int32]
    instructions: NDArray[np.uint32]
    instructions_to_exit: NDArray[np.uint32]
    code_bytes: int
    constant_bytes: int
    memory_bytes: int
    stack_bytes: int


def run_on_device(
    folder: Path, device: Device, pixels: NDArray[np.uint8], *, optimisation: str = OPTIMISATION
) -> DeviceAnswers:
    """Build firmware and run it in QEMU, which counts instructions (``-icount shift=0``).

    Args:
        folder: The folder of the export.
        device: The chip, see `device_named`.
        pixels: Raw pixels in memory order, (samples, height, width, channels).
        optimisation: The compiler's option.

    Returns:
        What it answers.

    Raises:
        ExportError: If the files do not compile, or the emulator fails.
    """
    stated, source = ExportedInterface.of(folder), folder.absolute()
    names = ", ".join(f"{stated.prefix}_stage_{index}" for index in range(stated.exits))
    with tempfile.TemporaryDirectory() as place, as_file(files("offramp.deploy.targets.c") / "boards") as boards:
        work = Path(place)
        (work / "check.c").write_text(template("boards/device_check.c", stated.prefix, {"STAGES": names}))
        compiler = [device.compiler, *device.flags]
        network = [*_NETWORK_FLAGS, optimisation, "-c", "-o", "network.o", str(source / "network.c")]
        _call([*compiler, *network], work)
        sources = [str(boards / device.start), str(boards / "board.c"), "check.c", "network.o"]
        paths = ["-T", str(boards / device.linker_script), "-I", str(source), "-I", str(boards)]
        linking = ["-O2", "-nostartfiles", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments", *paths]
        _call([*compiler, *linking, "-o", "firmware.elf", *sources], work)
        (work / "samples.bin").write_bytes(pixels.tobytes())
        options = ["-nographic", "-semihosting", "-icount", "shift=0", "-kernel", "firmware.elf"]
        _call([*device.emulator, *options], work)
        answers = np.frombuffer((work / "answers.bin").read_bytes(), dtype=np.int32)
        sizes = _sizes(_call([device.compiler.replace("-gcc", "-size"), "-A", "network.o"], work))
    width = 3 + stated.exits + stated.classes * (1 + stated.exits)
    if len(answers) != width * len(pixels) + 1:
        raise ExportError(f"The firmware for {device.name} gave another number of answers than samples.")
    rows, start = answers[:-1].reshape(-1, width), 2 + stated.classes
    counts = rows[:, -1 - stated.exits :].view(np.uint32)
    return DeviceAnswers(
        rows[:, 0],
        rows[:, 1],
        rows[:, 2:start],
        rows[:, start : -1 - stated.exits].reshape(len(rows), stated.exits, stated.classes),
        counts[:, 0],
        counts[:, 1:],
        *sizes,
        int(answers[-1]),
    )


def _sizes(listing: str) -> tuple[int, int, int]:
    """Bytes of code, constants and variables in an object file."""
    code = constants = variables = 0
    for line in listing.splitlines():
        name, *rest = line.split() or [""]
        if name.startswith(".text"):
            code += int(rest[0])
        elif name.startswith((".rodata", ".srodata")):
            constants += int(rest[0])
        elif name.startswith((".data", ".bss", ".sdata", ".sbss")):
            variables += int(rest[0])
    return code, constants, variables


def _call(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ExportError(f"{command[0]!r} cannot be run: {exc}.") from exc
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace").strip()[:2000]
        raise ExportError(f"{command[0]!r} failed on the C files: {said}.")
    return done.stdout.decode(errors="replace")
