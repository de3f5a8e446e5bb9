"""No layer. A search chooses it to make a branch shorter; architectures leave it out, so each branch has one form."""

from dataclasses import dataclass

from torch import Tensor, nn

from offramp.nn.branches.branch_layer import BRANCH_LAYERS, ElasticBranchLayer
from offramp.space.architecture import BranchLayer


class ElasticIdentity(ElasticBranchLayer):
    """Gives its input back."""

    def activate(self, in_channels: int, layer: BranchLayer) -> int:
        return in_channels

    def forward(self, features: Tensor) -> Tensor:
        return features

    def extract(self) -> nn.Module:
        return nn.Identity()


@dataclass(frozen=True)
class Identity:
    """The layer type that stands for no layer.

    Attributes:
        name: Name of the type in settings and architectures.
        description: One line for people.
    """

    name: str = "identity"
    description: str = "nothing: the gene of a layer that is not there"

    def choices(self) -> tuple[BranchLayer, ...]:
        return ()

    def build(self, max_channels: int) -> ElasticBranchLayer:
        return ElasticIdentity()


BRANCH_LAYERS.add("identity", Identity())
