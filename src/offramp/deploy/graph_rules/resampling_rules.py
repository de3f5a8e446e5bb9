"""Rules of operators that change the height and width of a feature map other than by a sliding window."""

import math

import numpy as np

from offramp.deploy.graph_rules.operator_call import (
    AttributeKind,
    OperatorCall,
    OperatorResult,
    OperatorRule,
    float_type,
    positive_axis,
    same_type,
)
from offramp.deploy.graph_rules.tensor_facts import RefusedGraph, Size, TensorFacts, fixed, shown

_FLOAT_BYTES = 4
# Values that are read along each resized axis.
_READS = {"nearest": 1, "linear": 2, "cubic": 4}


def _resized(call: OperatorCall) -> OperatorResult:
    """https://onnx.ai/onnx/operators/onnx__Resize.html, with sizes or scales that are constants."""
    source, scales, sizes = call.tensor(0), call.optional(2), call.optional(3)
    rank = len(source.shape)
    axes = [positive_axis(axis, rank) for axis in call.attributes.get("axes", range(rank))]
    by_scale = scales is not None and scales.shape != (0,)
    if by_scale == (sizes is not None) or len(set(axes)) != len(axes):
        raise RefusedGraph("must have either sizes or scales, and each axis once")
    shape: list[Size] = list(source.shape)
    if by_scale and scales is not None:
        for axis, scale in zip(axes, scales.numbers or (), strict=True):
            if not 0 < scale < math.inf:
                raise RefusedGraph(f"must have scales above 0, got {scale}")
            if scale != 1.0:  # in single precision, as runtimes compute it
                shape[axis] = int(np.float32(scale) * np.float32(fixed(shape[axis])))
    else:
        for axis, size in zip(axes, call.content(3), strict=True):
            if size != shape[axis]:
                fixed(shape[axis])
                shape[axis] = fixed(size)
    changed = sum(size != before for size, before in zip(shape, source.shape, strict=True))
    result = TensorFacts(source.element, tuple(shape))
    reads = _READS[call.attributes.get("mode", "nearest")] ** changed
    # Runtimes may resize one axis after the other. Against aliasing, each value of the input is read as often.
    values = result.count + (source.count if call.integer("antialias", 0) else 0)
    scratch = max(result.count, source.count) * _FLOAT_BYTES
    return OperatorResult((result,), values * reads, scratch)


def _conv_transpose(call: OperatorCall) -> OperatorResult:
    """https://onnx.ai/onnx/operators/onnx__ConvTranspose.html, with pads in place of a wanted shape."""
    element, source, weight = same_type(call), call.tensor(0), call.tensor(1).shape
    rank = len(source.shape) - 2
    if not 1 <= rank <= 2 or len(weight) != rank + 2:
        raise RefusedGraph(f"needs a feature map and a weight with a window, got {shown(source.shape)}")
    depth, filters, *kernel = (fixed(size) for size in weight)
    channels, *before = (fixed(size) for size in source.shape[1:])
    groups = call.integer("group", 1)
    strides, dilations, added, pads = (
        list(call.attributes.get(name, [default] * (rank * factor)))
        for name, default, factor in (("strides", 1, 1), ("dilations", 1, 1), ("output_padding", 0, 1), ("pads", 0, 2))
    )
    right = len(strides) == len(dilations) == len(added) == rank and len(pads) == 2 * rank
    if not right or min([groups, *kernel, *strides, *dilations]) < 1 or min([*pads, *added]) < 0:
        raise RefusedGraph("is not a graph whose shapes fit together: its window, strides, dilations and pads")
    if channels != depth or channels % groups or list(call.attributes.get("kernel_shape", kernel)) != kernel:
        raise RefusedGraph(f"is not a graph whose shapes fit together: its weight has the shape {shown(weight)}")
    bias = call.optional(2)
    if bias is not None and bias.shape != (filters * groups,):
        raise RefusedGraph("must have one bias for each filter")
    after = [
        strides[axis] * (before[axis] - 1) + added[axis] + dilations[axis] * (kernel[axis] - 1) + 1
        - pads[axis] - pads[rank + axis]
        for axis in range(rank)
    ]  # fmt: skip
    if min(after) < 1:
        raise RefusedGraph("pads away more than there is")
    result = TensorFacts(element, (source.shape[0], filters * groups, *after))
    column = filters * math.prod(kernel)
    # Runtimes compute all products of one sample and one group before they add them up.
    scratch = column * math.prod(before) * _FLOAT_BYTES
    return OperatorResult((result,), source.count * column, scratch)


