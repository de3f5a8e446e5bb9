"""How torch functions that reduce axes become layers.

Every value is read once, and one value is written for each place that is kept. Height and width of a map, or the tokens
of a sequence, are a global pooling. Other axes are a pooling as well: of as many windows as the result has values, each
as large as the reduced axes together.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from offramp.nn.lowering.call_rules import Call, NotPriceableError, feature_map, written_values
from offramp.workload.layer import LayerShape, Op
from offramp.workload.layer_constructors import FeatureMap, elementwise, global_pooling

Axes = int | Sequence[int] | None


def _reduce(op: Op, call: Call, input: Tensor, dim: Axes = None, *_: object, **__: object) -> LayerShape:
    return _pooled(op, call, dim)


def _norm(call: Call, input: Tensor, p: object = None, dim: Axes = None, *_: object, **__: object) -> LayerShape:
    """A norm over axes; its second argument is its order."""
    return _pooled(Op.AVG_POOL, call, dim)


def _extreme(op: Op, call: Call, input: Tensor, other: object = None, *_: object, **__: object) -> LayerShape:
    """The larger or smaller of two tensors at each place, or the extreme of one over axes."""
    if len(call.inputs) == 2:
        return elementwise(Op.ADD, written_values(call), call.bits)
    if isinstance(other, Tensor):
        raise NotPriceableError("must not compare with a constant; write it as a clamp")
    return _pooled(op, call, other if isinstance(other, int) else None)


def _largest(call: Call, input: Tensor, k: int, dim: int = -1, *_: object, **__: object) -> LayerShape:
    """A search for the k largest values along an axis, whose values are read once."""
    return _pooled(Op.MAX_POOL, call, dim, kept=call.output.numel() // k)


def _pooled(op: Op, call: Call, dim: Axes, kept: int = 0) -> LayerShape:
    source = call.single_input
    axes = {axis % source.dim() for axis in ([dim] if isinstance(dim, int) else dim or range(source.dim()))}
    if axes == {0} and source.shape[0] == 1 and source.dim() > 1:
        raise NotPriceableError(f"axes of one image can be reduced, not the batch (axis 0), got `dim` {dim}")
    return global_pooling(op, _windows(source, tuple(sorted(axes)), kept or call.output.numel()), call.bits)


def _windows(source: Tensor, axes: tuple[int, ...], kept: int) -> FeatureMap:
    if (source.dim(), axes) in {(4, (2, 3)), (3, (1,))}:
        return feature_map(source)
    if (source.dim(), axes) == (4, (1, 2)):
        batch, height, width, channels = source.shape  # channels are the last axis
        return FeatureMap(channels, height, width, batch)
    return FeatureMap(kept, source.numel() // kept)


REDUCTION_RULES: dict[str, Callable[..., LayerShape]] = {
    **dict.fromkeys(("mean", "sum", "nansum", "nanmean", "prod", "var", "std"), partial(_reduce, Op.AVG_POOL)),
    **dict.fromkeys(("logsumexp", "any", "all", "count_nonzero"), partial(_reduce, Op.AVG_POOL)),
    **dict.fromkeys(("amax", "amin", "argmax", "argmin"), partial(_reduce, Op.MAX_POOL)),
    "topk": _largest,
    **dict.fromkeys(("max", "min"), partial(_extreme, Op.MAX_POOL)),
    **dict.fromkeys(("norm", "linalg_norm", "linalg_vector_norm"), _norm),
}
"""The rule of each function, as in `offramp.nn.lowering.call_rules`."""
