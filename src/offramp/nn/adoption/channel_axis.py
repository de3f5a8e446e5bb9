"""Which axis of features of three axes holds the channels, told from the layer that computes them."""

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from offramp.nn.adoption.cutting import CallGraph

_CHANNELS_FIRST = (
    _ConvNd,
    nn.BatchNorm1d,
    nn.InstanceNorm1d,
    nn.GroupNorm,
    nn.MaxPool1d,
    nn.AvgPool1d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveMaxPool1d,
)
_CHANNELS_LAST = (nn.Linear, nn.RNNBase, nn.LayerNorm, nn.MultiheadAttention)
_CHANNELS_FIRST_CALLS = frozenset(
    {"conv1d", "batch_norm", "max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d", "group_norm"}
)
_CHANNELS_LAST_CALLS = frozenset({"linear", "gru", "lstm", "rnn_tanh", "rnn_relu", "layer_norm"})
_SWAPS = frozenset({"transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis"})


def channels_last(calls: CallGraph, value: fx.Node) -> bool | None:
    """Tell whether the last axis of a value is that of channels.

    The layer that computes the value decides; activations, sums and dropout are passed by on the way to it.

    Args:
        calls: The calls of the model.
        value: A value of three axes.

    Returns:
        The answer; None where no such layer is found.
    """
    swapped = False
    node: fx.Node | None = value
    while node is not None and node.op != "placeholder":
        answer = _of_layer(calls, node)
        if answer is not None:
            return answer != swapped
        swapped ^= getattr(node.target, "__name__", str(node.target)) in _SWAPS
        node = next(iter(node.all_input_nodes), None)
    # Series come with channels first.
    return swapped if node is not None else None


def _of_layer(calls: CallGraph, node: fx.Node) -> bool | None:
    if node.op == "call_module":
        module = calls.traced.root.get_submodule(str(node.target))
        if isinstance(module, _CHANNELS_FIRST):
            return False
        return True if isinstance(module, _CHANNELS_LAST) else None
    name = getattr(node.target, "__name__", str(node.target))
    if name in _CHANNELS_FIRST_CALLS:
        return False
    return True if name in _CHANNELS_LAST_CALLS else None
