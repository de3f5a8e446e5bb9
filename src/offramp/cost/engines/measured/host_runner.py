"""The runner `host`: onnxruntime on this machine, pinned to as many cores as threads."""

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from offramp import jsonio
from offramp.cost.engines.measured.calibration_networks import calibration_networks
from offramp.cost.engines.measured.device_runner import TimedRuns
from offramp.cost.engines.measured.network_files import TimedFile, stage_files
from offramp.cost.price_cache import default_cache_path
from offramp.errors import ConfigError, InputError
from offramp.files.safe_files import read_file, write_atomically
from offramp.hardware.runner import Measurement

_BLOCK_S = 2e-4
"""A run is timed as a block of calls that takes about this long, so that the clock's own time does not count."""

_SEARCH_S = 1.0
"""How long the least time of the reference is looked for."""

_VERSION, _MOST_BYTES, _MOST_S = "1", 1 << 16, 1.0
_REFERENCE = "depthwise-16-32-8"
"""The calibration network whose last stage is the reference: many small layers, which other load slows as networks."""


@dataclass(frozen=True)
class Reference:
    """The reference of a machine.

    Attributes:
        identity: The machine, its software and the settings of the measurement.
        seconds: The least time of the reference there.
    """

    identity: str
    seconds: float


@dataclass(frozen=True)
class HostRunner:
    """Times files with onnxruntime on this machine, in turn with a reference whose time at full speed is known.

    With one thread, the time is that of the thread on the core: other programs that interrupt it do not count. With
    more threads it is the time that passes. Other load also slows what runs, by sharing caches, units and clock; a run
    counts in units of the reference beside it, and the median of these ratios is taken.

    Attributes:
        measurement: How it measures.
    """

    measurement: Measurement

    @cached_property
    def identity(self) -> str:
        import onnxruntime

        own = self.measurement
        cores = os.cpu_count()
        return (
            f"{_processor()} ({platform.node()}, {cores} cores), onnxruntime {onnxruntime.__version__}, "
            f"{own.arithmetic}, {own.threads} thread(s), {own.warm_up}+{own.repetitions} runs"
            f"{f', {own.version}' if own.version else ''}"
        )

    @property
    def method(self) -> str:
        clock = "CPU time of the thread" if self.measurement.threads == 1 else "time that passes"
        return (
            f"{clock} with onnxruntime on this machine, the median of {self.measurement.repetitions} runs in units "
            "of a reference that runs beside each, times the least time of the reference"
        )

    @property
    def measures_in_context(self) -> bool:
        return True

    def measure(self, file: TimedFile) -> TimedRuns:
        with _pinned(self.measurement.threads):
            timed = self._block(self._call(file))
            reference = self._reference
            full_speed = self._reference_s
            ratios = []
            for index in range(-self.measurement.warm_up, self.measurement.repetitions):
                ratio = timed() / reference()
                if index >= 0:
                    ratios.append(ratio)
        return TimedRuns.of_typical([ratio * full_speed for ratio in ratios])

    @cached_property
    def _reference(self) -> Callable[[], float]:
        network = next(item for item in calibration_networks() if item.name == _REFERENCE)
        return self._block(self._call(stage_files(network, self.measurement.arithmetic)[-1]))

    @cached_property
    def _reference_s(self) -> float:
        """Seconds of the reference at full speed: kept, so that all processes count in the same unit."""
        key = hashlib.sha256(f"{_VERSION}, {self.identity}".encode()).hexdigest()[:24]
        path = default_cache_path().with_name(f"measured-reference-{key}.json")
        with contextlib.suppress(OSError, InputError, ValueError):
            kept = jsonio.loads(Reference, read_file(path, limit=_MOST_BYTES).decode()).seconds
            if 0 < kept < _MOST_S:
                return kept
        end = time.monotonic() + _SEARCH_S
        least = self._reference()
        while time.monotonic() < end:
            least = min(least, self._reference())
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, jsonio.dumps(Reference(self.identity, least)))
        return least

    def _block(self, call: Callable[[], object]) -> Callable[[], float]:
        """A function that returns the seconds of a call, as the mean over a block of calls."""
        clock = time.thread_time_ns if self.measurement.threads == 1 else time.perf_counter_ns
        once = []
        for _ in range(3):
            start = clock()
            call()
            once.append(max(1, clock() - start))
        calls = max(1, round(_BLOCK_S * 1e9 / min(once)))

        def block() -> float:
            start = clock()
            for _ in range(calls):
                call()
            return max(1, clock() - start) * 1e-9 / calls

        return block

    def _call(self, file: TimedFile) -> Callable[[], object]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.measurement.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(file.content, options, providers=["CPUExecutionProvider"])
            feeds = {item.name: _values(item) for item in session.get_inputs()}
            session.run(None, feeds)
        # onnxruntime's exceptions have no base class of their own.
        except Exception as exc:
            raise ConfigError(
                f"onnxruntime must run {file.what} to measure it, got: {' '.join(str(exc).split())[:300]}."
            ) from exc
        return lambda: session.run(None, feeds)


def _values(item: Any) -> Any:
    """Random values for an input; an axis of open size, such as the batch, gets 1."""
    rng = np.random.default_rng(1)
    sizes = [size if isinstance(size, int) else 1 for size in item.shape]
    if "uint8" in item.type:
        return rng.integers(0, 256, sizes, dtype=np.uint8)
    return rng.standard_normal(sizes, dtype=np.float32)


def _processor() -> str:
    """The model of the processor, as the system names it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def _pinned(threads: int) -> Iterator[None]:
    """Keep the calling thread, and threads that it starts, on the last cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
