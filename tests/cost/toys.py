"""Small accelerators and an engine whose prices can be worked out by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from offramp.cost.report import LayerCost, MemoryEnergy
from offramp.hardware.accelerator import (
    Accelerator,
    ArrayDimension,
    Core,
    CoreKind,
    Link,
    MemoryLevel,
    MemoryOperand,
    OperandPorts,
    Port,
    PortKind,
)
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op

OPERANDS: tuple[MemoryOperand, ...] = ("I1", "I2", "O")


def memory(name: str, size_bits: int, width_bits: int = 64, read_pj: float = 1.0, write_pj: float = 2.0) -> MemoryLevel:
    """A memory with one port for everything."""
    ports = tuple(OperandPorts(x, "p", "p", "p" if x == "O" else None, "p" if x == "O" else None) for x in OPERANDS)
    port = Port("p", PortKind.READ_WRITE, width_bits, width_bits)
    return MemoryLevel(name, size_bits, (port,), ports, read_pj, write_pj, ("D1",))


def core(name: str, kind: CoreKind, size_bits: int = 10**9, width_bits: int = 64) -> Core:
    return Core(name, kind, (ArrayDimension("D1", 4),), 0.5, (memory("ram", size_bits, width_bits),))


def toy_accelerator(
    *, compute_bits: int = 10**9, pooling_bits: int | None = 10**9, simd_bits: int | None = 10**9, offchip: bool = True
) -> Accelerator:
    """One compute core; 64 bits per cycle to the off-chip memory, 32 to the pooling core, no time to the SIMD core."""
    cores = [core("npu", CoreKind.COMPUTE, compute_bits)]
    links: list[Link] = []
    if pooling_bits is not None:
        cores.append(core("pool", CoreKind.POOLING, pooling_bits))
        links += [Link("npu", "pool", 32), Link("pool", "npu", 32)]
    if simd_bits is not None:
        cores.append(core("simd", CoreKind.SIMD, simd_bits))
        links += [Link("npu", "simd", None), Link("simd", "npu", None)]
        if pooling_bits is not None:
            links += [Link("pool", "simd", None), Link("simd", "pool", None)]
    if offchip:
        for other in [x.name for x in cores]:
            links += [Link(other, "dram", 64, shared="bus"), Link("dram", other, 64, shared="bus")]
        cores.append(core("dram", CoreKind.OFFCHIP))
    return Accelerator("toy", tuple(cores), tuple(links))


@dataclass
class ToyEngine:
    """100 cycles and 7 pJ a layer, 5 cycles of draining; remembers what it was asked."""

    compute_cycles: float = 100.0
    asked: list[tuple[LayerShape, Core]] = field(default_factory=list)
    version: str = "1"

    @property
    def name(self) -> str:
        return "toy"

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        self.asked += jobs
        energies = (MemoryEnergy("ram", "I", 4.0), MemoryEnergy("ram", "O", 2.0))
        return [LayerCost(self.compute_cycles, 0.0, 0.0, 5.0, 1.0, energies, 0.5) for _ in jobs]


def conv(channels_in: int = 4, channels_out: int = 4, size: int = 8, kernel: int = 3) -> LayerShape:
    pad = kernel // 2
    return LayerShape(
        Op.CONV,
        k=channels_out,
        c=channels_in,
        oy=size,
        ox=size,
        fy=kernel,
        fx=kernel,
        iy=size,
        ix=size,
        padding=(pad, pad, pad, pad),
    )


def pool(channels: int = 4, size: int = 8, window: int = 4) -> LayerShape:
    out = size // window
    return LayerShape(
        Op.MAX_POOL,
        g=channels,
        oy=out,
        ox=out,
        fy=window,
        fx=window,
        iy=size,
        ix=size,
        stride_y=window,
        stride_x=window,
    )


def add(channels: int = 4, size: int = 8) -> LayerShape:
    return LayerShape(Op.ADD, g=channels, oy=size, ox=size, iy=size, ix=size)


def dense(inputs: int, outputs: int = 10) -> LayerShape:
    return LayerShape(Op.DENSE, k=outputs, c=inputs)


def layer(name: str, shape: LayerShape, *inputs: str, stage: int = 0, role: Role = Role.BACKBONE) -> Layer:
    return Layer(name, shape, inputs or (GRAPH_INPUT,), stage, role)


def two_exit_workload() -> Workload:
    """conv a -> conv b -> exit 0 (pool, dense); conv c on b, added to b -> exit 1 (pool, dense). 4 x 8 x 8 maps."""
    branch = Role.BRANCH
    return Workload(
        "toy",
        (
            layer("a", conv(3)),
            layer("b", conv(), "a"),
            layer("pool0", pool(), "b", role=branch),
            layer("fc0", dense(16), "pool0", role=branch),
            layer("c", conv(), "b", stage=1),
            layer("sum", add(), "c", "b", stage=1),
            layer("pool1", pool(), "sum", stage=1, role=branch),
            layer("fc1", dense(16), "pool1", stage=1, role=branch),
        ),
        ("fc0", "fc1"),
    )
