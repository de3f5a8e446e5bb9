"""EarlyExitNetwork: backbone stages and exit branches that give all logits, or really stop early."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.space.architecture import Architecture


@dataclass(frozen=True)
class FeatureInfo:
    """What a tap yields: channels, height and width of its feature map."""

    channels: int
    height: int
    width: int


def input_size(input_shape: tuple[int, int, int], resolution: int) -> tuple[int, int]:
    """Height and width of images (channels, height, width) at a resolution: the height, at the images' own shape."""
    _, height, width = input_shape
    return resolution, max(1, round(width * resolution / height))


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; each module has its own mode back afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class Resize(nn.Module):
    """Bilinear interpolation to a fixed size; images that have it already pass unchanged."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height = height
        self.width = width

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.height, self.width):
            return images
        return F.interpolate(images, size=(self.height, self.width), mode="bilinear", align_corners=False)


class EarlyExitNetwork(nn.Module):
    """``stages[i]`` computes the features of exit ``i`` from those of exit ``i - 1`` (the first from the image).

    ``branches[i]`` turns them into logits (batch, classes). The last branch is the final classifier.
    """

    def __init__(
        self,
        architecture: Architecture,
        stages: Sequence[nn.Module],
        branches: Sequence[nn.Module],
        input_shape: tuple[int, int, int],
        num_classes: int,
    ) -> None:
        super().__init__()
        if len(stages) != len(branches):
            raise ValueError(f"every stage must have one branch, got {len(stages)} stages, {len(branches)} branches.")
        self.architecture = architecture
        self.stages = nn.ModuleList(stages)
        self.branches = nn.ModuleList(branches)
        self.input_shape = input_shape
        self.num_classes = num_classes

    @property
    def num_exits(self) -> int:
        return len(self.branches)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits of every exit for ``images`` (batch, channels, height, width)."""
        features = images
        logits = []
        for stage, branch in zip(self.stages, self.branches, strict=True):
            features = stage(features)
            logits.append(branch(features))
        return tuple(logits)

    def run_stage(self, index: int, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features after stage ``index`` and the logits of its exit."""
        features = cast(Tensor, self.stages[index](features))
        return features, cast(Tensor, self.branches[index](features))

    def example_input(self, batch: int = 1) -> Tensor:
        return torch.zeros(batch, *self.input_shape)
