"""In-memory computing arrays, analog and digital: energy of the operations of a layer.

Source: the gate-level model of zigzag-dse 3.9.1 (Houshmand, Sun, Verhelst, arXiv:2305.18335), 28 nm at 0.9 V. The first
array dimension runs along the word lines (columns, outputs), the second along the bit lines (rows, inputs), others
count banks.
"""

import math
from dataclasses import dataclass

from offramp.cost.engines.native.loop_nest import LoopNest
from offramp.hardware.accelerator import Core, ImcArray, SpatialLoop

VDD_SQUARED = 0.9**2
NAND_PF = 0.7e-3
XOR_PF = 1.5 * NAND_PF
REGISTER_PF = 3 * NAND_PF
BIT_LINE_PF = NAND_PF / 2

ADDER_PJ = (3 * NAND_PF + 2 * XOR_PF) * VDD_SQUARED
HALF_ADDER_PJ = 2 * XOR_PF * VDD_SQUARED
MULTIPLIER_PJ = 0.5 * NAND_PF * VDD_SQUARED
REGISTER_PJ = REGISTER_PF * VDD_SQUARED


@dataclass(frozen=True)
class ImcGeometry:
    """Array sizes and the bit widths between a column and a result.

    Attributes:
        columns: Size of the first array dimension, along the word lines (outputs).
        rows: Size of the second array dimension, along the bit lines (inputs); 1 where there is none.
        weight_bits: Bits of a weight in the array.
        serial_bits: Bits of an activation that enter the array in one cycle.
        adc_bits: Resolution of the converters of an analog array.
        activation_bits: Bits of an activation.
        analog: Whether columns are summed by analog circuits; otherwise by adder trees.
    """

    columns: int
    rows: int
    weight_bits: int
    serial_bits: int
    adc_bits: int
    activation_bits: int
    analog: bool

    @classmethod
    def of(cls, core: Core, imc: ImcArray) -> "ImcGeometry":
        """Read the geometry from a core.

        Args:
            core: A core with an in-memory array.
            imc: That array.

        Returns:
            The geometry; array dimensions are taken in the order of their names.
        """
        sizes = [item.size for item in sorted(core.array, key=lambda item: item.name)]
        return cls(
            columns=sizes[0],
            rows=sizes[1] if len(sizes) > 1 else 1,
            weight_bits=imc.weight_bits,
            serial_bits=imc.bit_serial_bits,
            adc_bits=imc.adc_resolution_bits,
            activation_bits=imc.activation_bits,
            analog=imc.kind == "analog",
        )

    @property
    def cycles_per_operation(self) -> float:
        """Cycles until all bits of an activation have entered the array."""
        return self.activation_bits / self.serial_bits

    @property
    def tree_depth(self) -> int:
        """Stages of the adder tree that sums a column of a digital array."""
        return int(math.log2(self.rows))

    @property
    def placed_inputs(self) -> int:
        """Numbers of different significance that are added: weight bits of an analog, input bits of a digital array."""
        return self.weight_bits if self.analog else self.serial_bits

    @property
    def placed_bits(self) -> int:
        """Bits of one of the numbers of different significance that are added."""
        return self.adc_bits if self.analog else self.weight_bits + self.tree_depth

    @property
    def accumulator_bits(self) -> float:
        """Bits of the register that sums over the bits of an activation."""
        column = self.adc_bits if self.analog else math.log2(self.rows)
        return self.activation_bits + column + self.weight_bits


def why_not(core: Core) -> str:
    """Return why the model does not cover the array of a core.

    Args:
        core: Any core.

    Returns:
        The reason; empty where the model covers the array, or the core has no in-memory array.
    """
    if core.imc is None:
        return ""
    innermost = next(memory for memory in core.memories if "I2" in memory.operands)
    if innermost.size_bits > core.imc.weight_bits:
        return (
            f"a cell of its array holds {innermost.size_bits} bits, more than one {core.imc.weight_bits}-bit weight, "
            "which the in-memory computing model does not cover"
        )
    if core.imc.kind == "digital" and math.log2(ImcGeometry.of(core, core.imc).rows) % 1:
        return "the rows of a digital in-memory array must be a power of two"
    return ""


