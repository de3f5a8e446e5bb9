"""Cores small enough to price by hand."""

from offramp.hardware.accelerator import (
    ArrayDimension,
    Core,
    CoreKind,
    MemoryLevel,
    OperandPorts,
    Port,
    PortKind,
    SpatialLoop,
)


def memory(
    name: str,
    operands: str,
    size_bits: int = 10**9,
    bandwidth_bits: int = 8,
    served: tuple[str, ...] = ("D1",),
    double_buffering: bool = False,
) -> MemoryLevel:
    """A memory with one read and one write port; a read costs 1 pJ, a write 10 pJ."""
    ports = tuple(
        OperandPorts(link, "w_port_1", "r_port_1", "w_port_1", "r_port_1")  # type: ignore[arg-type]
        if link == "O"
        else OperandPorts(link, "w_port_1", "r_port_1")  # type: ignore[arg-type]
        for link in operands.split()
    )
    return MemoryLevel(
        name=name,
        size_bits=size_bits,
        ports=(
            Port("r_port_1", PortKind.READ, bandwidth_bits, bandwidth_bits),
            Port("w_port_1", PortKind.WRITE, bandwidth_bits, bandwidth_bits),
        ),
        operand_ports=ports,
        read_energy_pj=1.0,
        write_energy_pj=10.0,
        served_dimensions=served,
        double_buffering=double_buffering,
    )


def core(
    *memories: MemoryLevel,
    lanes: int = 2,
    dataflow: tuple[SpatialLoop, ...] = (),
    systolic: tuple[str, ...] = (),
) -> Core:
    """Multipliers side by side along D1, 100 pJ per operation; by default one memory for everything."""
    return Core(
        name="toy",
        kind=CoreKind.COMPUTE,
        array=(ArrayDimension("D1", lanes),),
        mac_energy_pj=100.0,
        memories=memories or (memory("ram", "I1 I2 O"),),
        dataflow=dataflow,
        systolic_dimensions=systolic,
    )
