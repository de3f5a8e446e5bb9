"""A runner that is a command of the user's: it is given a file and prints how long it takes on a device."""

import contextlib
import math
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from offramp.cost.engines.measured.device_runner import TimedRuns
from offramp.cost.engines.measured.network_files import TimedFile
from offramp.errors import ConfigError
from offramp.hardware.runner import MODEL, Runner, split_command

PERMISSION = "OFFRAMP_ALLOW_RUNNER"
"""The environment variable that allows commands of accelerator files; `--allow-runner` sets it for one program."""

_MOST_OUTPUT = 1 << 20
_LONGEST_S = 3600.0
_POLL_S = 0.001
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_JOULES = {"j": 1.0, "mj": 1e-3, "uj": 1e-6, "nj": 1e-9}
_LINE = re.compile(r"\s*(latency|energy)_([a-z]{1,2})\s*[:= ]\s*(\S+)\s*")
_FIGURE = re.compile(r"\s*(latency|energy)_", re.IGNORECASE)
_FORM = "lines such as `latency_us: 123.4` and, if it can, `energy_uj: 5.6`, one of each for every run"


def allow_runners() -> None:
    """Allow commands of accelerator files in this process and in those that it starts."""
    os.environ[PERMISSION] = "1"


@dataclass(frozen=True)
class CommandRunner:
    """Times files with a command. No shell is started; the file is also the standard input of the command.

    Attributes:
        runner: The command and how it measures.
        device: Name of the device, for messages.
    """

    runner: Runner
    device: str

    @property
    def identity(self) -> str:
        own = self.runner.measurement
        return (
            f"{self.runner.command}, {own.arithmetic}, {own.warm_up}+{own.repetitions} runs"
            f"{f', {own.version}' if own.version else ''}"
        )

    @property
    def method(self) -> str:
        return "the least of all runs that the command of the accelerator's file prints"

    @property
    def measures_in_context(self) -> bool:
        return False

    def measure(self, file: TimedFile) -> TimedRuns:
        self._check_permission()
        with tempfile.TemporaryDirectory(prefix="offramp-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(file.content)
            output = self._run(path, file)
        return self._read(output, file)

    def _check_permission(self) -> None:
        if os.environ.get(PERMISSION) != "1":
            raise ConfigError(
                f"Accelerator {self.device!r} measures with a command of its file, {self.runner.command!r}, which is "
                f"run only with permission. If you trust the file, give --allow-runner, or set {PERMISSION}=1."
            )

    def _run(self, path: Path, file: TimedFile) -> str:
        own = self.runner.measurement
        values = {MODEL: str(path), "{warm_up}": str(own.warm_up), "{repetitions}": str(own.repetitions)}
        words = [_filled(word, values) for word in split_command(self.runner.command)]
        with path.open("rb") as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(words, stdin=source, stdout=out, stderr=err, start_new_session=True)
            except (OSError, ValueError) as exc:
                raise self._failed(file, f"it cannot be started ({exc})") from exc
            try:
                reason = _wait(process, (out, err), min(own.timeout_s, _LONGEST_S))
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if reason or process.returncode != 0:
                told = _tail(err)
                raise self._failed(
                    file, (reason or f"it ended with code {process.returncode}") + (f": {told}" if told else "")
                )
            out.seek(0)
            return out.read(_MOST_OUTPUT).decode("utf-8", "replace")

    def _read(self, output: str, file: TimedFile) -> TimedRuns:
        found: dict[str, list[float]] = {"latency": [], "energy": []}
        for line in output.splitlines():
            match = _LINE.fullmatch(line)
            if match is None:
                if _FIGURE.match(line):
                    # Were `energy_mJ: 5 J` ignored, the energy would be taken from `power_w`.
                    raise self._failed(file, f"it must print {_FORM}, got {line.strip()[:80]!r}")
                continue
            unit = (_UNITS if match[1] == "latency" else _JOULES).get(match[2])
            if unit is None:
                raise self._failed(file, f"it must print {_FORM}, got {line.strip()[:80]!r}")
            try:
                value = float(match[3]) * unit
            except ValueError:
                value = math.nan
            if not (math.isfinite(value) and value > 0):
                raise self._failed(file, f"its figures must be above 0, got {line.strip()[:80]!r}")
            found[match[1]].append(value)
        if not found["latency"]:
            raise self._failed(file, f"it must print {_FORM}, got {' '.join(output.split())[:80]!r}")
        energies = found["energy"]
        if energies and len(energies) != len(found["latency"]):
            raise self._failed(
                file, f"it must print as many energies as latencies, got {len(energies)} and {len(found['latency'])}"
            )
        if not energies and self.runner.measurement.power_w is None:
            raise self._failed(
                file,
                "it prints no energy; state `power_w` in the block `measurement`, the mean power in W while the "
                "device computes, or have it print energies",
            )
        return TimedRuns.of_least(found["latency"], energies)

    def _failed(self, file: TimedFile, reason: str) -> ConfigError:
        return ConfigError(
            f"The runner of accelerator {self.device!r}, {self.runner.command!r}, must time {file.what}, but {reason}."
        )


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def _wait(process: "subprocess.Popen[bytes]", outputs: tuple[IO[bytes], ...], limit_s: float) -> str:
    """Wait for the end of a command; return why it has to be ended, or nothing."""
    end = time.monotonic() + limit_s
    while process.poll() is None:
        if time.monotonic() > end:
            return f"it took longer than {limit_s:g} s (`timeout_s` in the block `measurement`)"
        if any(os.fstat(output.fileno()).st_size > _MOST_OUTPUT for output in outputs):
            return f"it printed more than {_MOST_OUTPUT} bytes"
        time.sleep(_POLL_S)
    return ""


def _tail(stream: IO[bytes]) -> str:
    stream.seek(0)
    return " ".join(stream.read(_MOST_OUTPUT).decode("utf-8", "replace").split())[-200:]
