"""Layout of the features at a tap, and their conversion to a feature map for a branch."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from offramp.nn.branches.exit_branch import ElasticBranch
from offramp.nn.network import FeatureInfo

Kind = Literal["map", "map_channels_last", "tokens"]
_MAX_PREFIX = 16


@dataclass(frozen=True)
class FeatureLayout:
    """``features`` as a branch sees them; ``prefix`` tokens come before those of the grid and are left out."""

    kind: Kind
    features: FeatureInfo
    prefix: int = 0


def layout_of(shape: tuple[int, ...], size: tuple[int, int]) -> FeatureLayout | None:
    """The layout of a tensor (batch, ...) in a network for images of this height and width; None if it has none.

    Four axes are (batch, channels, height, width), or (batch, height, width, channels) where the proportions of the
    image say so; three are (batch, tokens, channels). Tokens that fill no grid are a column.
    """
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


def _alike(height: int, width: int, size: tuple[int, int]) -> bool:
    """Whether a map may come from such an image by strides: the same proportions, but for rounding up."""
    tall, wide = size
    return any(-(-tall // stride) == height and -(-wide // stride) == width for stride in range(1, max(size) + 1))


def _grid(count: int, size: tuple[int, int]) -> tuple[int, int] | None:
    for height in range(1, count + 1):
        if count % height == 0 and _alike(height, count // height, size):
            return height, count // height
    return None


class ToMap(nn.Module):
    """Tokens (batch, tokens, channels) or a map with channels last as a map (batch, channels, height, width)."""

    def __init__(self, layout: FeatureLayout) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, features: Tensor) -> Tensor:
        layout = self.layout
        if layout.kind == "map_channels_last":
            return features.permute(0, 3, 1, 2)
        if layout.kind == "tokens":
            info = layout.features
            if layout.prefix:
                features = features[:, layout.prefix :]
            return features.transpose(1, 2).reshape(-1, info.channels, info.height, info.width)
        return features

    def extra_repr(self) -> str:
        return f"{self.layout.kind}, prefix={self.layout.prefix}"


class MappedBranch(ElasticBranch):
    """A branch behind the step that makes a map of what the tap yields."""

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
