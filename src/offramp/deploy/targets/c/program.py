"""The layers of a network as C computes them: maps in memory order (height, width, channels), weights, requantisation.

The integer layers are those of `offramp.nn.quantization.integer_layers`, without torch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """What the integers of a map stand for: ``step * (integer - zero_point)``.

    Attributes:
        step: The step, a float32 number.
        zero_point: The integer that stands for 0, from 0 to 255.
        top: The largest integer, from 1 to 255; the smallest is 0.
    """

    step: np.float32
    zero_point: int
    top: int


@dataclass(frozen=True)
class FeatureMap:
    """Values that one layer writes and others read.

    Attributes:
        name: Its name in the ONNX file.
        height: Rows.
        width: Columns.
        channels: Channels.
        grid: The grid of its integers; None for floats and for sums.
    """

    name: str
    height: int
    width: int
    channels: int
    grid: Grid | None

    @property
    def size(self) -> int:
        """How many values it has."""
        return self.height * self.width * self.channels


def grid_of(source: FeatureMap) -> Grid:
    """Give the grid of a map of integers.

    Args:
        source: The map.

    Returns:
        Its grid.
    """
    assert source.grid is not None
    return source.grid


@dataclass(frozen=True)
class Window:
    """Windows of a convolution or pooling.

    Attributes:
        kernel: Height and width.
        stride: Vertical and horizontal distance of windows.
        dilation: Vertical and horizontal distance of the values in a window.
        padding: Rows above and columns left of the map.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class Scaling:
    """Factors ``multiplier * 2**-shift``, see `offramp.nn.quantization.fixed_point`.

    Attributes:
        multiplier: int64, one or one per channel.
        shift: int64, of the same shape.
    """

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution; a linear layer is one whose window is the whole map.

    Attributes:
        name: Name for messages.
        source: The map it reads.
        output: The map it writes; the sums of an exit have no grid.
        weight: int8, (out channels, kernel height, kernel width, channels of a group).
        bias: int32, (out channels,).
        window: The windows.
        groups: Into how many groups the channels are divided.
        scaling: From sums to the grid of the output; None where the sums are the result.
        steps: What a sum of 1 stands for, float32, (out channels,).
    """

    name: str
    source: FeatureMap
    output: FeatureMap
    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    window: Window
    groups: int
    scaling: Scaling | None
    steps: NDArray[np.float32]

    @property
    def largest_sums(self) -> NDArray[np.int64]:
        """Bounds of the absolute sums, (out channels,)."""
        grid = self.source.grid
        assert grid is not None
        largest = max(grid.zero_point, grid.top - grid.zero_point)
        weights = np.abs(self.weight.astype(np.int64)).reshape(len(self.weight), -1).sum(axis=1)
        result: NDArray[np.int64] = weights * largest + np.abs(self.bias.astype(np.int64))
        return result

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has a convolution of its own."""
        return self.groups == self.source.channels == self.output.channels > 1


@dataclass(frozen=True, eq=False)
class Addition:
    """The sum of two maps, each on its own grid.

    Attributes:
        name: Name for messages.
        sources: The two maps.
        output: The map it writes.
        scaling: A multiplier per map, with one shift.
    """

    name: str
    sources: tuple[FeatureMap, FeatureMap]
    output: FeatureMap
    scaling: Scaling


@dataclass(frozen=True, eq=False)
class AveragePool:
    """Averages over windows, requantised; padding counts as zeros.

    Attributes:
        name: Name for messages.
        source: The map it reads.
        output: The map it writes.
        window: The windows.
        scaling: From the sum of a window to the grid of the output.
    """

    name: str
    source: FeatureMap
    output: FeatureMap
    window: Window
    scaling: Scaling


@dataclass(frozen=True, eq=False)
class MaxPool:
    """Maxima over windows, on the grid of the source.

    Attributes:
        name: Name for messages.
        source: The map it reads.
        output: The map it writes.
        window: The windows.
    """

    name: str
    source: FeatureMap
    output: FeatureMap
    window: Window


@dataclass(frozen=True, eq=False)
class Requantisation:
    """The values of a map on another grid.

    Attributes:
        name: Name for messages.
        source: The map it reads.
        output: The map it writes.
        scaling: From one grid to the other.
    """

    name: str
    source: FeatureMap
    output: FeatureMap
    scaling: Scaling


Layer = Convolution | Addition | AveragePool | MaxPool | Requantisation


def sources_of(layer: Layer) -> tuple[FeatureMap, ...]:
    """Give the maps that a layer reads.

    Args:
        layer: The layer.

    Returns:
        The maps, in order.
    """
    return layer.sources if isinstance(layer, Addition) else (layer.source,)


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage: layers in order, the last map of which may go on to the next stage.

    Attributes:
        layers: The layers; one of them writes the logits.
        logits: The layer that writes the logits as sums.
    """

    layers: tuple[Layer, ...]
    logits: Convolution


@dataclass(frozen=True, eq=False)
class Program:
    """A network as C computes it.

    Attributes:
        image: The quantised network input.
        stages: The stages.
    """

    image: FeatureMap
    stages: tuple[Stage, ...]


def static_program(program: Program) -> Program:
    """Give the network without early exits: the layers that its last logits need.

    Args:
        program: The network.

    Returns:
        One stage.
    """
    last = program.stages[-1].logits
    needed: set[FeatureMap] = {last.source}
    layers: list[Layer] = [last]
    for layer in reversed([layer for stage in program.stages for layer in stage.layers if layer is not last]):
        if layer.output in needed:
            layers.append(layer)
            needed.update(sources_of(layer))
    return Program(program.image, (Stage(tuple(reversed(layers)), last),))
