"""Choice of taps among the places where a model can be cut."""

import contextlib
import operator
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from offramp.errors import AdoptError
from offramp.nn.adoption.channel_axis import channels_last
from offramp.nn.adoption.cutting import CallGraph, Cut
from offramp.nn.adoption.feature_layout import FeatureLayout, layout_of
from offramp.nn.adoption.tracing import MODEL

_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_POOL_CALLS = frozenset(
    {
        "mean",
        "amax",
        "max",
        "sum",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
    }
)
LAYERS_WITH_MACS = (_ConvNd, nn.Linear, nn.RNNBase)
"""Modules that are layers with MACs."""

_SELECTIONS = (operator.getitem, "select", "narrow")


@dataclass(frozen=True)
class TapPlan:
    """Where to cut a model.

    Attributes:
        cuts: The cuts, in order of execution; the last one is before the head, early exits are at the others.
        macs: MACs of one image up to each cut.
        total_macs: MACs of one image in the whole model.
    """

    cuts: tuple[Cut, ...]
    macs: tuple[int, ...]
    total_macs: int


def feature_cuts(calls: CallGraph, size: tuple[int, int]) -> tuple[Cut, ...]:
    """The cuts before the head whose value is a feature map or tokens.

    The head begins where the features are pooled to one vector, or flattened.

    Args:
        calls: The calls and cuts of the model.
        size: Height and width of the images.

    Returns:
        The cuts, in order of execution.
    """
    features: list[Cut] = []
    for cut in calls.cuts:
        # All features of a model of vectors have two axes; its last value are the logits.
        is_head = cut.position == len(calls.calls) if size == (1, 1) else len(cut.shape) == 2 or _is_head(calls, cut)
        if features and is_head and cut.value not in calls.packed:
            break
        if _layout(calls, cut, size) is not None:
            features.append(cut)
    return tuple(features)


def _layout(calls: CallGraph, cut: Cut, size: tuple[int, int]) -> FeatureLayout | None:
    part = calls.packed.get(cut.value)
    if part is None:
        return layout_of(cut.shape, size, channels_last=channels_last(calls, cut.value))
    layout = layout_of((cut.shape[0], *part.shape), size)
    return None if layout is None else replace(layout, part=part)


def _is_head(calls: CallGraph, cut: Cut) -> bool:
    node = cut.value
    if cut.shape[2:] not in ((1, 1), (1,)) and len(cut.shape) > 2:
        return False
    if node.op == "call_module":
        return isinstance(calls.traced.root.get_submodule(str(node.target)), _POOLS)
    return getattr(node.target, "__name__", node.target) in _POOL_CALLS or node.target in _SELECTIONS


def plan_taps(calls: CallGraph, example: Tensor, names: Sequence[str] | None, max_taps: int) -> TapPlan:
    """Choose the cuts for early exits, and the one before the head.

    Args:
        calls: The calls and cuts of the model.
        example: Images (batch, channels, height, width).
        names: Names of modules behind which to cut; None: cuts are spread evenly over the MACs.
        max_taps: The largest number of cuts for early exits, >= 1; only without ``names``.

    Returns:
        The cuts with their MACs.

    Raises:
        AdoptError: The model has no usable cuts, or none behind one of the names.
    """
    height, width = example.shape[-2:]
    usable = feature_cuts(calls, (height, width))
    if not usable:
        raise AdoptError(f"The model cannot be cut: {_why_not(calls)}.")
    macs, total = _macs(calls, usable, example)
    reached = dict(zip(usable, macs, strict=True))
    if names is not None:
        early = _named(usable, names)
    elif calls.packed:
        # Each of these cuts was made to be used.
        early = [cut for cut in usable[:-1] if cut.value in calls.packed]
    else:
        early = _spread(_blocks(calls, _steps(usable, reached)), reached, max_taps)
    if not early:
        raise AdoptError(
            "The model cannot be cut: between the image and its last feature map there is no other place where one "
            f"tensor alone goes on (the last one is {usable[-1].name!r})."
        )
    cuts = (*early, usable[-1])
    return TapPlan(cuts, tuple(reached[cut] for cut in cuts), total)


def _why_not(calls: CallGraph) -> str:
    if not calls.cuts:
        return "nowhere in it does one tensor alone go on to the rest"
    shapes = sorted({str(cut.shape[1:]) for cut in calls.cuts})
    return (
        "where one tensor alone goes on, it must be a feature map (channels, height, width) or tokens (tokens, "
        f"channels), but it has shape {', '.join(shapes[:4])}"
    )


