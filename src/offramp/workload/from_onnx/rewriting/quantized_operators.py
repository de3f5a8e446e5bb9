"""Quantised and fused operators in their standard form, so that a price does not depend on how a graph is written."""

from offramp.workload.from_onnx.operator_equivalents import EQUIVALENTS
from offramp.workload.from_onnx.rewriting.node_writer import NodeWriter, RewriteRule
from offramp.workload.from_onnx.tensor_sizes import Unpriceable


def _equivalent(writer: NodeWriter) -> bool:
    node = writer.node
    standard = EQUIVALENTS[node.op]
    inputs = standard.inputs(node.inputs)
    if node.integer("channels_last", 0):
        if standard.op != "GlobalAveragePool":
            return False
        rank = len(writer.shape(inputs[0]) or ())
        writer.finish("ReduceMean", inputs[:1], axes=tuple(range(1, rank - 1)), keepdims=1)
        return rank > 2
    added = writer.input(3) if node.op == "com.microsoft.FusedConv" else ""
    if added in writer.active:
        convolved = writer.write(standard.op, inputs, writer.shape(node.outputs[0]), "conv", **node.attributes)
        writer.finish("Add", (convolved, added))
    else:
        # Deeploy writes a single axis as a number.
        axes = node.attributes.get("axes")
        listed = {"axes": (axes,)} if isinstance(axes, int) else {}
        writer.finish(standard.op, inputs, **node.attributes | listed)
    return True


def _dynamic_quantization(writer: NodeWriter) -> bool:
    """Quantisation with a scale from the values themselves.

    Its scale and zero point are constants for whoever reads them: the multiplication by a scale belongs to the layer
    whose sums it scales, as with a scale that is fixed.
    """
    writer.finish("QuantizeLinear", writer.node.inputs[:1])
    return True


def _fused_product(writer: NodeWriter) -> bool:
    """A matrix product that may transpose its operands."""
    left, right = writer.input(0), writer.input(1)
    if writer.node.integer("transBatchA", 0) or writer.node.integer("transBatchB", 0):
        return False
    left = writer.transposed(left) if writer.node.integer("transA", 0) else left
    right = writer.transposed(right) if writer.node.integer("transB", 0) else right
    writer.finish("MatMul", (left, right))
    return True


def _packed_product(writer: NodeWriter) -> bool:
    """A matrix product with packed weights of few bits: K x N of them (operator `MatMulNBits` of onnxruntime)."""
    inputs, outputs = writer.node.integer("K", 0), writer.node.integer("N", 0)
    source = writer.known(writer.input(0))
    if min(inputs, outputs) < 1 or source[-1] != inputs or writer.input(1) in writer.active:
        raise Unpriceable(f"must have constant weights of K x N values, got K={inputs}, N={outputs} for {source}")
    writer.finish("MatMul", (writer.input(0), writer.constant((inputs, outputs))))
    return True


def _skip_normalization(writer: NodeWriter) -> bool:
    """A residual addition with the norm of its result, which may be the fourth output."""
    node = writer.node
    op = "RMSNormalization" if "Simplified" in node.op else "LayerNormalization"
    total = writer.write("Add", node.inputs[:2], writer.shape(node.inputs[0]), "add")
    if len(node.outputs) > 3 and node.outputs[3]:
        writer.finish("Identity", (total,), position=3)
    writer.finish(op, (total, *node.inputs[2:3]), axis=-1)
    return True


QUANTIZED_RULES: dict[str, RewriteRule] = {
    **dict.fromkeys(EQUIVALENTS, _equivalent),
    "DynamicQuantizeLinear": _dynamic_quantization,
    **dict.fromkeys(("com.microsoft.MatMulNBits", "com.microsoft.MatMulBnb4"), _packed_product),
    "com.microsoft.FusedMatMul": _fused_product,
    "com.microsoft.TransposeMatMul": _fused_product,
    "com.microsoft.SkipLayerNormalization": _skip_normalization,
    "com.microsoft.SkipSimplifiedLayerNormalization": _skip_normalization,
}
"""The rules by operator."""
