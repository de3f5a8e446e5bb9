"""Attention written as one operator, in its parts: scores, softmax and weighted values.

Source: the function that defines `Attention` in ONNX (since opset 23), after Vaswani et al., "Attention Is All You
Need", 2017, and the operators `Attention` and `MultiHeadAttention` of onnxruntime. The scale is folded into the queries
and a constant mask into the scores; a mask that is computed or given is an addition.
"""

from dataclasses import dataclass

from offramp.workload.from_onnx.rewriting.node_writer import NodeWriter, RewriteRule
from offramp.workload.from_onnx.tensor_sizes import Unpriceable


@dataclass(frozen=True)
class _Heads:
    """A tensor of (batch, heads, tokens, width), and its name."""

    name: str
    sizes: tuple[int, int, int, int]


def _attention(writer: NodeWriter) -> bool:
    """The operator of ONNX; tensors of three axes hold the heads side by side."""
    query = _heads(writer, writer.input(0), writer.node.integer("q_num_heads", 0))
    key, value = (_heads(writer, writer.input(i), writer.node.integer("kv_num_heads", 0)) for i in (1, 2))
    for position, (own, past) in enumerate(((key, writer.input(4)), (value, writer.input(5))), 1):
        joined = _with_past(writer, own, past)
        if writer.writes(position):
            writer.finish("Identity", (joined.name,), position=position)
        key, value = (joined, value) if position == 1 else (key, joined)
    _parts(writer, query, key, value, writer.input(3))
    return True


def _multi_head_attention(writer: NodeWriter) -> bool:
    """The operator of onnxruntime with separate projections before it."""
    if not writer.input(1) or not writer.input(2):
        raise Unpriceable("reads queries, keys and values packed in one tensor; export them as three")
    heads = writer.node.integer("num_heads", 0)
    query, key, value = (_heads(writer, writer.input(position), heads) for position in range(3))
    key, value = _with_past(writer, key, writer.input(6)), _with_past(writer, value, writer.input(7))
    for position, tensor in ((1, key), (2, value)):
        if writer.writes(position):
            writer.finish("Identity", (tensor.name,), position=position)
    mask = next((name for name in (writer.input(5), writer.input(4)) if name in writer.active), "")
    _parts(writer, query, key, value, mask)
    return True


def _projected_attention(writer: NodeWriter) -> bool:
    """The operator of onnxruntime that also projects its input to queries, keys and values."""
    source, weight = writer.known(writer.input(0)), writer.known(writer.input(1))
    if writer.input(1) in writer.active or writer.node.integers("qkv_hidden_sizes") or writer.input(4):
        raise Unpriceable("must have constant weights, equally wide queries, keys and values, and no past")
    projected = writer.write("MatMul", (writer.input(0), writer.input(1)), (*source[:2], weight[1]), "projection")
    width = weight[1] // 3
    parts = [writer.write("Slice", (projected,), (*source[:2], width)) for _ in range(3)]
    query, key, value = (_heads(writer, name, writer.node.integer("num_heads", 0)) for name in parts)
    mask = next((name for name in (writer.input(5), writer.input(3)) if name in writer.active), "")
    _parts(writer, query, key, value, mask)
    return True


def _heads(writer: NodeWriter, name: str, heads: int) -> _Heads:
    shape = writer.known(name)
    if len(shape) == 4:
        return _Heads(name, (shape[0], shape[1], shape[2], shape[3]))
    if len(shape) != 3 or heads < 1 or shape[2] % heads:
        raise Unpriceable(f"reads a tensor of shape {shape} with {heads} heads, which is no attention")
    sizes = (shape[0], heads, shape[1], shape[2] // heads)
    return _Heads(writer.write("Reshape", (name,), sizes), sizes)


def _with_past(writer: NodeWriter, own: _Heads, past: str) -> _Heads:
    """Keys or values with those of earlier tokens before them."""
    if not past or past not in writer.active:
        return own
    batch, heads, tokens, width = own.sizes
    sizes = (batch, heads, tokens + writer.known(past)[2], width)
    return _Heads(writer.write("Concat", (past, own.name), sizes, axis=2), sizes)


def _parts(writer: NodeWriter, query: _Heads, key: _Heads, value: _Heads, mask: str) -> None:
    batch, heads, rows, _ = query.sizes
    _, groups, columns, width = key.sizes
    if heads % groups or value.sizes[:3] != key.sizes[:3]:
        raise Unpriceable(f"has {heads} heads of queries, {groups} of keys and values of shape {value.sizes}")
    turned = writer.write("Transpose", (key.name,), (batch, heads, width, columns))
    scores = writer.write("MatMul", (query.name, turned), (batch, heads, rows, columns), "scores")
    if mask in writer.active:
        scores = writer.write("Add", (scores, mask), (batch, heads, rows, columns), "mask")
    weights = writer.write("Softmax", (scores,), (batch, heads, rows, columns), "softmax", axis=-1)
    repeated = writer.write("Expand", (value.name,), (batch, heads, columns, value.sizes[3]))
    context = writer.write_main("MatMul", (weights, repeated), (batch, heads, rows, value.sizes[3]))
    writer.finish("Reshape", (context,), label="output")


ATTENTION_RULES: dict[str, RewriteRule] = {
    "Attention": _attention,
    "com.microsoft.MultiHeadAttention": _multi_head_attention,
    "com.microsoft.Attention": _projected_attention,
}
"""The rules by operator."""
