"""Max-pooling that halves the map."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.branches.branch_layer import BRANCH_LAYERS, KERNEL_SIZES, ElasticBranchLayer
from offramp.space.architecture import BranchLayer


class ElasticPooling(ElasticBranchLayer):
    """Max-pooling of stride 2 with a kernel size to choose."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel_size, self.stride = KERNEL_SIZES[0], 2

    def activate(self, in_channels: int, layer: BranchLayer) -> int:
        self.kernel_size, self.stride = layer.kernel_size, layer.stride
        return in_channels

    def forward(self, features: Tensor) -> Tensor:
        return F.max_pool2d(features, self.kernel_size, self.stride, self.kernel_size // 2)

    def extract(self) -> nn.Module:
        return nn.MaxPool2d(self.kernel_size, self.stride, self.kernel_size // 2)


@dataclass(frozen=True)
class Pooling:
    """The layer type of max-pooling.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "pooling"
    description: str = "max-pooling, stride 2"

    def choices(self) -> tuple[BranchLayer, ...]:
        # Pooling keeps the number of channels; its width has no meaning and is always 1.
        return tuple(BranchLayer(self.name, kernel, 2, 1) for kernel in KERNEL_SIZES)

    def build(self, max_channels: int) -> ElasticBranchLayer:
        return ElasticPooling()


BRANCH_LAYERS.add("pooling", Pooling())
