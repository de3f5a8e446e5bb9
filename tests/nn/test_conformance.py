"""Every registered backbone family and branch type, and the checks themselves on plug-ins with one fault each."""

from dataclasses import dataclass

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.backbone import BACKBONES, BlockPlace, BlockSizes, ElasticBackbone, ElasticBlock, build_backbone
from offramp.nn.backbones.resnet import ElasticBasicBlock
from offramp.nn.branches.exit_branch import EXIT_BRANCHES, ElasticBranch
from offramp.nn.elastic.elastic_layers import ElasticConvNorm, ElasticLinear
from offramp.space.search_space import BackboneSpace, StageSpace
from offramp.testing.conformance import check_backbone, check_exit_branch
from tests.nn import members


@pytest.mark.parametrize("name", list(BACKBONES))
def test_backbone(name: str) -> None:
    check_backbone(name, members.shape_for(name, (3, 8, 8)))


@pytest.mark.parametrize("name", list(BACKBONES))
def test_backbone_on_odd_grey_images(name: str) -> None:
    check_backbone(name, members.shape_for(name, (1, 11, 7)))


@pytest.mark.parametrize("name", list(EXIT_BRANCHES))
def test_exit_branch(name: str) -> None:
    check_exit_branch(name)


class ForgetsShortcut(ElasticBasicBlock):
    """Extracts a block without its shortcut."""

    def extract(self) -> nn.Module:
        return nn.Sequential(self.first.extract(), self.second.extract(), nn.ReLU())


class IgnoresWidth(ElasticBlock):
    """Always computes at the largest width, whatever was chosen."""

    def __init__(self, largest: BlockSizes, place: BlockPlace) -> None:
        super().__init__()
        self.conv = ElasticConvNorm(largest.in_channels, largest.out_channels, 3, stride=place.stride)
        self.largest = largest

    def activate(self, sizes: BlockSizes) -> None:
        self.conv.activate(sizes.in_channels, self.largest.out_channels, 3)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.conv(features))

    def extract(self) -> nn.Module:
        return self.conv.extract()


class StopsGradients(ElasticBasicBlock):
    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.detach())


@dataclass(frozen=True)
class Broken:
    block: type[ElasticBlock]
    name: str = "broken"
    description: str = "a family with a fault"

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        return BackboneSpace(
            self.name, (input_shape[1],), (StageSpace((1, 2), (4,)), StageSpace((1,), (4, 8), stride=2))
        )

    def build(self, space: BackboneSpace, input_channels: int) -> ElasticBackbone:
        return build_backbone(space, input_channels, self.block)


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(BACKBONES)
    assert list(EXIT_BRANCHES)  # both have looked for plug-ins before their names are replaced
    monkeypatch.setattr(BACKBONES, "_items", dict(BACKBONES._items))
    monkeypatch.setattr(EXIT_BRANCHES, "_items", dict(EXIT_BRANCHES._items))


@pytest.mark.parametrize(
    ("block", "error", "message"),
    [
        (ForgetsShortcut, AssertionError, "exit 0 of the extracted network and of the active subnet must agree"),
        (IgnoresWidth, RuntimeError, "shapes cannot be multiplied"),
        (StopsGradients, AssertionError, "loss of exit 0 must reach the stem"),
    ],
)
def test_a_broken_backbone_is_found(
    registries: None, block: type[ElasticBlock], error: type[Exception], message: str
) -> None:
    BACKBONES.add("broken", Broken(block))
    with pytest.raises(error, match=message):
        check_backbone("broken")


class Leaky(ElasticBranch):
    """Looks at the first channel only."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.linear = ElasticLinear(1, num_classes)

    def activate(self, in_channels: int, height: int, width: int) -> None: ...

    def forward(self, features: Tensor) -> Tensor:
        pooled: Tensor = self.linear(features[:, :1].mean((2, 3)))
        return pooled

    def extract(self) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.linear.extract())


@dataclass(frozen=True)
class LeakyType:
    name: str = "leaky"
    description: str = "a branch with a fault"

    def build(self, max_channels: int, height: int, width: int, num_classes: int) -> ElasticBranch:
        return Leaky(num_classes)


def test_a_branch_that_skips_channels_is_found(registries: None) -> None:
    EXIT_BRANCHES.add("leaky", LeakyType())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        check_exit_branch("leaky")


def test_a_wrong_name_is_found(registries: None) -> None:
    EXIT_BRANCHES.add("other", LeakyType())
    with pytest.raises(AssertionError, match="must agree"):
        check_exit_branch("other")
