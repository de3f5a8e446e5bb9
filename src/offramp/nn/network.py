"""Early-exit networks: backbone stages and exit branches, run as a whole or stage by stage."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from offramp.nn.tap_gradient import TapGradient, split_gradient
from offramp.space.architecture import Architecture
from offramp.space.cut_networks import cut_at


@dataclass(frozen=True)
class FeatureInfo:
    """Size of the feature map at a tap.

    Attributes:
        channels: Number of channels.
        height: Number of rows.
        width: Number of columns.
    """

    channels: int
    height: int
    width: int


def input_size(input_shape: tuple[int, int, int], resolution: int) -> tuple[int, int]:
    """Size of images that are resized to a height, with their proportions kept.

    Args:
        input_shape: Shape of the images: channels, height, width.
        resolution: The height.

    Returns:
        Height and width.
    """
    _, height, width = input_shape
    return resolution, max(1, round(width * resolution / height))


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the ``with`` block; afterwards each module has its previous mode again.

    Args:
        network: The network.

    Yields:
        Nothing.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class Resize(nn.Module):
    """Bilinear interpolation to a fixed size; images of that size pass unchanged.

    Args:
        height: Number of rows.
        width: Number of columns.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height = height
        self.width = width

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.height, self.width):
            return images
        return F.interpolate(images, size=(self.height, self.width), mode="bilinear", align_corners=False)


class EarlyExitNetwork(nn.Module):
    """A network with early exits.

    ``stages[i]`` computes the features of exit ``i`` from those of exit ``i - 1``, the first one from the images.
    ``branches[i]`` turns them into logits (batch, classes). The last branch is the final classifier. Where exit ``i``
    has a link, ``links[str(i)]`` adds what the exit before found. No gradient flows back through links, so that an exit
    is not trained to serve the exits behind it.

    Attributes:
        tap_gradient: How gradients of the exits pass into the backbone in training.

    Args:
        architecture: The architecture that the network has.
        stages: The backbone, one part per exit.
        branches: One branch per exit.
        input_shape: Shape of an image: channels, height, width.
        num_classes: Number of logits of each exit.
        links: Links by the number of the exit that reads the logits of the exit before; None = there are none.

    Raises:
        ValueError: There are not as many branches as stages, or a link is not for an exit behind another one.
    """

    def __init__(
        self,
        architecture: Architecture,
        stages: Sequence[nn.Module],
        branches: Sequence[nn.Module],
        input_shape: tuple[int, int, int],
        num_classes: int,
        links: Mapping[int, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        links = links or {}
        if not all(0 < index < len(branches) for index in links):
            raise ValueError(f"links must be for exits 1 to {len(branches) - 1}, got {sorted(links)}.")
        if len(stages) != len(branches):
            raise ValueError(f"every stage must have one branch, got {len(stages)} stages, {len(branches)} branches.")
        self.architecture = architecture
        self.stages = nn.ModuleList(stages)
        self.branches = nn.ModuleList(branches)
        self.links = nn.ModuleDict({str(index): link for index, link in links.items()})
        self.input_shape = input_shape
        self.num_classes = num_classes
        self.tap_gradient: TapGradient = "full"

    @property
    def num_exits(self) -> int:
        """Number of exits, the final classifier included."""
        return len(self.branches)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits (batch, classes) of every exit for ``images`` (batch, channels, height, width)."""
        features = images
        logits: list[Tensor] = []
        for index, (stage, branch) in enumerate(zip(self.stages, self.branches, strict=True)):
            entering, features = split_gradient(stage(features), self.tap_gradient, self.num_exits - 1 - index)
            logits.append(self.linked(index, branch(entering), logits[-1] if logits else None))
        return tuple(logits)

    def linked(self, index: int, logits: Tensor, previous: Tensor | None) -> Tensor:
        """Add what the exit before found, if the exit has a link.

        Args:
            index: Number of the exit, from 0.
            logits: Logits of its own branch (batch, classes).
            previous: Logits of the exit before (batch, classes); None for the first exit.

        Returns:
            The logits of the exit (batch, classes).
        """
        if previous is None or str(index) not in self.links:
            return logits
        return cast(Tensor, self.links[str(index)](previous.detach(), logits))

    def run_stage(self, index: int, features: Tensor, previous: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run one stage and its branch.

        Args:
            index: Number of the stage, from 0.
            features: Features of the stage before; for the first stage, images (batch, channels, height, width).
            previous: Logits (batch, classes) of the exit before, which an exit with a link reads.

        Returns:
            The features of the stage and the logits (batch, classes) of its exit.
        """
        features = cast(Tensor, self.stages[index](features))
        return features, self.linked(index, cast(Tensor, self.branches[index](features)), previous)

    def with_exits(
        self, indices: Sequence[int], end: int | None = None, max_depths: Sequence[int] = ()
    ) -> "EarlyExitNetwork":
        """This network with only some of its early exits, perhaps cut behind one of its exits.

        The stage of an exit that is left out becomes part of the next stage. All that lies behind the end is removed.
        A link reads the exit before that is kept, and the first exit has none.

        Args:
            indices: Numbers of the early exits to keep, from 0, in increasing order.
            end: Number of the exit whose branch becomes the classifier at the end; None: the last one.
            max_depths: Largest depth of each stage in the space, by which taps are numbered; see `cut_at`.

        Returns:
            A network that shares its modules with this one; this network itself if all exits are kept.

        Raises:
            ValueError: The numbers do not increase, or one is not that of an early exit before the end.
        """
        final = self.num_exits - 1 if end is None else end
        ends = [*indices, final]
        if not 0 <= final < self.num_exits or not all(0 <= a < b for a, b in itertools.pairwise(ends)):
            raise ValueError(
                f"`indices` must be increasing numbers of early exits, 0 to {final - 1}, got {list(indices)}; the end "
                f"must be one of {self.num_exits} exits, got {final}."
            )
        if len(ends) == self.num_exits:
            return self
        starts = [0, *(place + 1 for place in ends[:-1])]
        parts = [list(self.stages)[start : place + 1] for start, place in zip(starts, ends, strict=True)]
        return EarlyExitNetwork(
            self._architecture_with(indices, final, max_depths),
            [_joined(part) for part in parts],
            [self.branches[place] for place in ends],
            self.input_shape,
            self.num_classes,
            {place: self.links[str(end)] for place, end in enumerate(ends) if place and str(end) in self.links},
        ).train(self.training)

    def without_links(self) -> "EarlyExitNetwork":
        """This network with the logits of each exit's own branch alone; it shares its modules with this one."""
        plain = EarlyExitNetwork(
            self.architecture, list(self.stages), list(self.branches), self.input_shape, self.num_classes
        )
        return plain.train(self.training)

    def _architecture_with(self, indices: Sequence[int], end: int, max_depths: Sequence[int]) -> Architecture:
        whole = self.architecture
        if end < self.num_exits - 1:
            whole = cut_at(whole, whole.exits[end], max_depths)
        if not indices:
            return whole.without_exits()
        return replace(whole, exits=tuple(whole.exits[index] for index in indices))

    def example_input(self, batch: int = 1) -> Tensor:
        """A batch of zeros in the input shape of the network.

        Args:
            batch: Number of images.

        Returns:
            Zeros (batch, channels, height, width).
        """
        return torch.zeros(batch, *self.input_shape)


def _joined(parts: Sequence[nn.Module]) -> nn.Module:
    """Several stages as one. Graphs are joined into one graph, which stages of quantised networks must be."""
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