def operation_energy_pj(nest: LoopNest, core: Core, imc: ImcArray, mapping: tuple[SpatialLoop, ...]) -> float:
    """Return the energy of all operations of a layer; idle columns and rows take none.

    Args:
        nest: The layer's loops.
        core: The core.
        imc: The core's in-memory array.
        mapping: The spatial mapping.

    Returns:
        Energy in pJ.
    """
    array = ImcGeometry.of(core, imc)
    names = sorted(item.name for item in core.array)
    on_columns = [loop for loop in mapping if loop.array_dimension == names[0]]
    on_rows = [loop for loop in mapping if len(names) > 1 and loop.array_dimension == names[1]]
    columns = math.prod(loop.size for loop in on_columns)
    rows = _rows(nest, on_columns, on_rows)
    activations = nest.operations / (columns * math.prod(loop.size for loop in on_rows))
    per_cycle = _analog_cycle_pj(array, columns, rows) if array.analog else _digital_cycle_pj(array, columns, rows)
    return per_cycle * array.cycles_per_operation * activations


def _rows(nest: LoopNest, on_columns: list[SpatialLoop], on_rows: list[SpatialLoop]) -> int:
    """Rows in use; outputs side by side in the columns shift the kernel along the rows (diagonal mapping)."""
    weight = next(operand for operand in nest.operands if operand.memory_operand == "I2")
    partner = {window.tap: window.position for operand in nest.operands for window in operand.windows}
    reused = {loop.loop: loop.size for loop in on_columns if loop.loop in weight.irrelevant}
    rows = 1
    for loop in on_rows:
        rows *= loop.size + (reused.get(partner.get(loop.loop, ""), 1) - 1)
    return rows if math.prod(loop.size for loop in on_rows) > 1 else 1


def _analog_cycle_pj(array: ImcGeometry, columns: int, rows: int) -> float:
    converters = array.weight_bits * columns
    adc = (100 * array.adc_bits + 0.001 * 4**array.adc_bits) * VDD_SQUARED / 1000 if array.adc_bits else 0.0
    dac = 0.0 if array.serial_bits == 1 else 50e-3 * array.serial_bits * VDD_SQUARED
    multipliers = MULTIPLIER_PJ * array.weight_bits * array.columns * rows
    bit_lines = BIT_LINE_PF * VDD_SQUARED * array.weight_bits * columns * array.rows
    return dac * rows + adc * converters + multipliers + bit_lines + _summing_pj(array) * columns


def _digital_cycle_pj(array: ImcGeometry, columns: int, rows: int) -> float:
    multipliers = MULTIPLIER_PJ * array.serial_bits * array.weight_bits * array.columns * array.rows
    trees = adder_tree_pj(array.weight_bits, rows, array.rows) * array.serial_bits * columns
    return multipliers + trees + _summing_pj(array) * columns


def _summing_pj(array: ImcGeometry) -> float:
    """Per column: adding what differs in significance, and accumulating over the bits of the activation."""
    energy = 0.0
    inputs = array.placed_inputs
    if inputs > 1:
        energy += ADDER_PJ * (array.placed_bits * (inputs - 1) + inputs * (math.log2(inputs) - 0.5))
    if array.serial_bits != array.activation_bits:
        energy += (ADDER_PJ + REGISTER_PJ) * array.accumulator_bits
    return energy


def adder_tree_pj(bits: int, used: int, inputs: int) -> float:
    """Return the energy of one pass through a ripple-carry adder tree; an adder with one input costs less.

    Args:
        bits: Bits of each input.
        used: Number of inputs that carry data.
        inputs: Number of inputs, a power of two.

    Returns:
        Energy in pJ.
    """
    depth = int(math.log2(inputs))
    if used < 1:
        return 0.0
    if used >= inputs:
        return ADDER_PJ * (inputs * (bits + 1) - (bits + depth + 1))
    both, single = 0.0, 0.0
    left, half = used, inputs
    while left:
        half //= 2
        stage = int(math.log2(half))
        if left <= 1 and half == 1:
            single += bits
            left = 0
        elif left > half:
            # This half is full, its sum meets that of the other half.
            both += half * (bits + 1) - (bits + stage + 1) + (bits + stage)
            left -= half
        elif left < half:
            single += bits + stage
        else:
            both += half * (bits + 1) - (bits + stage + 1)
            single += bits + stage
            left = 0
    return both * ADDER_PJ + single * HALF_ADDER_PJ
