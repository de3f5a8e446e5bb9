"""Random early-exit networks and accelerators for the mapper, small enough to price at once."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import strategies as st

from offramp.hardware.accelerator import Accelerator, Core, CoreKind, Link
from offramp.hardware.loader import load_accelerator
from offramp.testing.layer_shapes import square_convolution
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op

conv = square_convolution


def quad(activation_kib: float | None = None, weight_kib: float | None = None) -> Accelerator:
    """The shipped accelerator, if wanted with smaller memories in its compute cores."""
    accelerator = load_accelerator("edge-tpu-quad")

    def shrunk(core: Core) -> Core:
        if core.kind is not CoreKind.COMPUTE:
            return core
        sizes = {"sram_2MB": activation_kib, "sram_32KB": weight_kib}
        memories = tuple(
            replace(memory, size_bits=int(size * 8192)) if (size := sizes.get(memory.name)) else memory
            for memory in core.memories
        )
        return replace(core, memories=memories)

    return replace(accelerator, cores=tuple(shrunk(core) for core in accelerator.cores))


def team_of(count: int) -> Accelerator:
    """``count`` compute cores in a row and a DRAM; no pooling and no SIMD core."""
    full = quad()
    model, offchip = full.cores[0], full.cores_of(CoreKind.OFFCHIP)[0]
    cores = tuple(replace(model, name=f"npu{index}") for index in range(count))
    links: list[Link] = []
    for one, two in pairwise(cores):
        links += [Link(one.name, two.name, 32, 0.5), Link(two.name, one.name, 32, 0.5)]
    for core in cores:
        links += [Link(core.name, offchip.name, 64, shared="bus"), Link(offchip.name, core.name, 64, shared="bus")]
    return Accelerator(f"row of {count}", (*cores, offchip), tuple(links))


def branch(stage: int, source: str, channels: int, size: int) -> list[Layer]:
    pool = LayerShape(Op.MAX_POOL, g=channels, oy=1, ox=1, fy=size, fx=size, iy=size, ix=size)
    dense = LayerShape(Op.DENSE, k=5, c=channels)
    return [
        Layer(f"pool{stage}", pool, (source,), stage, Role.BRANCH),
        Layer(f"fc{stage}", dense, (f"pool{stage}",), stage, Role.BRANCH),
    ]


@st.composite
def networks(draw: st.DrawFn) -> Workload:
    """Convolutions of all kinds, additions, activation functions, and one to three exits."""
    size, channels = draw(st.sampled_from([4, 7, 8, 12])), draw(st.sampled_from([3, 8, 20]))
    layers: list[Layer] = []
    exits: list[str] = []
    source = GRAPH_INPUT
    stages = draw(st.integers(1, 3))
    for stage in range(stages):
        for number in range(draw(st.integers(1, 3))):
            name = f"s{stage}l{number}"
            kind = draw(st.sampled_from(["point", "full", "deep", "residual", "active"]))
            if kind == "active" and source != GRAPH_INPUT:
                shape = LayerShape(Op.ACTIVATION, g=channels, oy=size, ox=size, iy=size, ix=size)
                layers.append(Layer(name, shape, (source,), stage, Role.BACKBONE))
            elif kind == "residual" and source != GRAPH_INPUT:
                layers.append(Layer(f"{name}c", conv(size, channels, channels, 3), (source,), stage, Role.BACKBONE))
                shape = LayerShape(Op.ADD, g=channels, oy=size, ox=size, iy=size, ix=size)
                layers.append(Layer(name, shape, (f"{name}c", source), stage, Role.BACKBONE))
            elif kind == "deep":
                stride, kernel = draw(st.sampled_from([1, 2])), draw(st.sampled_from([3, 5]))
                shape = conv(size, channels, channels, kernel, stride, channels)
                layers.append(Layer(name, shape, (source,), stage, Role.BACKBONE))
                size = shape.oy
            else:
                outputs = draw(st.sampled_from([8, 20, 48]))
                shape = conv(size, channels, outputs, 3 if kind == "full" else 1)
                layers.append(Layer(name, shape, (source,), stage, Role.BACKBONE))
                channels = outputs
            source = name
        layers += branch(stage, source, channels, size)
        exits.append(f"fc{stage}")
    return Workload("random", tuple(layers), tuple(exits))
