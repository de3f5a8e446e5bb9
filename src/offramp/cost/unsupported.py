"""The error of an engine that does not support some layers; it names all of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from offramp.errors import UnsupportedLayerError
from offramp.workload.layer import LayerShape, Op


@dataclass(frozen=True)
class UnpricedJob:
    """A layer that an engine cannot price on a core.

    Attributes:
        shape: The layer.
        core: Name of the core.
        reason: Why not, as part of a sentence.
    """

    shape: LayerShape
    core: str
    reason: str


class UnpricedJobsError(UnsupportedLayerError):
    """Some layers have no price. Engines know shapes but no names of layers; the cost model adds the names.

    Attributes:
        engine: Name of the engine.
        jobs: The layers without a price.
    """

    def __init__(self, engine: str, jobs: Sequence[UnpricedJob]) -> None:
        """Describe every layer and its reason.

        Args:
            engine: Name of the engine.
            jobs: The layers without a price.
        """
        self.engine = engine
        self.jobs = tuple(jobs)
        described = "; ".join(f"{describe(job.shape)} on core {job.core!r}: {job.reason}" for job in self.jobs)
        super().__init__(f"Engine {engine!r} cannot price {len(self.jobs)} layer(s): {described}.")


def describe(shape: LayerShape) -> str:
    """Describe a layer shape in a few words.

    Args:
        shape: The layer.

    Returns:
        Operator, kernel, channels, output size and bit widths.
    """
    kernel = f" {shape.fy}x{shape.fx}" if shape.fy * shape.fx > 1 else ""
    groups = f" in {shape.g} groups" if shape.g > 1 and shape.op is Op.CONV else ""
    channels = f"{shape.g * shape.c} -> {shape.g * shape.k} channels{groups}"
    bits = f"{shape.weight_bits}-bit weights, {shape.activation_bits}-bit activations"
    if shape.weight_density < 1:
        bits += f", {shape.weight_density:.3g} of the weights nonzero"
    if shape.input_bits:
        bits += f", inputs of {' and '.join(map(str, shape.input_bits))} bits"
    return f"{shape.op.value}{kernel}, {channels}, output {shape.oy}x{shape.ox}, {bits}"
