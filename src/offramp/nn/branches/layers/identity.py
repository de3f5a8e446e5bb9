"""No layer: what makes a branch shorter. A branch never lists it, so that no branch has two names."""

from dataclasses import dataclass

from torch import Tensor, nn

from offramp.nn.branches.branch_layer import BRANCH_LAYERS, ElasticBranchLayer
from offramp.space.architecture import BranchLayer


class ElasticIdentity(ElasticBranchLayer):
    def activate(self, in_channels: int, layer: BranchLayer) -> int:
        return in_channels

    def forward(self, features: Tensor) -> Tensor:
        return features

    def extract(self) -> nn.Module:
        return nn.Identity()


@dataclass(frozen=True)
class Identity:
    name: str = "identity"
    description: str = "nothing: the gene of a layer that is not there"

    def choices(self) -> tuple[BranchLayer, ...]:
        return ()

    def build(self, max_channels: int) -> ElasticBranchLayer:
        return ElasticIdentity()


BRANCH_LAYERS.add("identity", Identity())