def _sampled(call: OperatorCall) -> OperatorResult:
    """https://onnx.ai/onnx/operators/onnx__GridSample.html"""
    source, grid = call.tensor(0), call.tensor(1).shape
    if len(source.shape) != 4 or len(grid) != 4 or grid[0] != source.shape[0] or grid[3] != 2:
        raise RefusedGraph(f"must read a feature map at places of a plane, got {shown(grid)}")
    result = TensorFacts(same_type(call), (*source.shape[:2], *grid[1:3]))
    return OperatorResult((result,), result.count * 16)


def _folded(call: OperatorCall) -> OperatorResult:
    """https://onnx.ai/onnx/operators/onnx__Col2Im.html"""
    source, image, block = call.tensor(0), call.numbers(1), call.numbers(2)
    if len(source.shape) != 3 or image is None or block is None or len(image) != 2 or len(block) != 2:
        raise RefusedGraph("must put blocks of rows and columns into an image")
    strides, dilations, pads = (
        list(call.attributes.get(name, [default] * length))
        for name, default, length in (("strides", 1, 2), ("dilations", 1, 2), ("pads", 0, 4))
    )
    right = len(strides) == len(dilations) == 2 and len(pads) == 4
    if not right or min([*image, *block, *strides, *dilations]) < 1 or min(pads) < 0:
        raise RefusedGraph("is not a graph whose shapes fit together: its blocks, strides, dilations and pads")
    places = math.prod(
        (image[axis] + pads[axis] + pads[2 + axis] - dilations[axis] * (block[axis] - 1) - 1) // strides[axis] + 1
        for axis in range(2)
    )
    rows = fixed(source.shape[1])
    if rows % math.prod(block) or places != source.shape[2]:
        raise RefusedGraph(f"must have {places} blocks of {math.prod(block)} values, got {shown(source.shape)}")
    return OperatorResult((TensorFacts(float_type(source), (source.shape[0], rows // math.prod(block), *image)),))


_WINDOW: dict[str, AttributeKind] = {"dilations": "ints", "pads": "ints", "strides": "ints"}

RESAMPLING_RULES: dict[str, OperatorRule] = {
    "Resize": OperatorRule(
        _resized,
        (3, 4),
        1,
        {
            "antialias": "int",
            "axes": "ints",
            "coordinate_transformation_mode": frozenset(
                {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"}
            ),
            "cubic_coeff_a": "float",
            "exclude_outside": "int",
            "extrapolation_value": "float",
            "keep_aspect_ratio_policy": frozenset({"stretch"}),
            "mode": frozenset({"nearest", "linear", "cubic"}),
            "nearest_mode": frozenset({"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}),
        },
    ),
    "ConvTranspose": OperatorRule(
        _conv_transpose,
        (2, 3),
        1,
        {
            **_WINDOW,
            "auto_pad": frozenset({"NOTSET"}),
            "group": "int",
            "kernel_shape": "ints",
            "output_padding": "ints",
        },
    ),
    "GridSample": OperatorRule(
        _sampled,
        (2, 2),
        1,
        {
            "align_corners": "int",
            "mode": frozenset({"bilinear", "linear", "nearest", "bicubic", "cubic"}),
            "padding_mode": frozenset({"zeros", "border", "reflection"}),
        },
    ),
    "Col2Im": OperatorRule(_folded, (3, 3), 1, _WINDOW),
}
"""The operators that resize a feature map."""
