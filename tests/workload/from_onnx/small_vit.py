"""A vision transformer small enough to export in a second, with an exit behind its first block."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, ExitChoice, StageChoice

SIZE, PATCH, WIDTH, HEADS, CLASSES = 16, 4, 24, 3, 5


class Embedding(nn.Module):
    """Patches as tokens, a class token before them, and where each one is."""

    def __init__(self) -> None:
        super().__init__()
        tokens = (SIZE // PATCH) ** 2
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.class_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.places = nn.Parameter(torch.randn(1, tokens + 1, WIDTH))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(images.shape[0], -1, -1), tokens], dim=1) + self.places


class Attention(nn.Module):
    """Self-attention; ``fused`` as one function of torch, else in its parts."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.projection = nn.Linear(WIDTH, WIDTH)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        if self.fused:
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            mixed = (query * (WIDTH // HEADS) ** -0.5 @ key.transpose(-2, -1)).softmax(dim=-1) @ value
        projected: Tensor = self.projection(mixed.transpose(1, 2).reshape(batch, tokens, WIDTH))
        return projected


class Block(nn.Module):
    """Attention and a perceptron, each added to what it is given."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.attention = Attention(fused)
        self.perceptron = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        added: Tensor = x + self.perceptron(self.norms[1](x))
        return added


class Head(nn.Module):
    """A classifier of the class token, or of the mean over all others."""

    def __init__(self, mean: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.classes = nn.Linear(WIDTH, CLASSES)
        self.mean = mean

    def forward(self, x: Tensor) -> Tensor:
        seen = self.norm(x[:, 1:].mean(dim=1)) if self.mean else self.norm(x)[:, 0]
        logits: Tensor = self.classes(seen)
        return logits


def small_vit(*, fused: bool = True) -> EarlyExitNetwork:
    """Two stages of one block each; the early exit takes the mean over tokens, the final one the class token."""
    torch.manual_seed(0)
    architecture = Architecture("vit", SIZE, (StageChoice(1, WIDTH, (1,), (1,)),), (ExitChoice(0, "mean"),))
    stages = [nn.Sequential(Embedding(), Block(fused)), Block(fused)]
    return EarlyExitNetwork(architecture, stages, [Head(mean=True), Head(mean=False)], (3, SIZE, SIZE), CLASSES).eval()
