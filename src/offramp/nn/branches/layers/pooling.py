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
        self.one_row = self.one_column = False

    def fit_to_axes_(self, *, one_row: bool, one_column: bool) -> None:
        """Pool only along the axes that have several values.

        Args:
            one_row: Whether all maps have one row.
            one_column: Whether all maps have one column.
        """
        self.one_row, self.one_column = one_row, one_column

    def activate(self, in_channels: int, layer: BranchLayer) -> int:
        self.kernel_size, self.stride = layer.kernel_size, layer.stride
        return in_channels

    def forward(self, features: Tensor) -> Tensor:
        return F.max_pool2d(features, *self._window)

    def extract(self) -> nn.Module:
        return nn.MaxPool2d(*self._window)

    @property
    def _window(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Kernel, stride and padding, each in height and width."""
        kernel, stride = self.kernel_size, self.stride
        rows, columns = (
            (1, 1, 0) if only else (kernel, stride, kernel // 2) for only in (self.one_row, self.one_column)
        )
        return (rows[0], columns[0]), (rows[1], columns[1]), (rows[2], columns[2])


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
