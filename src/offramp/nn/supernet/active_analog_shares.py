"""Active analog shares of a supernet: its layers with analog channels, and their read noise."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from offramp.nn.analog.array_arithmetic import Noise
from offramp.nn.backbone import ActiveBlock, ElasticBlock
from offramp.nn.branches.exit_branch import ElasticBranch
from offramp.nn.elastic.analog_channels import AnalogChannelRule, ElasticAnalogChannels
from offramp.nn.elastic.elastic_layers import ElasticConvNorm
from offramp.space.architecture import Architecture


class SupernetAnalogChannels:
    """The analog channels of the convolutions in blocks and exit branches.

    Shares have the same meaning as for the extracted network (`offramp.cost.mapping.channel_split.analog_shares`): one
    per block or per layer in the order in which layers were made, and one per exit or head. The stem and the final
    classifier of the family stay digital.
    """

    def __init__(self, backbone: nn.Module, branches: nn.Module, rule: AnalogChannelRule) -> None:
        """Add analog channels to all convolutions that are not depthwise.

        Args:
            backbone: the backbone, whose blocks get analog channels.
            branches: the exit branches.
            rule: says how many channels a share of a layer is.
        """
        self._noise = Noise()
        blocks = (module for module in backbone.modules() if isinstance(module, ElasticBlock))
        for part in (*blocks, branches):
            for layer in _dense_layers(part):
                layer.conv.analog = ElasticAnalogChannels(rule, self._noise, layer.conv.weight.shape[0])

    def choose(
        self, architecture: Architecture, blocks: Sequence[ActiveBlock], branches: Mapping[int, ElasticBranch]
    ) -> None:
        """Set the share of each layer.

        Args:
            architecture: holds the shares of its stages and exits.
            blocks: the active blocks, in order.
            branches: tap numbers to the active branches, in order, the final one last.
        """
        places = ((stage, block) for stage in architecture.stages for block in range(stage.depth))
        for active, (stage, index) in zip(blocks, places, strict=True):
            shares = stage.block_analog_shares(index) or (0.0,)
            for number, layer in enumerate(_layers(active.block)):
                _set_share(layer, shares[min(number, len(shares) - 1)])
        for branch, share in zip(branches.values(), architecture.analog_shares_of_branches, strict=True):
            for layer in _layers(branch):
                _set_share(layer, share)

    def set_noise(self, generator: torch.Generator | None, *, shared_by: int = 1) -> None:
        """Set the source of the converters' noise.

        Args:
            generator: random generator of the noise; None = no noise.
            shared_by: number of images of a batch that have the same noise, >= 1.
        """
        self._noise.generator, self._noise.shared_by = generator, shared_by


def has_analog_layers(branch: nn.Module) -> bool:
    """Whether a branch has convolutions that may have analog channels.

    Args:
        branch: an elastic exit branch.

    Returns:
        True if at least one of its convolutions is not depthwise.
    """
    return bool(_dense_layers(branch))


def _dense_layers(part: nn.Module) -> list[ElasticConvNorm]:
    return [layer for layer in _layers(part) if not layer.conv.depthwise]


def _layers(part: nn.Module) -> list[ElasticConvNorm]:
    return [module for module in part.modules() if isinstance(module, ElasticConvNorm)]


def _set_share(layer: ElasticConvNorm, share: float) -> None:
    if layer.conv.analog is not None:
        layer.conv.analog.share = share
