"""An elastic vision transformer: depth, width, number of heads and MLP ratio are searched.

Between blocks, tokens are a map (channels, rows, columns), so that exits of every type read them; a branch with a
global pool reads the mean token. There is no class token. Networks compute in floating point.

Sources: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words" (blocks with the norm first); Chen et al. 2021,
"AutoFormer" (weights that all sizes share, heads of fixed width); Chu et al. 2021, "Conditional Positional Encodings
for Vision Transformers" (positions from a depthwise convolution, which fits inputs of any size); Xiao et al. 2021,
"Early Convolutions Help Transformers See Better" (batch norm and ReLU behind the patches).
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.backbone import BACKBONES, BlockPlace, BlockSizes, ElasticBackbone, ElasticBlock, build_backbone
from offramp.nn.elastic.elastic_layers import ElasticConv2d
from offramp.nn.elastic.elastic_tokens import ElasticAttention, ElasticDense, ElasticLayerNorm
from offramp.space.search_space import BackboneSpace, StageSpace

_TOKENS_PER_SIDE, _TOKENS_OF_SERIES = 8, 64
_POSITION_KERNEL = 3


class EncoderBlock(nn.Module):
    """Attention and two dense layers with GELU between them, each behind a layer norm and with a shortcut around it.

    Args:
        position: Tells tokens their place: what it computes is added to the map; None in all blocks but the first.
        norms: The norms before the attention and before the dense layers.
        attention: The attention.
        expand: From the channels of a token to the inner width.
        contract: From the inner width to the channels of a token.
    """

    def __init__(
        self,
        position: nn.Module | None,
        norms: tuple[nn.Module, nn.Module],
        attention: nn.Module,
        expand: nn.Module,
        contract: nn.Module,
    ) -> None:
        super().__init__()
        self.position = position
        self.first_norm, self.second_norm = norms
        self.attention, self.expand, self.contract = attention, expand, contract

    def forward(self, features: Tensor) -> Tensor:
        _, _, height, width = features.shape
        if self.position is not None:
            features = features + self.position(features)
        tokens = features.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(self.first_norm(tokens))
        tokens = tokens + self.contract(F.gelu(self.expand(self.second_norm(tokens))))
        result: Tensor = tokens.transpose(1, 2).unflatten(2, (height, width))
        return result


class ElasticEncoderBlock(ElasticBlock):
    """An `EncoderBlock` with elastic width, number of heads and MLP ratio (the expansion).

    Args:
        largest: The largest sizes that the block may take.
        has_position: Whether it tells tokens their place.
    """

    computes_integers = False

    def __init__(self, largest: BlockSizes, *, has_position: bool) -> None:
        super().__init__()
        width, inner = largest.out_channels, largest.out_channels * largest.expansion
        position = ElasticConv2d(width, width, _POSITION_KERNEL, depthwise=True) if has_position else None
        self.body = EncoderBlock(
            position,
            (ElasticLayerNorm(width), ElasticLayerNorm(width)),
            ElasticAttention(width, largest.heads),
            ElasticDense(width, inner),
            ElasticDense(inner, width),
        )

    def activate(self, sizes: BlockSizes) -> None:
        width, inner, body = sizes.out_channels, sizes.out_channels * sizes.expansion, self.body
        if isinstance(body.position, ElasticConv2d):
            body.position.activate(width, width, _POSITION_KERNEL)
        for part, arguments in (
            (body.first_norm, (width,)),
            (body.second_norm, (width,)),
            (body.attention, (width, sizes.heads)),
            (body.expand, (width, inner)),
            (body.contract, (inner, width)),
        ):
            part.activate(*arguments)  # type: ignore[operator]

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.body(features)
        return result

    def extract(self) -> nn.Module:
        body = self.body
        position = body.position.extract() if isinstance(body.position, ElasticConv2d) else None
        parts = (body.first_norm, body.second_norm, body.attention, body.expand, body.contract)
        first, second, attention, expand, contract = (part.extract() for part in parts)  # type: ignore[operator]
        return EncoderBlock(position, (first, second), attention, expand, contract)


@dataclass(frozen=True)
class VisionTransformer:
    """The family; patches are so large that about 64 tokens are left, or fewer of small images.

    Attributes:
        name: Name of the family in settings and architectures.
        description: One line for people.
    """

    name: str = "vit"
    description: str = "elastic vision transformer: depth 2 to 6, width, heads, MLP ratio; 0.9 to 22 M MACs at 32x32"

    def space(self, input_shape: tuple[int, int, int]) -> BackboneSpace:
        _, height, width = input_shape
        patch = _patch(height, width)
        stage = StageSpace((2, 3, 4, 5, 6), (32, 48, 64), (1,), (1, 2, 4), layers_per_block=6, heads=(1, 2, 4))
        padding = (-(-(-height % patch) // 2), -(-(-width % patch) // 2))
        return BackboneSpace(self.name, (height,), (stage,), patch, (patch, patch), padding)

    def build(self, space: BackboneSpace, input_channels: int) -> ElasticBackbone:
        places = iter([True])

        def block(largest: BlockSizes, place: BlockPlace) -> ElasticBlock:
            return ElasticEncoderBlock(largest, has_position=next(places, False))

        return build_backbone(space, input_channels, block)


def _patch(height: int, width: int) -> int:
    """Side of a patch: 2 or more pixels of an image, and 1 or more steps of a series."""
    if height == 1:
        return max(1, round(width / _TOKENS_OF_SERIES))
    return max(2, round(math.sqrt(height * width) / _TOKENS_PER_SIDE))


BACKBONES.add("vit", VisionTransformer())
