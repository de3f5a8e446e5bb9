"""Small networks of usual kinds, which are measured layer by layer and as a whole to fit the error of sums."""

from dataclasses import dataclass, field

from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op, conv_output_size


@dataclass
class _Builder:
    """A network with one early exit under construction."""

    channels: int
    size: int
    last: str = GRAPH_INPUT
    layers: list[Layer] = field(default_factory=list)
    exits: list[str] = field(default_factory=list)
    role: Role = Role.BACKBONE

    def conv(self, channels: int, kernel: int = 3, stride: int = 1, *, depthwise: bool = False) -> str:
        size = conv_output_size(self.size, kernel, stride, 2 * (kernel // 2))
        groups = self.channels if depthwise else 1
        shape = LayerShape(
            Op.CONV,
            g=groups,
            k=channels // groups,
            c=self.channels // groups,
            stride_y=stride,
            stride_x=stride,
            padding=(kernel // 2,) * 4,
            oy=size,
            ox=size,
            iy=self.size,
            ix=self.size,
            fy=kernel,
            fx=kernel,
        )
        self.channels, self.size = channels, size
        return self._add(shape, (self.last,))

    def add(self, other: str) -> str:
        size = self.size
        return self._add(LayerShape(Op.ADD, g=self.channels, oy=size, ox=size, iy=size, ix=size), (self.last, other))

    def leave(self) -> None:
        """End the stage with a branch: a convolution and a classifier."""
        backbone, channels, size = self.last, self.channels, self.size
        self.role = Role.BRANCH
        self.conv(2 * channels, stride=2)
        self._classify()
        self.last, self.channels, self.size, self.role = backbone, channels, size, Role.BACKBONE

    def finish(self, name: str) -> Workload:
        """End the network with a classifier."""
        self.role = Role.BRANCH
        self._classify()
        return Workload(name, tuple(self.layers), tuple(self.exits))

    def _classify(self) -> None:
        size = self.size
        self._add(LayerShape(Op.AVG_POOL, g=self.channels, iy=size, ix=size, fy=size, fx=size), (self.last,))
        self.exits.append(self._add(LayerShape(Op.DENSE, c=self.channels, k=10), (self.last,)))

    def _add(self, shape: LayerShape, inputs: tuple[str, ...]) -> str:
        self.last = f"layer_{len(self.layers)}"
        self.layers.append(Layer(self.last, shape, inputs, len(self.exits), self.role))
        return self.last


def calibration_networks() -> tuple[Workload, ...]:
    """Build the networks.

    Returns:
        Plain, residual, depthwise and inverted residual networks of two stages, for images of 8 to 32 pixels.
    """
    return (
        *(_plain(size, width, depth) for size, width, depth in ((32, 16, 2), (8, 16, 3), (16, 32, 4))),
        *(_residual(size, width, blocks) for size, width, blocks in ((32, 16, 2), (8, 24, 4), (16, 32, 3))),
        *(_depthwise(size, width, blocks) for size, width, blocks in ((32, 16, 4), (8, 32, 6), (16, 32, 8))),
        *(_inverted(size, width, blocks) for size, width, blocks in ((32, 16, 3), (8, 16, 5))),
    )


def _plain(size: int, width: int, depth: int) -> Workload:
    net = _Builder(3, size)
    for index in range(depth):
        net.conv(width * 2**index, stride=2 if index else 1)
        if index == 0:
            net.leave()
    return net.finish(f"plain-{size}-{width}-{depth}")


def _residual(size: int, width: int, blocks: int) -> Workload:
    net = _Builder(3, size)
    net.conv(width)
    for index in range(blocks):
        before = net.last
        stride = 2 if index % 2 else 1
        if stride == 2:
            channels, rows = net.channels, net.size
            shortcut = net.conv(2 * width, kernel=1, stride=2)
            net.last, net.channels, net.size = before, channels, rows
            before, width = shortcut, 2 * width
        net.conv(width, stride=stride)
        net.conv(width)
        net.add(before)
        if index == blocks // 2 - 1:
            net.leave()
    return net.finish(f"residual-{size}-{width}-{blocks}")


def _depthwise(size: int, width: int, blocks: int) -> Workload:
    net = _Builder(3, size)
    net.conv(width)
    for index in range(blocks):
        net.conv(net.channels, stride=2 if index in (1, 3) else 1, depthwise=True)
        net.conv(width * (2 if index >= 2 else 1), kernel=1)
        if index == blocks // 2 - 1:
            net.leave()
    return net.finish(f"depthwise-{size}-{width}-{blocks}")


def _inverted(size: int, width: int, blocks: int) -> Workload:
    net = _Builder(3, size)
    net.conv(width)
    for index in range(blocks):
        before, stride = net.last, 2 if index == 1 else 1
        net.conv(4 * width, kernel=1)
        net.conv(4 * width, stride=stride, depthwise=True)
        net.conv(width, kernel=1)
        if stride == 1:
            net.add(before)
        if index == blocks // 2:
            net.leave()
    return net.finish(f"inverted-{size}-{width}-{blocks}")
