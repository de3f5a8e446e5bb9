"""Einstein sums as matrix products.

A letter that both operands have and the result has not is summed over; a letter that all three have counts matrices;
the others count rows and columns (the definition of `Einsum` in ONNX, which follows `numpy.einsum`).
"""

import math
from dataclasses import dataclass

from offramp.workload.from_onnx.rewriting.node_writer import NodeWriter, RewriteRule
from offramp.workload.from_onnx.tensor_sizes import Unpriceable


@dataclass(frozen=True)
class _Term:
    """An operand, the letters of its axes, and whether it depends on the graph's input."""

    name: str
    letters: str
    computed: bool


@dataclass
class _Sum:
    """An Einstein sum and the size of each letter."""

    writer: NodeWriter
    sizes: dict[str, int]

    def shape(self, letters: str) -> tuple[int, ...]:
        return tuple(self.sizes[letter] for letter in letters)

    def reduced(self, term: _Term, kept: set[str]) -> _Term:
        """The term without letters that nothing else has."""
        letters = "".join(letter for letter in term.letters if letter in kept)
        if letters == term.letters or not term.computed:
            return _Term(term.name if letters == term.letters else self.writer.constant(self.shape(letters)),
                         letters, term.computed)  # fmt: skip
        axes = tuple(axis for axis, letter in enumerate(term.letters) if letter not in kept)
        name = self.writer.write("ReduceSum", (term.name,), self.shape(letters), axes=axes, keepdims=0)
        return _Term(name, letters, True)

    def view(self, term: _Term, shape: tuple[int, ...]) -> str:
        if not term.computed:
            return self.writer.constant(shape)
        return self.writer.write("Reshape", (term.name,), shape)

    def contracted(self, left: _Term, right: _Term, kept: set[str]) -> _Term:
        """The product of two terms, summed over what only they have."""
        left = self.reduced(left, kept | set(right.letters))
        right = self.reduced(right, kept | set(left.letters))
        if right.computed and not left.computed:
            left, right = right, left
        both = [letter for letter in left.letters if letter in right.letters]
        matrices = "".join(letter for letter in both if letter in kept)
        inner = "".join(letter for letter in both if letter not in kept)
        rows = "".join(letter for letter in left.letters if letter not in both)
        columns = "".join(letter for letter in right.letters if letter not in both)
        letters = matrices + rows + columns
        computed = left.computed or right.computed
        if not computed:
            return _Term(self.writer.constant(self.shape(letters)), letters, False)
        count = self.shape(matrices)
        sizes = [math.prod(self.shape(part)) for part in (rows, inner, columns)]
        if not inner:
            first = self.view(left, (*count, *self.shape(rows), *(1 for _ in columns)))
            second = self.view(right, (*count, *(1 for _ in rows), *self.shape(columns)))
            return _Term(self.writer.write("Mul", (first, second), self.shape(letters)), letters, True)
        first = self.view(left, (*count, sizes[0], sizes[1]))
        second = self.view(right, (*count, sizes[1], sizes[2]))
        name = self.writer.write("MatMul", (first, second), (*count, sizes[0], sizes[2]))
        return _Term(name, letters, True)


def _einstein_sum(writer: NodeWriter) -> bool:
    terms, result = _terms(writer)
    sizes: dict[str, int] = {}
    for term in terms:
        for letter, size in zip(term.letters, writer.known(term.name), strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    if any(len(set(term.letters)) < len(term.letters) for term in terms):
        raise Unpriceable("reads a diagonal, which has no rule")
    total = _Sum(writer, sizes)
    current = terms[0]
    for position, term in enumerate(terms[1:], 2):
        kept = set(result).union(*(other.letters for other in terms[position:]))
        current = total.contracted(current, term, kept)
    current = total.reduced(current, set(result))
    writer.finish("Transpose", (current.name,))
    return True


def _terms(writer: NodeWriter) -> tuple[list[_Term], str]:
    """Operands with one letter per axis, and the letters of the result; digits stand for the axes of an ellipsis."""
    equation = str(writer.node.attributes.get("equation", "")).replace(" ", "")
    stated, arrow, result = equation.partition("->")
    parts = stated.split(",")
    if len(parts) != len(writer.node.inputs):
        raise Unpriceable(f"has the equation '{equation}' for {len(writer.node.inputs)} operands")
    terms = []
    for letters, name in zip(parts, writer.node.inputs, strict=True):
        shape = writer.known(name)
        hidden = len(shape) - len(letters.replace("...", ""))
        digits = "".join(str(digit) for digit in range(9, 9 - hidden, -1))[::-1]
        expanded = letters.replace("...", digits)
        if len(expanded) != len(shape) or ("..." not in letters and hidden):
            raise Unpriceable(f"has the equation '{equation}' for an operand of shape {shape}")
        terms.append(_Term(name, expanded, name in writer.active))
    every = "".join(term.letters for term in terms)
    longest = max(("".join(x for x in term.letters if x.isdigit()) for term in terms), key=len)
    if not arrow:
        result = longest + "".join(sorted(x for x in set(every) if every.count(x) == 1 and not x.isdigit()))
    return terms, result.replace("...", longest)


EINSUM_RULES: dict[str, RewriteRule] = {"Einsum": _einstein_sum}
"""The rule by operator."""
