"""MACs up to each tap."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.adoption.adopt import adopt


class _Attention(nn.Module):
    """Self-attention of 16 tokens with 8 channels: three dense layers in one, and two products of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).unsqueeze(1).chunk(3, -1)
        return tokens + F.scaled_dot_product_attention(query, key, value).squeeze(1)


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 8, 4, 4), nn.Sequential(_Attention(), _Attention())
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(images).flatten(2).transpose(1, 2)).mean(1))


def test_the_share_of_a_tap_counts_the_products_of_attention() -> None:
    """torch's counter sees no MACs in the fused kernel that computes attention on a CPU."""
    adopted = adopt(_Network().eval(), torch.randn(2, 3, 16, 16))
    stem, block = 16 * 48 * 8, 16 * 8 * 24 + 2 * 16 * 16 * 8
    total = stem + 2 * block + 8 * 5
    shares = {tap.name: tap.macs_share for tap in adopted.taps}
    assert shares["blocks.0"] == (stem + block) / total
    assert shares[adopted.taps[-1].name] == (stem + 2 * block) / total