def _macs(calls: CallGraph, cuts: Sequence[Cut], example: Tensor) -> tuple[tuple[int, ...], int]:
    """MACs of one image up to each cut, and in all."""
    features, done, totals = example[:1].clone(), 0, []
    for piece in calls.pieces(cuts):
        counter = FlopCounterMode(display=False)
        plain = contextlib.ExitStack()
        for context in (_constant_parameters(piece), _products_of_recurrent_layers(piece), products_of_attention()):
            plain.enter_context(context)
        with torch.no_grad(), plain, counter:
            features = piece(features)
        done += counter.get_total_flops() // 2
        totals.append(done)
    return tuple(totals[:-1]), totals[-1]


@contextlib.contextmanager
def _products_of_recurrent_layers(module: nn.Module) -> Iterator[None]:
    """Recurrent layers are computed by matrix products, which torch's counter sees; those of oneDNN it does not."""
    if not any(isinstance(part, nn.RNNBase) for part in module.modules()):
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch speaks of GPUs that are not there
        with torch.backends.mkldnn.flags(enabled=False):
            yield


@contextlib.contextmanager
def products_of_attention() -> Iterator[None]:
    """Attention is computed by matrix products, which torch's counter sees; of its fused kernels on CPUs it sees none.

    Yields:
        Nothing.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def _constant_parameters(module: nn.Module) -> Iterator[None]:
    """No parameter requires a gradient: torch's counter fails where one is the input of a submodule, as a token is."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def _steps(cuts: Sequence[Cut], reached: dict[Cut, int]) -> list[Cut]:
    """Of the cuts with no MACs between them, the last one: behind norms, activations and pooling.

    Cuts before the first MAC are left out, and so are those behind which only the head has MACs.
    """
    end = reached[cuts[-1]]
    last = {reached[cut]: cut for cut in cuts}
    return [cut for macs, cut in last.items() if 0 < macs < end]


def _blocks(calls: CallGraph, cuts: Sequence[Cut]) -> list[Cut]:
    """The cuts at the end of a block, if there are any: features inside a block are often wider."""
    return [cut for cut in cuts if any(is_block(calls, name) for name in cut.names)] or list(cuts)


def is_block(calls: CallGraph, name: str) -> bool:
    """Check whether a module contains layers, and is an element of a sequence or a direct part of the model.

    Args:
        calls: The calls of the model.
        name: Name of the module in the model.

    Returns:
        Whether it is a block.
    """
    path = f"{MODEL}.{name}"
    module, parent = calls.traced.root.get_submodule(path), calls.traced.root.get_submodule(path.rpartition(".")[0])
    in_a_row = parent is calls.traced.root.get_submodule(MODEL) or isinstance(parent, nn.Sequential | nn.ModuleList)
    has_layers = any(isinstance(part, LAYERS_WITH_MACS) for part in module.modules())
    return in_a_row and not isinstance(module, LAYERS_WITH_MACS) and has_layers


def _spread(cuts: Sequence[Cut], reached: dict[Cut, int], count: int) -> list[Cut]:
    """At most ``count`` cuts whose shares of the MACs are nearest to even ones."""
    if len(cuts) <= count:
        return list(cuts)
    first, last = reached[cuts[0]], reached[cuts[-1]]
    chosen: dict[Cut, None] = {}
    for index in range(count):
        goal = first + (last - first) * index / max(count - 1, 1)
        free = [cut for cut in cuts if cut not in chosen]
        chosen[min(free, key=lambda cut: abs(reached[cut] - goal))] = None
    return sorted(chosen, key=lambda cut: cut.position)


def _named(cuts: Sequence[Cut], names: Sequence[str]) -> list[Cut]:
    chosen = []
    for name in names:
        found = [cut for cut in cuts[:-1] if name in cut.names or name == cut.name]
        if not found:
            known = ", ".join(cut.name for cut in cuts[:-1]) or "none"
            raise AdoptError(f"The model cannot be cut behind {name!r}. It can be cut behind: {known}.")
        chosen.append(found[0])
    return sorted(dict.fromkeys(chosen), key=lambda cut: cut.position)


def layouts(calls: CallGraph, plan: TapPlan, size: tuple[int, int]) -> tuple[FeatureLayout, ...]:
    """The layouts of the features at the cuts of a plan.

    Args:
        calls: The calls of the model.
        plan: The plan.
        size: Height and width of the images.

    Returns:
        One layout per cut.
    """
    found = [_layout(calls, cut, size) for cut in plan.cuts]
    return tuple(layout for layout in found if layout is not None)
