"""What transformers are made of, in an ONNX graph: the rules by which a torch network is priced, for the same layers.

A product of two matrices that both depend on the input is a convolution with 1x1 kernels, one group per head, whose
rows are its pixels; its second operand stands where the weights do. Norms, and the softmax of more than a vector, need
all values before they can give the first: each is an element-wise product of its size. Slicing, transposing, padding
and repeating are ways of addressing what is there, and free.
"""

import math

from offramp.workload.from_onnx.file_graph import OnnxGraph, OnnxNode
from offramp.workload.from_onnx.tensor_sizes import Contradiction, UnknownShape, Unpriceable, per_sample, sizes
from offramp.workload.layer import LayerShape, Op

NORM_OPS = frozenset({"LayerNormalization", "RMSNormalization", "GroupNormalization"})
MOVES = frozenset({"Transpose", "Pad", "Slice", "Split", "Gather", "Expand"})
OTHER_FORMS = {
    "Attention": "export with opset 22 or earlier, where attention is written in its parts",
    "Einsum": "write it as a matrix product",
    "ReduceMean": "a layer norm in its parts is one layer with opset 17 or later",
}
"""What to do about operators that stand for something that is priced in another form."""


def is_free_softmax(node: OnnxNode, graph: OnnxGraph) -> bool:
    """Of a vector, such as the logits: the layer before does it."""
    shape = graph.shapes.get(node.inputs[0])
    if shape is None:
        raise UnknownShape(node.inputs[0])
    return len(shape) <= 2


def product(node: OnnxNode, graph: OnnxGraph, position: int) -> LayerShape:
    """(..., rows, inner) times (..., inner, columns), of which the latter is input ``position`` of the node."""
    left, right = ((per_sample(graph, name), *sizes(graph, name)) for name in (node.inputs[0], node.inputs[position]))
    if min(len(left), len(right)) < 2 or left[:-2] != right[:-2]:
        raise Unpriceable(f"multiplies matrices whose leading axes differ, of shapes {left} and {right} per sample")
    if left[-1] != right[-2]:
        raise Contradiction(f"it multiplies matrices of shapes {left} and {right}")
    return LayerShape(Op.CONV, g=math.prod(left[:-2]), k=right[-1], c=left[-1], oy=left[-2], iy=left[-2])
