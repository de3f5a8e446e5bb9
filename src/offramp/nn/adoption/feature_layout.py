"""Layout of the features at a tap, and their conversion to a feature map for a branch."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from offramp.nn.branches.exit_branch import ElasticBranch
from offramp.nn.network import FeatureInfo

Kind = Literal["map", "map_channels_last", "tokens", "row", "vector"]
_MAX_PREFIX = 16


@dataclass(frozen=True)
class PackedPart:
    """One of several tensors that are flattened and concatenated.

    Attributes:
        start: Place of its first value.
        shape: Its shape for one sample.
    """

    start: int
    shape: tuple[int, ...]

    def of(self, packed: Tensor) -> Tensor:
        """Take it out.

        Args:
            packed: All tensors, (batch, values).

        Returns:
            The tensor, the batch first.
        """
        return packed[:, self.start : self.start + math.prod(self.shape)].reshape(-1, *self.shape)


@dataclass(frozen=True)
class FeatureLayout:
    """Layout of the features at a tap.

    Attributes:
        kind: A feature map with channels first, one with channels last, tokens, a row (channels, steps) or a vector.
        features: Size of the feature map that a branch reads.
        prefix: Number of tokens before those of the grid; branches do not read them.
        part: The tensor that branches read, where several are packed into one.
    """

    kind: Kind
    features: FeatureInfo
    prefix: int = 0
    part: PackedPart | None = None

    @property
    def is_map(self) -> bool:
        """Whether a branch can read the features as they are."""
        return self.kind == "map" and self.part is None


def layout_of(
    shape: tuple[int, ...], size: tuple[int, int], *, channels_last: bool | None = None
) -> FeatureLayout | None:
    """Find the layout of a tensor from its shape.

    Four axes are (batch, channels, height, width), or (batch, height, width, channels) if only these have the
    proportions of the image. Three axes are (batch, tokens, channels). Tokens that fill no grid are a column. Of
    series, which have one row, three axes may also be (batch, channels, steps). Of vectors, which have one value for
    each channel, two axes are features.

    Args:
        shape: Shape of the tensor, the batch first.
        size: Height and width of the images.
        channels_last: Whether the last of three axes of a series is that of channels, where the layer that computes the
            tensor tells; None: the lengths decide.

    Returns:
        The layout; None for another number of axes.
    """
    if size[0] == 1 and len(shape) == 3:
        return _series_layout(shape[1], shape[2], size[1], channels_last)
    if size == (1, 1) and len(shape) == 2:
        return FeatureLayout("vector", FeatureInfo(shape[1], 1, 1))
    if len(shape) == 4:
        _, first, second, third = shape
        if not _alike(second, third, size) and _alike(first, second, size):
            return FeatureLayout("map_channels_last", FeatureInfo(third, first, second))
        return FeatureLayout("map", FeatureInfo(first, second, third))
    if len(shape) == 3:
        _, tokens, channels = shape
        for prefix in range(min(_MAX_PREFIX, tokens)):
            grid = _grid(tokens - prefix, size)
            if grid is not None:
                return FeatureLayout("tokens", FeatureInfo(channels, *grid), prefix)
        return FeatureLayout("tokens", FeatureInfo(channels, tokens, 1))
    return None


def _series_layout(first: int, second: int, steps: int, channels_last: bool | None) -> FeatureLayout:
    """Steps are divided by strides; channels need not have any such length."""
    if channels_last is None:
        channels_last = _alike(1, first, (1, steps)) and (first == steps or not _alike(1, second, (1, steps)))
    if channels_last:
        return FeatureLayout("tokens", FeatureInfo(second, 1, first))
    return FeatureLayout("row", FeatureInfo(first, 1, second))


def _alike(height: int, width: int, size: tuple[int, int]) -> bool:
    """Whether strides can turn such an image into such a map: the proportions are the same, up to rounding up."""
    tall, wide = size
    return any(-(-tall // stride) == height and -(-wide // stride) == width for stride in range(1, max(size) + 1))


def _grid(count: int, size: tuple[int, int]) -> tuple[int, int] | None:
    for height in range(1, count + 1):
        if count % height == 0 and _alike(height, count // height, size):
            return height, count // height
    return None


class ToMap(nn.Module):
    """Converts tokens (batch, tokens, channels), a map with channels last, a row or a vector to a feature map.

    Args:
        layout: Layout of the features.
    """

    def __init__(self, layout: FeatureLayout) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, features: Tensor) -> Tensor:
        layout = self.layout
        if layout.part is not None:
            features = layout.part.of(features)
        if layout.kind == "map_channels_last":
            return features.permute(0, 3, 1, 2)
        if layout.kind == "tokens":
            info = layout.features
            if layout.prefix:
                features = features[:, layout.prefix :]
            return features.transpose(1, 2).reshape(-1, info.channels, info.height, info.width)
        if layout.kind == "row":
            return features.unsqueeze(2)
        if layout.kind == "vector":
            return features.unsqueeze(2).unsqueeze(3)
        return features

    def extra_repr(self) -> str:
        return f"{self.layout.kind}, prefix={self.layout.prefix}"


class MappedBranch(ElasticBranch):
    """A branch that converts the features to a feature map first.

    Args:
        layout: Layout of the features.
        branch: The branch.
    """

    def __init__(self, layout: FeatureLayout, branch: ElasticBranch) -> None:
        super().__init__()
        self.to_map = ToMap(layout)
        self.branch = branch

    def activate(self, in_channels: int, height: int, width: int) -> None:
        self.branch.activate(in_channels, height, width)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.branch(self.to_map(features))
        return logits

    def extract(self) -> nn.Module:
        return nn.Sequential(ToMap(self.to_map.layout), *_parts(self.branch.extract()))


def _parts(module: nn.Module) -> tuple[nn.Module, ...]:
    return tuple(module.children()) if type(module) is nn.Sequential else (module,)
