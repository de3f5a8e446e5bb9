"""Residual networks for 32x32 images as workloads, with 1x1 convolutions where a block changes its width."""

from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op


def conv(channels: int, inputs: int, size: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> LayerShape:
    """A square convolution with half a kernel of padding; ``channels`` and ``inputs`` per group."""
    return LayerShape(
        Op.CONV,
        g=groups,
        k=channels,
        c=inputs,
        oy=size,
        ox=size,
        fy=kernel,
        fx=kernel,
        iy=size * stride,
        ix=size * stride,
        stride_y=stride,
        stride_x=stride,
        padding=((kernel - 1) // 2,) * 4,
    )


def depthwise(channels: int, size: int) -> LayerShape:
    return conv(1, 1, size, groups=channels)


def add(channels: int, size: int) -> LayerShape:
    return LayerShape(Op.ADD, g=channels, oy=size, ox=size, iy=size, ix=size)


def average(channels: int, size: int) -> LayerShape:
    return LayerShape(Op.AVG_POOL, g=channels, fy=size, fx=size, iy=size, ix=size)


def residual_network(blocks_per_stage: int) -> Workload:
    """ResNet-8 of MLPerf Tiny (1 block a stage), ResNet-20 (3)."""
    layers: list[Layer] = []

    def put(name: str, shape: LayerShape, *inputs: str, role: Role = Role.BACKBONE) -> str:
        layers.append(Layer(name, shape, inputs, 0, role))
        return name

    last, width, size = put("stem", conv(16, 3, 32), GRAPH_INPUT), 16, 32
    for stage, channels in enumerate((16, 32, 64)):
        for block in range(blocks_per_stage):
            stride = 2 if stage and not block else 1
            size //= stride
            name = f"stage{stage}.block{block}"
            first = put(f"{name}.first", conv(channels, width, size, 3, stride), last)
            second = put(f"{name}.second", conv(channels, channels, size), first)
            if channels != width:
                last = put(f"{name}.shortcut", conv(channels, width, size, 1, stride), last)
            last, width = put(f"{name}.add", add(channels, size), second, last), channels
    pooled = put("pool", average(64, 8), last)
    put("classifier", LayerShape(Op.DENSE, k=10, c=64), pooled, role=Role.BRANCH)
    return Workload(f"resnet{6 * blocks_per_stage + 2}", tuple(layers), ("classifier",))


def two_exits(*, decided: int | None = None) -> Workload:
    """A convolution, an exit behind it, another convolution and the final classifier."""
    branch, backbone = Role.BRANCH, Role.BACKBONE
    layers = (
        Layer("stem", conv(16, 3, 32), (GRAPH_INPUT,), 0, backbone),
        Layer("early.conv", conv(16, 16, 16, 3, 2), ("stem",), 0, branch),
        Layer("early.pool", average(16, 16), ("early.conv",), 0, branch),
        Layer("early.linear", LayerShape(Op.DENSE, k=10, c=16), ("early.pool",), 0, branch),
        Layer("block", conv(32, 16, 16, 3, 2), ("stem",), 1, backbone, decided),
        Layer("final.pool", average(32, 16), ("block",), 1, branch),
        Layer("final.linear", LayerShape(Op.DENSE, k=10, c=32), ("final.pool",), 1, branch),
    )
    return Workload("two exits", layers, ("early.linear", "final.linear"))
