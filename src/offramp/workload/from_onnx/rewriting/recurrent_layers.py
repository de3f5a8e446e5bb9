"""Recurrent layers, step by step, as ONNX defines them (operators LSTM, GRU and RNN).

The product with the input is one dense layer for all steps, as in onnxruntime; the product with the state is one dense
layer per step, because each step waits for the one before. Gates and states are combined by element-wise operators:
`Ct = ft * Ct-1 + it * ct`, `Ht = ot * tanh(Ct)` for an LSTM, `Ht = (1 - zt) * ht + zt * Ht-1` for a GRU. The price is
that of the same network written with these operators. At each step a layer with G gates, I inputs and H units takes
G H (I + H) MACs (Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; Cho et al., 2014).
"""

from collections.abc import Callable
from dataclasses import dataclass

from offramp.workload.from_onnx.rewriting.node_writer import NodeWriter, RewriteRule
from offramp.workload.from_onnx.tensor_sizes import Unpriceable

MAX_STEPS = 2048
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass
class _Cell:
    """One direction of a recurrent layer, and its state after the steps so far."""

    writer: NodeWriter
    prefix: str
    batch: int
    units: int
    state: str
    memory: str

    def dense(self, gates: int, label: str, source: str = "") -> str:
        weight = self.writer.constant((self.units, gates * self.units))
        return self.write("MatMul", (source or self.state, weight), gates, label)

    def write(self, op: str, inputs: tuple[str, ...], size: int = 1, label: str = "") -> str:
        name = f"{self.prefix}/{label}" if label else f"{self.prefix}/{op.lower()}_{len(self.writer.nodes)}"
        return self.writer.write(op, inputs, (self.batch, size * self.units), name)

    def part(self, values: str, size: int = 1) -> str:
        """Some gates out of several."""
        return self.write("Slice", (values,), size)


def _recurrent(writer: NodeWriter) -> bool:
    node = writer.node
    source = writer.known(writer.input(0))
    batch_first = node.integer("layout", 0)
    weights = [writer.input(position) for position in (1, 2, 3, 7)]
    if len(source) != 3 or any(name in writer.active for name in weights):
        raise Unpriceable("must have a sequence as its input, and weights that do not depend on it")
    if writer.input(7):
        raise Unpriceable("has connections from the memory cells to the gates (peepholes), which have no rule")
    steps, batch = source[1 if batch_first else 0], source[0 if batch_first else 1]
    units = node.integer("hidden_size", 0) or writer.known(writer.input(2))[2]
    directions = 2 if node.attributes.get("direction") == "bidirectional" else 1
    if steps * directions > MAX_STEPS:
        raise Unpriceable(f"has {steps * directions} steps; at most {MAX_STEPS} can be written out")
    states, last, memories = [], [], []
    for direction in range(directions):
        found, memory = _steps(writer, direction, steps, batch, units)
        states += found
        last.append(found[-1])
        memories.append(memory)
    for position, parts in enumerate((states, last, memories)):
        if writer.writes(position):
            op = "Concat" if len(parts) > 1 else "Reshape"
            writer.finish(op, parts, position=position, label=f"output_{position}", axis=0)
    return True


def _steps(writer: NodeWriter, direction: int, steps: int, batch: int, units: int) -> tuple[list[str], str]:
    """States after each step of one direction, and the last memory."""
    op = writer.node.op
    source = writer.known(writer.input(0))
    gates = _GATES[op]
    weight = writer.constant((source[2], gates * units))
    label = f"{direction}/input"
    inputs = writer.write("MatMul", (writer.input(0), weight), (*source[:2], gates * units), label)
    # A state that starts at zero is read as a view of the input's product, so that the first step is computed, too.
    start = writer.input(5) if writer.input(5) in writer.active else inputs
    state = writer.write("Slice", (start,), (batch, units), f"{direction}/start")
    memory = writer.input(6) if op == "LSTM" else ""
    if memory in writer.active:
        memory = writer.write("Slice", (memory,), (batch, units), f"{direction}/memory")
    else:
        memory = writer.constant((batch, units))
    states = []
    cell = _Cell(writer, "", batch, units, state, memory)
    for step in range(steps):
        cell.prefix = f"{direction}/{step}"
        values = cell.part(inputs, gates)
        _CELLS[op](cell, values)
        states.append(cell.state)
    return states, cell.memory


def _lstm(cell: _Cell, values: str) -> None:
    gates = cell.write("Add", (values, cell.dense(4, "recurrent")), 4, "gates")
    kept = cell.write("Mul", (cell.part(gates), cell.memory), label="kept")
    new = cell.write("Mul", (cell.part(gates), cell.part(gates)), label="new")
    cell.memory = cell.write("Add", (kept, new), label="memory")
    cell.state = cell.write("Mul", (cell.part(gates), cell.write("Tanh", (cell.memory,))), label="state")


def _gru(cell: _Cell, values: str) -> None:
    if cell.writer.node.integer("linear_before_reset", 0):
        products = cell.dense(3, "recurrent")
        gates = cell.write("Add", (cell.part(values, 2), cell.part(products, 2)), 2, "gates")
        reset = cell.write("Mul", (cell.part(gates), cell.part(products)), label="reset")
    else:
        gates = cell.write("Add", (cell.part(values, 2), cell.dense(2, "recurrent")), 2, "gates")
        reset = cell.dense(1, "recurrent_new", cell.write("Mul", (cell.part(gates), cell.state), label="reset"))
    new = cell.write("Tanh", (cell.write("Add", (cell.part(values), reset), label="candidate"),))
    taken = cell.write("Mul", (cell.part(gates), new), label="new")
    kept = cell.write("Mul", (cell.part(gates), cell.state), label="kept")
    cell.state = cell.write("Add", (taken, kept), label="state")


def _rnn(cell: _Cell, values: str) -> None:
    cell.state = cell.write("Tanh", (cell.write("Add", (values, cell.dense(1, "recurrent")), label="state"),))


_CELLS: dict[str, Callable[[_Cell, str], None]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
RECURRENT_RULES: dict[str, RewriteRule] = dict.fromkeys(_CELLS, _recurrent)
"""The rule by operator."""
