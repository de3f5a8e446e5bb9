"""Weight-sharing layers on tokens (batch, tokens, channels): dense layers, layer norm and attention.

``activate`` sets the current sizes; smaller sizes use the leading channels and heads. ``extract`` copies the active
weights to plain layers.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_CHANNELS = 16
"""Channels of an attention head, whatever the width of the tokens."""


class ElasticDense(nn.Module):
    """A dense layer on the last axis.

    Args:
        in_features: Largest number of inputs.
        out_features: Largest number of outputs.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        nn.init.trunc_normal_(self.weight, std=in_features**-0.5)
        self.in_features, self.out_features = in_features, out_features

    def activate(self, in_features: int, out_features: int) -> None:
        """Set the current sizes.

        Args:
            in_features: Number of inputs.
            out_features: Number of outputs.
        """
        self.in_features, self.out_features = in_features, out_features

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(tokens, self.weight[: self.out_features, : self.in_features], self.bias[: self.out_features])

    def extract(self) -> nn.Linear:
        """A linear layer with copies of the active weights."""
        static = nn.Linear(self.in_features, self.out_features, device="meta")
        static.weight = nn.Parameter(self.weight[: self.out_features, : self.in_features].detach().clone())
        static.bias = nn.Parameter(self.bias[: self.out_features].detach().clone())
        return static


class ElasticLayerNorm(nn.Module):
    """Layer norm over the leading channels.

    Args:
        channels: Largest number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.channels = channels

    def activate(self, channels: int) -> None:
        """Set the current size.

        Args:
            channels: Number of channels.
        """
        self.channels = channels

    def forward(self, tokens: Tensor) -> Tensor:
        count = self.channels
        return F.layer_norm(tokens, (count,), self.weight[:count], self.bias[:count])

    def extract(self) -> nn.LayerNorm:
        """A layer norm with copies of the active weights."""
        static = nn.LayerNorm(self.channels, device="meta")
        static.weight = nn.Parameter(self.weight[: self.channels].detach().clone())
        static.bias = nn.Parameter(self.bias[: self.channels].detach().clone())
        return static


class SelfAttention(nn.Module):
    """Attention of tokens to each other, between dense layers that make queries, keys and values and join the heads.

    Args:
        query: Makes the queries of all heads.
        key: Makes the keys of all heads.
        value: Makes the values of all heads.
        join: From the results of all heads to the tokens' channels.
        heads: Number of heads.
    """

    def __init__(self, query: nn.Module, key: nn.Module, value: nn.Module, join: nn.Module, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.join = query, key, value, join
        self.heads = heads

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            layer(tokens).unflatten(2, (self.heads, HEAD_CHANNELS)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        joined: Tensor = self.join(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return joined

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


class ElasticAttention(SelfAttention):
    """Attention with elastic width and number of heads; each head keeps its 16 channels.

    Source: Chen et al. 2021, "AutoFormer: Searching Transformers for Visual Recognition", section 3.2.

    Args:
        width: Largest number of channels of the tokens.
        heads: Largest number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        inner = heads * HEAD_CHANNELS
        query, key, value = (ElasticDense(width, inner) for _ in range(3))
        super().__init__(query, key, value, ElasticDense(inner, width), heads)

    def activate(self, width: int, heads: int) -> None:
        """Set the current sizes.

        Args:
            width: Number of channels of the tokens.
            heads: Number of heads.
        """
        self.heads = heads
        for layer in (self.query, self.key, self.value):
            cast(ElasticDense, layer).activate(width, heads * HEAD_CHANNELS)
        cast(ElasticDense, self.join).activate(heads * HEAD_CHANNELS, width)

    def extract(self) -> SelfAttention:
        """Attention with copies of the active weights."""
        query, key, value, join = (
            cast(ElasticDense, layer).extract() for layer in (self.query, self.key, self.value, self.join)
        )
        return SelfAttention(query, key, value, join, self.heads)
