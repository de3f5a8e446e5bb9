"""ONNX operators: which are layers, which are free, and the shape of each layer."""

from collections.abc import Callable, Iterable

from offramp.workload.from_onnx.file_graph import OnnxGraph
from offramp.workload.from_onnx.onnx_node import OnnxNode
from offramp.workload.from_onnx.operator_equivalents import QUANTIZERS
from offramp.workload.from_onnx.operator_rules.element_wise import (
    ELEMENTWISE_OPS,
    SCATTERS,
    accumulation_layer,
    concatenation_layer,
    elementwise_layer,
    normalization_layer,
    scatter_layer,
)
from offramp.workload.from_onnx.operator_rules.products import DENSE_OPS, product_layer
from offramp.workload.from_onnx.operator_rules.reductions import (
    ARGUMENT_OPS,
    GLOBAL_POOL_OPS,
    REDUCE_OPS,
    finds_a_class,
    reduction_layer,
)
from offramp.workload.from_onnx.operator_rules.windows import (
    POOL_OPS,
    blocks_overlap,
    convolution_layer,
    pooling_layer,
    resizing_layer,
    sampling_layer,
)
from offramp.workload.from_onnx.tensor_sizes import Contradiction, UnknownShape, Unpriceable
from offramp.workload.graph import GRAPH_INPUT
from offramp.workload.layer import LayerShape

