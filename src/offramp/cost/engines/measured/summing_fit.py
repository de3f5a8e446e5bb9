"""How the time of a whole network follows from the sum over its layers, fitted on networks that were measured whole."""

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp import jsonio
from offramp.cost.engines.measured.calibration_networks import calibration_networks
from offramp.cost.engines.measured.engine import MeasuredEngine
from offramp.cost.engines.measured.network_files import stage_files
from offramp.errors import InputError
from offramp.files.safe_files import read_file, write_atomically
from offramp.workload.graph import Workload

_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class SummingFit:
    """Seconds of a stage = ``call_s`` + ``scale`` * sum over its layers.

    Attributes:
        call_s: Seconds of a call, whatever it computes.
        scale: Time of a layer within a network, in units of the layer's measured time.
        mean_error: Mean relative error of the prediction of a stage that the fit has not seen.
        largest_error: The largest of these errors.
        stages: Number of stages that were measured whole.
    """

    call_s: float
    scale: float
    mean_error: float
    largest_error: float
    stages: int

    def __post_init__(self) -> None:
        figures = (self.call_s, self.mean_error, self.largest_error)
        if not (all(np.isfinite(value) and value >= 0 for value in figures) and 0 < self.scale < np.inf):
            raise ValueError(f"figures must be finite and at least 0, and the scale above 0, got {self}.")

    def seconds(self, layers_s: float) -> float:
        """Predict the time of a stage.

        Args:
            layers_s: The sum over its layers in seconds.

        Returns:
            Seconds.
        """
        return self.call_s + self.scale * layers_s

    @property
    def sentence(self) -> str:
        """What was fitted and how far it is off, for reports."""
        return (
            f"A stage takes {self.call_s * 1e6:.3g} us for the call and {self.scale:.3g} times the sum of its layers, "
            f"as fitted on {self.stages} stages that were measured whole. On a stage left out of the fit this is "
            f"off by {self.mean_error:.1%} on average and {self.largest_error:.1%} at most."
        )


def fit_sums(layers_s: Sequence[float], whole_s: Sequence[float]) -> SummingFit:
    """Fit the error of summing: least squares of the relative error, and its size on each stage left out in turn.

    Args:
        layers_s: Sum over the layers of each stage in seconds, at least three stages.
        whole_s: Measured time of each stage in seconds.

    Returns:
        The fit.

    Raises:
        ValueError: There are fewer than three stages.
    """
    sums, wholes = np.asarray(layers_s, dtype=float), np.asarray(whole_s, dtype=float)
    if len(sums) < 3 or len(sums) != len(wholes):
        raise ValueError(f"a fit needs at least three stages, each measured both ways, got {len(sums)}.")
    errors = []
    for left_out in range(len(sums)):
        kept = np.arange(len(sums)) != left_out
        call_s, scale = _line(sums[kept], wholes[kept])
        errors.append(abs((call_s + scale * sums[left_out]) / wholes[left_out] - 1.0))
    call_s, scale = _line(sums, wholes)
    return SummingFit(call_s, scale, float(np.mean(errors)), float(np.max(errors)), len(sums))


def _line(sums: NDArray[np.float64], wholes: NDArray[np.float64]) -> tuple[float, float]:
    """Offset and slope, neither negative: where the best offset is, a line through the origin."""
    columns = np.column_stack([np.ones_like(sums), sums]) / wholes[:, None]
    (call_s, scale), *_ = np.linalg.lstsq(columns, np.ones_like(sums))
    if call_s < 0 or scale <= 0:
        call_s, scale = 0.0, float(np.median(wholes / sums))
    return float(call_s), float(scale)


def calibrated(
    engine: MeasuredEngine, layer_seconds: Callable[[Workload], Sequence[float]], folder: Path
) -> SummingFit:
    """Find the fit of a device: from the file of an earlier one, or by measuring the calibration networks.

    Args:
        engine: What measures.
        layer_seconds: Gives the sum over the layers of each stage of a network.
        folder: Where fits are kept, a file per device and version.

    Returns:
        The fit.

    Raises:
        ConfigError: A network cannot be measured.
    """
    key = hashlib.sha256(engine.version.encode()).hexdigest()[:24]
    path = folder / f"measured-fit-{key}.json"
    # Without a file, or with a damaged one, the fit is made anew.
    with contextlib.suppress(OSError, InputError, ValueError):
        return jsonio.loads(SummingFit, read_file(path, limit=_MOST_BYTES).decode())
    sums: list[float] = []
    wholes: list[float] = []
    for network in calibration_networks():
        sums += layer_seconds(network)
        wholes += [engine.measure(file).seconds for file in stage_files(network, engine.arithmetic)]
    fit = fit_sums(sums, wholes)
    # Where it cannot be kept, it holds for this process.
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, jsonio.dumps(fit))
    return fit
