"""Channel sorting: the most important channels come first, so that narrow subnets keep the best ones.

Narrow subnets use the leading channels of each layer. The largest subnet computes the same as before if all layers that
share channels are sorted in the same order. Source: Cai et al. 2020, "Once-for-All", section 3.2 (elastic width by
channel sorting); importance by batch-norm weights: Liu et al. 2017, "Network Slimming".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from offramp.nn.backbone import Backbone, ElasticBackbone, ElasticBlock
from offramp.nn.elastic.elastic_layers import ElasticConvNorm, ElasticLinear
from offramp.nn.supernet.supernet import Supernet


@dataclass(eq=False)
class ChannelGroup:
    """Layers that share channels, which must therefore have the same order in all of them.

    Attributes:
        writers: layers whose outputs are these channels.
        followers: depthwise layers, which process each channel alone.
        readers: layers whose inputs are these channels.
    """

    writers: list[ElasticConvNorm] = field(default_factory=list)
    followers: list[ElasticConvNorm] = field(default_factory=list)
    readers: list[ElasticConvNorm | ElasticLinear] = field(default_factory=list)

    def importance(self) -> Tensor:
        """Importance of each channel (channels,).

        It is the sum, over writers and followers, of the absolute batch-norm weight relative to its mean in the layer.
        """
        total = torch.zeros_like(self.writers[0].norm.weight)
        for layer in (*self.writers, *self.followers):
            size = layer.norm.weight.detach().abs()
            total += size / size.mean().clamp_min(torch.finfo(size.dtype).tiny)
        return total

    @torch.no_grad()
    def sort_(self) -> None:
        """Sort the channels by falling importance; channels of equal importance keep their order."""
        order = self.importance().argsort(descending=True, stable=True)
        for layer in (*self.writers, *self.followers):
            _permute_outputs_(layer, order)
        for reader in self.readers:
            weight = reader.conv.weight if isinstance(reader, ElasticConvNorm) else reader.weight
            weight.copy_(weight[:, order].clone())


def sort_channels_(supernet: Supernet) -> int:
    """Sort all channels that narrow subnets leave out.

    The momentum of an optimiser belongs to the old order and must be cleared.

    Args:
        supernet: the supernet, whose weights are sorted in place.

    Returns:
        The number of groups of channels; 0 if the backbone does not support sorting.
    """
    groups = channel_groups(supernet)
    for group in groups:
        group.sort_()
    return len(groups)


def channel_groups(supernet: Supernet) -> list[ChannelGroup]:
    """Find the layers that share channels.

    Args:
        supernet: the supernet.

    Returns:
        The groups in the backbone and its branches; empty if a block does not say how channels pass through it.
    """
    backbone: Backbone = supernet.backbone
    if not isinstance(backbone, ElasticBackbone):
        return []
    stages = [[cast(ElasticBlock, block) for block in cast(nn.ModuleList, blocks)] for blocks in backbone.stages]
    if any(block.channel_paths() is None for blocks in stages for block in blocks):
        return []
    groups: list[ChannelGroup] = []
    current = ChannelGroup(writers=[backbone.stem])
    between = [current]
    tap = 0
    for blocks in stages:
        output: ChannelGroup | None = None
        for block in blocks:
            current = _follow(block, current, output, groups)
            if output is None and current is not between[-1]:
                between.append(current)
            # Any block of a stage may be its last one, so all of them write the channels that the next stage reads.
            output = current
            _add_branches(supernet, tap, current)
            tap += 1
    return between + groups


def _follow(
    block: ElasticBlock, entering: ChannelGroup, output: ChannelGroup | None, inner: list[ChannelGroup]
) -> ChannelGroup:
    """Add the layers of a block to their groups; returns the group that it writes, ``output`` if that is given."""
    paths = block.channel_paths()
    assert paths is not None
    result = output or (entering if paths.passes_input else ChannelGroup())
    for path in paths.layers:
        group = entering
        for index, layer in enumerate(path):
            if layer.conv.depthwise:
                group.followers.append(layer)
                continue
            group.readers.append(layer)
            is_last = all(later.conv.depthwise for later in path[index + 1 :])
            group = result if is_last else ChannelGroup()
            group.writers.append(layer)
            if not is_last:
                inner.append(group)
    return result


def _add_branches(supernet: Supernet, tap: int, group: ChannelGroup) -> None:
    banks: Iterable[nn.Module] = (
        cast(nn.ModuleDict, supernet.taps[tap]).values() if tap < len(supernet.taps) else supernet.final.values()
    )
    for branch in banks:
        layers: Sequence[nn.Module] = [m for m in branch.modules() if isinstance(m, ElasticConvNorm | ElasticLinear)]
        for layer in layers:
            if isinstance(layer, ElasticConvNorm) and layer.conv.depthwise:
                group.followers.append(layer)
                continue
            group.readers.append(cast(ElasticConvNorm | ElasticLinear, layer))
            break


def _permute_outputs_(layer: ElasticConvNorm, order: Tensor) -> None:
    norm = layer.norm
    tensors = [layer.conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]
    if layer.conv.quantizer is not None:
        tensors += list(layer.conv.quantizer.scales)
    if layer.conv.analog is not None:
        tensors.append(layer.conv.analog.ternary_scale)
    for tensor in tensors:
        tensor.copy_(tensor[order].clone())