_ACTIVATION_FUNCTIONS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Gelu"}
    | {"Swish", "Tanh", "Softplus", "Softsign", "ThresholdedRelu", "Erf", "Abs", "Neg", "Exp", "Sqrt", "Reciprocal"}
    | {"Shrink", "Log", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"}
    | {"Floor", "Ceil", "Round", "Sign", "Not", "IsNaN", "IsInf", "BitwiseNot", "BatchNormalization"}
)
_OTHER_VIEWS = frozenset(
    {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast", "Transpose", "Pad", "Slice", "Split"}
    | {"CastLike"}
    | {"Gather", "GatherElements", "GatherND", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Trilu"}
    | {"ReverseSequence", "CenterCropPad", "OneHot"}
)
_OF_OLD_FILES = frozenset({"ImageScaler", "Crop", "Affine", "ScaledTanh", "ParametricSoftplus"})
"""Experimental operators of ONNX before 1.5: an affine function of the image, part of it, and activation functions."""

_LABELS = frozenset(f"ai.onnx.ml.{op}" for op in ("ZipMap", "ArrayFeatureExtractor", "LabelEncoder", "CategoryMapper"))
"""They give the found class its name."""

_QUANTISATION = QUANTIZERS | {"QuantizeLinear", "DequantizeLinear"}
FREE_OPS = (_ACTIVATION_FUNCTIONS - {"PRelu"}) | _OTHER_VIEWS | _QUANTISATION | _OF_OLD_FILES | _LABELS
"""Computed while the previous layer writes its output, or only another view of it. All activations that such a node
reads must come from one layer. An embedding is a view of its table: the layer after it reads the rows that it needs."""

SHAPE_READERS = frozenset({"Shape", "Size", "EyeLike"})
"""Their outputs depend on the shape of the input, not on its values."""

RANDOM_OPS = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial"})
"""They draw values each time that the network runs."""

REASON, UNKNOWN_TENSOR = "offramp.reason", "offramp.unknown_tensor"
"""Attributes of a node that could not be rewritten: why not, or the tensor whose shape would be needed."""

_SIZED_BY_VALUES = "has a result whose size the values of the input decide; export without it, or up to it"
_TRAINING = "belongs to training; export the network for inference"
_SEQUENCE = "handles a sequence of tensors; export with a fixed number of steps, so that tensors are not collected"
_SPECTRUM = (
    "has a number of operations that depends on its algorithm (a fast transform or matrix products); "
    "export from the spectrum on, or write it as a matrix product"
)
REASONS = {
    **dict.fromkeys(("NonZero", "Unique", "Compress", "NonMaxSuppression", "Range"), _SIZED_BY_VALUES),
    **dict.fromkeys(("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert"), _SEQUENCE),
    **dict.fromkeys(("SequenceLength", "SequenceMap", "SplitToSequence", "ConcatFromSequence"), _SEQUENCE),
    **dict.fromkeys(("DFT", "STFT", "com.microsoft.Rfft", "com.microsoft.Irfft"), _SPECTRUM),
    **dict.fromkeys(("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss", "SGD", "Gradient"), _TRAINING),
}
"""Why an operator has no rule."""


def _reason(op: str) -> str:
    if op.startswith("com.microsoft.nchwc."):
        return (
            "is a form that onnxruntime writes for one machine; give the file before its optimisation, or optimise it "
            "with level 'extended' at most"
        )
    if op.endswith("Grad") or op.startswith(("ai.onnx.training.", "ai.onnx.preview.training.")):
        return _TRAINING
    return REASONS.get(op, "is no operator of a workload")


NORM_OPS = frozenset(
    {"LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization", "LRN", "LpNormalization"}
    | {"MeanVarianceNormalization", "com.microsoft.GroupNorm"}
)
SOFTMAX_OPS = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
RESIZE_OPS = frozenset({"Resize", "Upsample"})
BINARY_OPS = frozenset(ELEMENTWISE_OPS) | SCATTERS
"""Free if all activations that they read come from one layer; layers of their own, or refused, if not."""


def is_free(node: OnnxNode, graph: OnnxGraph, sources: tuple[str, ...]) -> bool:
    """Check whether an operator costs nothing of its own.

    Args:
        node: The node.
        graph: The graph.
        sources: For each activation among its inputs, the layer that computes it, or `GRAPH_INPUT`.

    Returns:
        Whether the layer before computes it while it writes its output, or it is another view of that output.

    Raises:
        UnknownShape: The shape of an input decides, and is not known.
        Unpriceable: It combines the results of several layers, and is only understood with one.
    """
    of_input = set(sources) == {GRAPH_INPUT}
    if node.op in FREE_OPS:
        if len(set(sources)) > 1:
            raise Unpriceable(f"combines the results of {layer_names(sources)}; it is understood with one of them")
        return True
    if node.op in SOFTMAX_OPS or node.op in ARGUMENT_OPS:
        return not of_input and finds_a_class(node, graph)
    if node.op in RESIZE_OPS:
        # Resizing the image belongs to its preparation; the nearest value is another view of the tensor.
        return of_input or node.attributes.get("mode", "nearest") == "nearest"
    if node.op == "Col2Im":
        return len(set(sources)) == 1 and not blocks_overlap(node, graph)
    return node.op in BINARY_OPS and (len(sources) == 1 or (len(set(sources)) == 1 and not of_input))


def layer_names(sources: Iterable[str]) -> str:
    """Name layers in a message.

    Args:
        sources: Names of layers, or `GRAPH_INPUT`.

    Returns:
        The names, each once, separated by commas.
    """
    return ", ".join("the graph's input" if name == GRAPH_INPUT else name for name in dict.fromkeys(sources))


def operand_positions(node: OnnxNode) -> tuple[int, ...]:
    """Find the inputs of a node that its rule reads as activations.

    Its other inputs (a bias, a zero point, indices) must be constants, or come from a layer that computes an operand.

    Args:
        node: The node.

    Returns:
        Positions among the node's inputs.
    """
    if node.op in ("Conv", "GridSample") or node.op in DENSE_OPS:
        return (0, 1)
    if node.op in ELEMENTWISE_OPS or node.op in SCATTERS or node.op == "Concat" or node.op not in RULES:
        return tuple(range(len(node.inputs)))
    return (0,)


def layer_shape(node: OnnxNode, graph: OnnxGraph, data: tuple[str, ...]) -> LayerShape:
    """Describe a node as a layer, for one sample.

    Args:
        node: The node.
        graph: The graph.
        data: Names of its operands that are activations (see `operand_positions`).

    Returns:
        The layer shape.

    Raises:
        Unpriceable: The node cannot be a layer.
        UnknownShape: The shape of a tensor is not known.
        Contradiction: Two statements of the file about the node cannot both hold.
    """
    rule = RULES.get(node.op)
    if UNKNOWN_TENSOR in node.attributes:
        raise UnknownShape(node.attributes[UNKNOWN_TENSOR])
    if rule is None:
        raise Unpriceable(node.attributes.get(REASON, _reason(str(node.op))))
    try:
        return rule(node, graph, data)
    except ValueError as exc:
        raise Contradiction(str(exc).rstrip(".")) from exc
    except (LookupError, ArithmeticError, TypeError) as exc:
        raise Contradiction("its inputs, attributes and shapes do not fit each other") from exc


_Rule = Callable[[OnnxNode, OnnxGraph, tuple[str, ...]], LayerShape]

RULES: dict[str, _Rule] = {
    "Conv": convolution_layer,
    **dict.fromkeys(DENSE_OPS, product_layer),
    **dict.fromkeys(POOL_OPS, pooling_layer),
    **dict.fromkeys((*GLOBAL_POOL_OPS, *REDUCE_OPS, *ARGUMENT_OPS), reduction_layer),
    **dict.fromkeys(ELEMENTWISE_OPS, elementwise_layer),
    **dict.fromkeys(NORM_OPS | SOFTMAX_OPS, normalization_layer),
    **dict.fromkeys(SCATTERS, scatter_layer),
    **dict.fromkeys(RESIZE_OPS, resizing_layer),
    "GridSample": sampling_layer,
    **dict.fromkeys(("Col2Im", "CumSum"), accumulation_layer),
    "Concat": concatenation_layer,
}
"""The rule of each operator that can be a layer: node, graph and its operands that are activations."""
