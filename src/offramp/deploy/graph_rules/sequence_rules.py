"""Rules of operators on sequences, and of products that an equation describes."""

import math
import re

from offramp.deploy.graph_rules.operator_call import OperatorCall, OperatorResult, OperatorRule, same_type
from offramp.deploy.graph_rules.tensor_facts import (
    INT32,
    RefusedGraph,
    Shape,
    Size,
    TensorFacts,
    fixed,
    for_one,
    shown,
)

_FLOAT_BYTES = 4
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_EQUATION = re.compile(r"([A-Za-z]+(?:,[A-Za-z]+)*)->([A-Za-z]*)")


def _recurrent(call: OperatorCall) -> OperatorResult:
    """https://onnx.ai/onnx/operators/onnx__LSTM.html, GRU and RNN: time first, at most two directions."""
    source, gates, hidden = call.tensor(0), _GATES[call.operator], call.integer("hidden_size", 0)
    if len(source.shape) != 3 or hidden < 1 or call.integer("layout", 0) != 0:
        raise RefusedGraph(
            f"needs steps of samples of features (`layout` 0) and a hidden size, got {shown(source.shape)}"
        )
    if source.count == 0:  # some versions of onnxruntime end the process
        raise RefusedGraph(f"must have at least one step, sample and feature, got {shown(source.shape)}")
    steps, batch, features = source.shape[0], source.shape[1], fixed(source.shape[2])
    directions = 2 if call.attributes.get("direction") == "bidirectional" else 1
    state: Shape = (directions, batch, hidden)
    wanted: list[Shape] = [
        (directions, gates * hidden, features),
        (directions, gates * hidden, hidden),
        (directions, 2 * gates * hidden),
        (batch,),
        state,
        state,
        (directions, 3 * hidden),
    ]
    for index, shape in enumerate(wanted, 1):
        given = call.optional(index)
        if given is None and index <= 2:
            raise RefusedGraph("must have weights")
        if given is not None and (given.shape != shape or given.element != (INT32 if index == 4 else source.element)):
            raise RefusedGraph(f"must have an input {index} of the shape {shown(shape)}, got {shown(given.shape)}")
    results = [TensorFacts(source.element, shape) for shape in ((steps, directions, batch, hidden), state, state)]
    each = directions * gates * hidden * (features + hidden)
    scratch = for_one(steps) * for_one(batch) * directions * gates * hidden * _FLOAT_BYTES * 2
    return OperatorResult(tuple(results), for_one(steps) * for_one(batch) * each, scratch)


def _einsum(call: OperatorCall) -> OperatorResult:
    """A sum of products; intermediate results of products from left to right count as scratch memory."""
    equation = _EQUATION.fullmatch(str(call.attributes.get("equation", "")).replace(" ", ""))
    if equation is None:
        raise RefusedGraph("must have an equation of letters such as 'bij,bjk->bik'")
    terms, result = equation[1].split(","), equation[2]
    operands = call.given()
    if len(terms) != len(operands) or any(len(set(term)) != len(term) for term in (*terms, result)):
        raise RefusedGraph("must have a term for each input, and each letter once in a term")
    sizes: dict[str, Size] = {}
    for term, operand in zip(terms, operands, strict=True):
        if len(term) != len(operand.shape):
            raise RefusedGraph(f"must have a letter for each axis of {shown(operand.shape)}, got {term!r}")
        for letter, size in zip(term, operand.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise RefusedGraph(
                    f"is not a graph whose shapes fit together: {letter!r} is {sizes[letter]} and {size}"
                )
    if not set(result) <= set(sizes):
        raise RefusedGraph("gives a letter that no input has")
    counts = {letter: for_one(size) for letter, size in sizes.items()}
    kept, macs, scratch = set(terms[0]), 0, 0
    for place, term in enumerate(terms[1:], 1):
        both = kept | set(term)
        kept = both & set("".join((*terms[place + 1 :], result)))
        macs += math.prod(counts[letter] for letter in both)
        scratch += math.prod(counts[letter] for letter in kept)
    # Both operands of a product are first brought into the order of a matrix product.
    scratch += 2 * sum(operand.count for operand in operands)
    facts = TensorFacts(same_type(call), tuple(sizes[letter] for letter in result))
    return OperatorResult((facts,), max(macs, operands[0].count), scratch * _FLOAT_BYTES)


_STATES = OperatorRule(
    _recurrent,
    (3, 8),
    3,
    {
        "direction": frozenset({"forward", "reverse", "bidirectional"}),
        "hidden_size": "int",
        "input_forget": "int",
        "layout": "int",
        "linear_before_reset": "int",
    },
)

SEQUENCE_RULES: dict[str, OperatorRule] = {
    "LSTM": _STATES,
    "GRU": _STATES,
    "RNN": _STATES,
    "Einsum": OperatorRule(_einsum, (1, 6), 1, {"equation": "string"}),
}
"""The operators on sequences and of equations."""
