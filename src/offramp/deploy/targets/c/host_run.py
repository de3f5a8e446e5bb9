"""Compiles an export with the C compiler of this machine, and runs it."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.targets.c.c_text import template
from offramp.errors import ExportError, InputError

STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror")
"""What every export compiles with."""

_NUMBER = re.compile(r"^#define ([A-Z][A-Z0-9_]*)_(EXITS|CLASSES|HEIGHT|WIDTH|CHANNELS|INPUT_\w+) (\S+)$", re.MULTILINE)
_SECONDS = 600


@dataclass(frozen=True)
class ExportedInterface:
    """What ``network.h`` states.

    Attributes:
        prefix: The prefix of all names.
        exits: The number of exits.
        classes: The number of classes.
        shape: Rows, columns and channels of a sample.
        step: Step of the quantised inputs.
        zero_point: Their zero point.
        top: The largest of them.
    """

    prefix: str
    exits: int
    classes: int
    shape: tuple[int, int, int]
    step: np.float32
    zero_point: int
    top: int

    @classmethod
    def of(cls, folder: Path) -> "ExportedInterface":
        """Read ``network.h``.

        Args:
            folder: The folder of an export.

        Returns:
            What it states.
        """
        found = _NUMBER.findall((folder / "network.h").read_text(encoding="ascii"))
        numbers = {name: text for _, name, text in found}
        return cls(
            found[0][0].lower(),
            int(numbers["EXITS"]),
            int(numbers["CLASSES"]),
            (int(numbers["HEIGHT"]), int(numbers["WIDTH"]), int(numbers["CHANNELS"])),
            np.float32(numbers["INPUT_STEP"]),
            int(numbers["INPUT_ZERO_POINT"]),
            int(numbers["INPUT_TOP"]),
        )


@dataclass(frozen=True, eq=False)
class HostAnswers:
    """What an export answers.

    Attributes:
        exits: Where each sample left, (samples,).
        classes: Its class, (samples,).
        left_sums: The sums of that exit, (samples, classes).
        sums: The sums of all exits, (samples, exits, classes).
        steps: What a sum of 1 stands for, float32, (exits, classes).
    """

    exits: NDArray[np.int32]
    classes: NDArray[np.int32]
    left_sums: NDArray[np.int32]
    sums: NDArray[np.int32]
    steps: NDArray[np.float32]


def find_compiler() -> str | None:
    """Find a C compiler.

    Returns:
        Its path; None where there is none.
    """
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def run_on_host(
    folder: Path, samples: NDArray[np.uint8], *, are_pixels: bool, flags: Sequence[str] = STRICT
) -> HostAnswers:
    """Compile an export and run it.

    Args:
        folder: The folder of the export.
        samples: Samples in memory order, (samples, height, width, channels).
        are_pixels: Whether they are raw pixels, not quantised inputs.
        flags: Flags of the compiler.

    Returns:
        What it answers.

    Raises:
        InputError: If there is no C compiler.
        ExportError: If the files do not compile, or the program fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise InputError("No C compiler (cc, gcc or clang) was found, which must run the files. Install one.")
    stated = ExportedInterface.of(folder)
    names = ", ".join(f"{stated.prefix}_stage_{index}" for index in range(stated.exits))
    with tempfile.TemporaryDirectory() as place:
        check, program = Path(place, "check.c"), Path(place, "check")
        check.write_text(template("kernels/check.c", stated.prefix, {"STAGES": names}), encoding="ascii")
        source = folder.absolute()
        _call([compiler, *flags, "-I", str(source), "-o", str(program), str(check), str(source / "network.c")])
        output = _call([str(program), "pixels" if are_pixels else "values"], samples.tobytes())
    width = 2 + stated.classes * (1 + stated.exits)
    values = np.frombuffer(output, dtype=np.int32)
    start = stated.exits * stated.classes
    if len(values) != start + width * len(samples):
        raise ExportError("The compiled C files gave another number of answers than samples; nothing was written.")
    rows = values[start:].reshape(-1, width)
    return HostAnswers(
        rows[:, 0],
        rows[:, 1],
        rows[:, 2 : 2 + stated.classes],
        rows[:, 2 + stated.classes :].reshape(len(rows), stated.exits, stated.classes),
        values[:start].view(np.float32).reshape(stated.exits, stated.classes),
    )


def _call(command: list[str], content: bytes = b"") -> bytes:
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ExportError(f"{command[0]!r} cannot be run: {exc}; nothing was written.") from exc
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[:2000]
        raise ExportError(f"{Path(command[0]).name!r} failed on the C files: {said}; nothing was written.")
    return done.stdout
