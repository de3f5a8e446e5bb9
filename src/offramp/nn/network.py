"""EarlyExitNetwork: backbone stages and exit branches; returns all logits, or stops at the first confident exit."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

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

    def keeping(self, places: Sequence[int]) -> "EarlyExitNetwork":
        """This network with some of its early exits, given by their increasing places, and the final classifier.

        Modules are shared, not copied; stages before exits that are left out become part of the next one.
        """
        final = self.num_exits - 1
        ends = [*places, final]
        if not all(0 <= first < second for first, second in itertools.pairwise(ends)):
            raise ValueError(
                f"`places` must be increasing places of early exits, 0 to {final - 1}, got {list(places)}."
            )
        if len(ends) == self.num_exits:
            return self
        starts = [0, *(end + 1 for end in ends[:-1])]
        parts = [list(self.stages)[start : end + 1] for start, end in zip(starts, ends, strict=True)]
        return EarlyExitNetwork(
            replace(self.architecture, exits=tuple(self.architecture.exits[place] for place in places)),
            [_one_after_the_other(part) for part in parts],
            [self.branches[end] for end in ends],
            self.input_shape,
            self.num_classes,
        ).train(self.training)

    def example_input(self, batch: int = 1) -> Tensor:
        return torch.zeros(batch, *self.input_shape)


def _one_after_the_other(parts: Sequence[nn.Module]) -> nn.Module:
    """Several stages as one; of graphs it is one graph, as stages of quantised networks must be."""
    if len(parts) == 1:
        return parts[0]
    modules = nn.Sequential(*parts)
    graphs = [part.graph for part in parts if isinstance(part, fx.GraphModule)]
    if len(graphs) < len(parts):
        return modules
    graph = fx.Graph()
    value: Any = graph.placeholder("features")
    for index, part in enumerate(graphs):
        copied = {node: value for node in part.nodes if node.op == "placeholder"}
        value = graph.graph_copy(part, copied)
        for node, copy in copied.items():
            if node.op in ("call_module", "get_attr"):
                copy.target = f"{index}.{node.target}"
    graph.output(value)
    return fx.GraphModule(modules, graph)
