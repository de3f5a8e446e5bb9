"""Models of timm without memory for their weights: built on the device "meta", measured and counted."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tests.nn.adoption.timm_here import import_timm
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry
from torch.utils.weak import WeakIdKeyDictionary

SIZES = (32, 64, 96, 128, 160, 192, 224, 256)


@dataclass(frozen=True)
class Measured:
    """What is known of a model without its weights.

    Attributes:
        model: Its name in timm.
        size: The smallest height and width of an input that it takes, pixels; 0 if none was found.
        parameters: Number of weights.
        macs: Multiply-accumulates by FlopCounterMode.
    """

    model: str
    size: int = 0
    parameters: int = 0
    macs: int | None = None


def create(name: str, size: int) -> nn.Module:
    timm = import_timm()
    assert timm is not None
    try:
        model = timm.create_model(name, img_size=size)
    except TypeError:
        model = timm.create_model(name)
    assert isinstance(model, nn.Module)
    # The counter of torch fails where a parameter that has a gradient is the input of a part.
    return model.eval().requires_grad_(False)


def measure(name: str) -> Measured:
    """Input size, number of weights and counted MACs, found without memory for weights; size 0 if none works."""
    for size in [*SIZES, *(s for s in (own_size(name),) if s > max(SIZES))]:
        try:
            with torch.device("meta"), cheap_weights(untouched):
                model, images = create(name, size), torch.empty(1, 3, size, size)
                with FlopCounterMode(display=False) as counter, torch.no_grad():
                    model(images)
        except Exception:  # whatever timm raises, this size is none
            continue
        return Measured(name, size, sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2)
    return Measured(name)


def own_size(name: str) -> int:
    timm = import_timm()
    assert timm is not None
    configuration = timm.get_pretrained_cfg(name)
    return int(configuration.input_size[-1]) if configuration is not None else 0


_NOISE = torch.rand(1 << 16, generator=torch.Generator().manual_seed(0)) - 0.5


def untouched(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    return tensor


def noisy(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    """Weights of the usual size from a short row of random numbers: drawing them takes longer than the pricing."""
    values = _NOISE.repeat(tensor.numel() // len(_NOISE) + 1)[: tensor.numel()]
    fan_in = max(1, tensor[0].numel() if tensor.dim() > 1 else 1)
    return tensor.copy_(values.view(tensor.shape) * (3.0 / fan_in) ** 0.5)


@contextlib.contextmanager
def cheap_weights(draw: Callable[..., Tensor]) -> Iterator[None]:
    """Draw all random weights of new layers by another function."""
    names = ("uniform_", "normal_", "trunc_normal_", "erfinv_")
    before = {name: getattr(Tensor, name) for name in names if hasattr(Tensor, name)}
    drawn_by = before | dict.fromkeys(before, draw) | {"erfinv_": untouched}
    try:
        for name, function in drawn_by.items():
            setattr(Tensor, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(Tensor, name, function)


def quick_batch_norm() -> torch.library.Library:
    """A batch norm on the device "meta" that gives shapes alone; torch's own goes through all its sums and products.

    Returns:
        What holds the function: it is in use as long as this object lives.
    """
    library = torch.library.Library("aten", "IMPL")

    def shapes(inputs: Tensor, weight: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
        return torch.empty_like(inputs), inputs.new_empty(0), inputs.new_empty(0)

    for name in ("native_batch_norm", "_native_batch_norm_legit_no_training"):
        library.impl(name, shapes, "Meta", allow_override=True)
    return library


def structure_of(model: nn.Module, known: Measured) -> str:
    """Hash of what tells two models apart, but for their weights."""
    weights = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    kinds = [type(part).__qualname__ for part in model.modules()]
    return hashlib.sha256(repr((repr(model), weights, kinds, known.size, known.macs)).encode()).hexdigest()[:16]


class ImageFlops(TorchDispatchMode):
    """Counts, by the formulas of torch, only operators that depend on the image."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.flops = 0
        self.dependent = WeakIdKeyDictionary()
        self.dependent[images] = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry and func is not torch.ops.prim.device.default:
            with self:
                written = func.decompose(*args, **kwargs)
            if written is not NotImplemented:
                return written
        result = func(*args, **kwargs)
        if any(isinstance(value, Tensor) and value in self.dependent for value in tree_leaves((args, kwargs))):
            for value in tree_leaves(result):
                if isinstance(value, Tensor):
                    self.dependent[value] = True
            if packet in flop_registry:
                self.flops += flop_registry[packet](*args, **kwargs, out_val=result)
        return result
