"""Small models as users write them, with what makes models hard to cut."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHAPE = (3, 8, 8)
CLASSES = 5


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.second(self.first(inputs))
        outputs += inputs
        return F.relu(outputs, inplace=True)


class Toy(nn.Module):
    """A stem, three residual blocks, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.body = nn.Sequential(*(Residual(8) for _ in range(3)))
        self.head = nn.Linear(8, CLASSES)

    def features(self, images: Tensor) -> Tensor:
        result: Tensor = self.body(self.stem(images))
        return result

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.head(torch.flatten(F.adaptive_avg_pool2d(self.features(images), 1), 1))
        return result


def plain() -> nn.Sequential:
    return nn.Sequential(
        *conv(3, 4), *conv(4, 8), nn.MaxPool2d(2), *conv(8, 8), *conv(8, 8), nn.Flatten(), nn.Linear(128, CLASSES)
    )


class SizeCheck(Toy):
    """An optional argument, a check of sizes, a batch size that is asked for."""

    def forward(self, images: Tensor, scale: float | None = None, deep: bool = True) -> Tensor:
        batch, channels = images.shape[0], images.size(-3)
        torch._assert(channels == 3, "colour images")
        features = self.stem(images) if scale is None else self.stem(images) * scale
        features = self.body(features) if deep else features
        result: Tensor = self.head(features.mean((2, 3)).view(batch, -1))
        return result


class AsksForSize(Toy):
    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        if features.shape[-1] > 4:
            features = F.max_pool2d(features, 2)
        result: Tensor = self.head(torch.flatten(F.adaptive_avg_pool2d(self.body(features), 1), 1))
        return result


class Gate(nn.Module):
    """Decides by the values of its input, inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.conv(inputs)
        return outputs if outputs.abs().mean() >= 0 else -outputs


class Opaque(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.body.insert(1, Gate())


class Shared(Toy):
    """One convolution, three times."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for _ in range(3):
            features = torch.tanh(self.body(features))
        result: Tensor = self.head(features.mean((2, 3)))
        return result


class Dropping(Toy):
    def forward(self, images: Tensor) -> Tensor:
        features = F.dropout(self.features(images), p=0.5, training=self.training)
        result: Tensor = self.head(F.dropout(features, 0.1, self.training).mean((2, 3)))
        return result


class DropPath(nn.Module):
    """Stochastic depth."""

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return inputs
        return inputs * (torch.rand(len(inputs), 1, 1, 1) > 0.2)


class Deep(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.body.insert(1, nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), DropPath()))


class InPlace(Toy):
    """Every activation overwrites its input, also that of the block before."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem[1](self.stem[0](images))
        F.relu_(features)
        for block in self.body:
            features = block.second(features).add_(0.5).relu_()
        result: Tensor = self.head(features.mean((2, 3)))
        return result


class OwnParameters(Toy):
    """Parameters and buffers of the model itself, used in several places."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(8))
        self.register_buffer("shift", torch.randn(1, 8, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images) * self.scale.view(1, -1, 1, 1) + self.shift
        features = self.body[0](features) * self.scale.view(1, -1, 1, 1)
        result: Tensor = self.head(self.body[2](self.body[1](features + self.shift)).mean((2, 3)))
        return result


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        qkv = self.qkv(self.norm(tokens)).reshape(batch, count, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, count, width)
        result: Tensor = tokens + self.out(mixed)
        return result


class Vision(nn.Module):
    """A vision transformer with a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 2, 2)
        self.cls = nn.Parameter(torch.randn(1, 1, 12))
        self.positions = nn.Parameter(torch.randn(1, 17, 12))
        self.blocks = nn.Sequential(*(Attention(12) for _ in range(3)))
        self.head = nn.Linear(12, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(images.shape[0], -1, -1), tokens], dim=1)
        result: Tensor = self.head(self.blocks(tokens + self.positions)[:, 0])
        return result


class Join(nn.Module):
    """Puts a token before the others."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, token: Tensor, tokens: Tensor) -> Tensor:
        return torch.cat([self.norm(token), tokens], dim=1)


class LateToken(Vision):
    """The class token is the input of a part, as in CaiT."""

    def __init__(self) -> None:
        super().__init__()
        self.join = Join(12)
        self.last = Attention(12)
        self.positions = nn.Parameter(torch.randn(1, 16, 12))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.blocks(self.patches(images).flatten(2).transpose(1, 2) + self.positions)
        tokens = self.join(self.cls.expand(images.shape[0], -1, -1), tokens)
        result: Tensor = self.head(self.last(tokens)[:, 0])
        return result


class ChannelsLast(nn.Module):
    """A map whose channels are the last axis, as in Swin transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 2, 2)
        self.layers = nn.Sequential(*(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.GELU()) for _ in range(3)))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.head(self.layers(self.embed(images).permute(0, 2, 3, 1)).mean((1, 2)))
        return result


TOYS: dict[str, Callable[[], nn.Module]] = {
    "residual": Toy,
    "sequential": plain,
    "optional arguments and sizes": SizeCheck,
    "asks for a value of its size": AsksForSize,
    "a part decides by values": Opaque,
    "shared": Shared,
    "functional dropout": Dropping,
    "stochastic depth": Deep,
    "in place": InPlace,
    "own parameters": OwnParameters,
    "tokens": Vision,
    "a token joins late": LateToken,
    "channels last": ChannelsLast,
}
