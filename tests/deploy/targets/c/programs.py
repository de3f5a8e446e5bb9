"""A network with every layer that C has, made of random integers; and the same in torch's integer arithmetic."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from offramp.deploy.targets.c.program import (
    Addition,
    AveragePool,
    Convolution,
    FeatureMap,
    Grid,
    Layer,
    MaxPool,
    Program,
    Requantisation,
    Scaling,
    Stage,
    Window,
    sources_of,
)
from offramp.deploy.targets.c.scalings import common_scaling_of, scaling_of
from offramp.nn.quantization.fixed_point import FixedPoint, rescale, shift_right

CLASSES = 5


class Maker:
    """Layers of random integers."""

    def __init__(self, seed: int, bits: int = 8) -> None:
        self.rng = np.random.default_rng(seed)
        self.limit = 2 ** (bits - 1)
        self.count = 0

    def map(self, height: int, width: int, channels: int, *, zero: int = 0, top: int = 255) -> FeatureMap:
        self.count += 1
        grid = Grid(np.float32(self.rng.uniform(0.01, 0.1)), zero, top)
        return FeatureMap(f"map {self.count}", height, width, channels, grid)

    def convolution(
        self, source: FeatureMap, output: FeatureMap, window: Window, groups: int = 1, ratio: float = 0.002
    ) -> Convolution:
        ratio *= 128 / self.limit
        shape = (output.channels, *window.kernel, source.channels // groups)
        steps = (self.rng.uniform(0.5, 2.0, output.channels) * ratio).astype(np.float32)
        return Convolution(
            f"conv {self.count} */",
            source,
            output,
            self.rng.integers(-self.limit, self.limit, shape).astype(np.int8),
            (self.rng.integers(-3000, 3000, output.channels) * self.limit // 128).astype(np.int32),
            window,
            groups,
            None if output.grid is None else scaling_of(steps),
            steps,
        )

    def logits(self, source: FeatureMap) -> Convolution:
        output = FeatureMap(f"logits of {source.name}", 1, 1, CLASSES, None)
        return self.convolution(source, output, Window((source.height, source.width)), ratio=2e-5)


def every_layer(seed: int = 1, bits: int = 8) -> Program:
    make = Maker(seed, bits)
    image = make.map(12, 10, 3, zero=120)
    a = make.map(12, 10, 6)
    b = make.map(12, 10, 6, zero=7, top=15)
    c = make.map(6, 5, 4, zero=100)
    d = make.map(3, 3, 4)
    e = make.map(6, 5, 4, zero=90)
    f = make.map(6, 5, 4, zero=30)
    g = make.map(3, 2, 4, zero=3)
    d = FeatureMap(d.name, 3, 3, 4, c.grid)
    first: tuple[Layer, ...] = (
        make.convolution(image, a, Window((3, 3), (1, 1), (1, 1), (1, 1))),
        make.convolution(a, b, Window((3, 3), (1, 1), (2, 2), (2, 2)), 6, 0.01),
        make.convolution(b, c, Window((3, 2), (2, 2), (1, 1), (1, 0)), 2, 0.05),
        MaxPool("maximum", c, d, Window((3, 2), (2, 2), (1, 1), (1, 1))),
        make.logits(d),
    )
    add = np.array([0.7, 1.3], dtype=np.float32)
    second: tuple[Layer, ...] = (
        Requantisation("grid", c, e, scaling_of(np.asarray(0.8, dtype=np.float32))),
        Addition("sum", (c, e), f, common_scaling_of(add)),
        AveragePool("mean", f, g, Window((3, 3), (2, 2), (1, 1), (1, 0)), scaling_of(np.asarray(0.3, np.float32))),
        make.logits(g),
    )
    stages = (first, second)
    logits = [layers[-1] for layers in stages]
    assert all(isinstance(layer, Convolution) for layer in logits)
    return Program(image, tuple(Stage(layers, layers[-1]) for layers in stages))  # type: ignore[arg-type]


def torch_sums(program: Program, inputs: np.ndarray) -> list[np.ndarray]:
    """Run the layers with the arithmetic of `offramp.nn.quantization.integer_layers`."""
    maps: dict[FeatureMap, Tensor] = {program.image: torch.from_numpy(inputs.astype(np.int64)).permute(0, 3, 1, 2)}
    results = []
    for stage in program.stages:
        for layer in stage.layers:
            maps[layer.output] = _torch(layer, [maps[item] for item in sources_of(layer)])
        results.append(maps[stage.logits.output].flatten(1).numpy())
    return results


def _torch(layer: Layer, stored: list[Tensor]) -> Tensor:
    centred = [
        values - item.grid.zero_point for values, item in zip(stored, sources_of(layer), strict=True) if item.grid
    ]
    if isinstance(layer, MaxPool):
        kernel, stride, padding = layer.window.kernel, layer.window.stride, layer.window.padding
        return F.max_pool2d(stored[0].double(), kernel, stride, padding)[
            :, :, : layer.output.height, : layer.output.width
        ].long()
    if isinstance(layer, Convolution):
        weight = torch.from_numpy(layer.weight.astype(np.float64)).permute(0, 3, 1, 2)
        window = layer.window
        whole = F.conv2d(
            centred[0].double(), weight, None, window.stride, window.padding, window.dilation, layer.groups
        )
        total = whole.round().long() + torch.from_numpy(layer.bias.astype(np.int64)).view(-1, 1, 1)
        return total if layer.scaling is None else _stored(rescale(total, _factor(layer.scaling, True)), layer.output)
    if isinstance(layer, Addition):
        first, second = (int(value) for value in layer.scaling.multiplier)
        total = centred[0] * first + centred[1] * second
        return _stored(shift_right(total, torch.tensor(int(layer.scaling.shift[0]))), layer.output)
    total = centred[0]
    if isinstance(layer, AveragePool):
        kernel, window = layer.window.kernel, layer.window
        total = F.avg_pool2d(total.double(), kernel, window.stride, window.padding, divisor_override=1).round().long()
    return _stored(rescale(total, _factor(layer.scaling, False)), layer.output)


def _factor(scaling: Scaling, per_channel: bool) -> FixedPoint:
    shape = (-1, 1, 1) if per_channel else ()
    return FixedPoint(*(torch.tensor(value).reshape(shape) for value in (scaling.multiplier, scaling.shift)))


def _stored(values: Tensor, output: FeatureMap) -> Tensor:
    assert output.grid is not None
    return (values + output.grid.zero_point).clamp(0, output.grid.top)
