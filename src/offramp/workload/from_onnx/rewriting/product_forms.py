"""Matrix products and sums of several operands in the forms that have a price."""

from offramp.workload.from_onnx.rewriting.node_writer import NodeWriter, RewriteRule


def _general_product(writer: NodeWriter) -> bool:
    """A `Gemm` that transposes computed values, has its weights first, or adds what a layer computes."""
    node = writer.node
    left, right, added = (writer.input(position) for position in range(3))
    computed = [name in writer.active for name in (left, right, added)]
    plain = computed[0] and not computed[1] and not computed[2]
    if plain and not node.integer("transA", 0):
        return False
    if node.integer("transA", 0):
        left = writer.transposed(left)
    if node.integer("transB", 0):
        right = writer.transposed(right)
    if not computed[2]:
        writer.finish("MatMul", (left, right))
        return True
    total = writer.write("MatMul", (left, right), writer.shape(node.outputs[0]), "product")
    writer.finish("Add", (total, added))
    return True


def _sum_of_several(writer: NodeWriter) -> bool:
    """Three or more computed operands: one operator after the other."""
    operands = list({writer.active[name]: name for name in writer.node.inputs if name in writer.active}.values())
    if len(operands) < 3:
        return False
    op = "Add" if writer.node.op in ("Sum", "Mean") else writer.node.op
    total = operands[0]
    for name in operands[1:-1]:
        total = writer.write(op, (total, name), writer.shape(writer.node.outputs[0]))
    writer.finish(op, (total, operands[-1]))
    return True


def _choice(writer: NodeWriter) -> bool:
    """A choice between two computed tensors by a third: two operators with two operands each."""
    operands = writer.node.inputs
    if len({writer.active.get(name, "") for name in operands} - {""}) < 3:
        return False
    kept = writer.write("Where", operands[:2], writer.shape(writer.node.outputs[0]), "first")
    writer.finish("Where", (kept, operands[2]))
    return True


PRODUCT_RULES: dict[str, RewriteRule] = {
    "Gemm": _general_product,
    **dict.fromkeys(("Sum", "Mean", "Max", "Min"), _sum_of_several),
    "Where": _choice,
}
"""The rules by operator."""
