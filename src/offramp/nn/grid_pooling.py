"""Max-pooling of maps of any size to a small grid, with a fixed kernel and stride, as ONNX requires."""

from typing import cast

from torch import Tensor, nn

_GRID = 4


class GridPool(nn.MaxPool2d):
    """Max-pool to 4x4; an axis of 4 or less is kept.

    Stride ``n // 4`` and kernel ``n - 3 * stride`` give exactly 4 values that cover an axis of any length ``n``. Where
    4 divides ``n``, both are ``n / 4``.

    Args:
        height: Rows of the feature map.
        width: Columns of the feature map.
    """

    def __init__(self, height: int, width: int) -> None:
        strides = tuple(max(1, size // _GRID) for size in (height, width))
        kernels = tuple(
            size - (_GRID - 1) * stride if size > _GRID else 1
            for size, stride in zip((height, width), strides, strict=True)
        )
        super().__init__(cast(tuple[int, int], kernels), cast(tuple[int, int], strides))
        self.rows = min(height, _GRID)
        self.columns = min(width, _GRID)

    @property
    def is_identity(self) -> bool:
        """Whether the map is already small enough, so that nothing is pooled."""
        return self.kernel_size == (1, 1)

    def forward(self, features: Tensor) -> Tensor:
        return features if self.is_identity else super().forward(features)

    def extract(self) -> nn.MaxPool2d:
        """A plain pooling layer with the same kernel and stride."""
        return nn.MaxPool2d(self.kernel_size, self.stride)
