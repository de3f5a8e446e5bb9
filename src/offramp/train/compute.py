"""Device and number format of computations."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from offramp.errors import ConfigError

# Below this image side bf16 conversions cost more than they gain (measured on digits, 8x8).
_MIN_SIDE_FOR_BF16 = 32
_MIN_SIDE_TO_SHARE = 16


@dataclass(frozen=True)
class Compute:
    """A device, an autocast format and a memory layout."""

    device: str = "cpu"
    dtype: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True

    def autocast(self) -> AbstractContextManager[object]:
        """Forward passes run inside this; nothing changes for fp32."""
        kind = torch.device(self.device).type
        if self.dtype == "bf16" and kind == "cpu":
            return _bf16_on_cpu()
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.dtype == "bf16")

    def place(self, module: nn.Module) -> nn.Module:
        module.to(self.device)
        if self.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module

    def place_images(self, images: Tensor) -> Tensor:
        images = images.to(self.device)
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


@contextmanager
def _bf16_on_cpu() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16), _GroupsInFloat():
        yield


class _GroupsInFloat(TorchFunctionMode):
    """Depthwise and grouped convolutions stay in fp32, where a CPU's backward pass of them is several times as fast."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.conv2d and _groups(args, kwargs) > 1:
            with torch.autocast("cpu", enabled=False):
                return func(args[0].float(), *args[1:], **kwargs)
        return func(*args, **kwargs)


def _groups(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Of a call conv2d(input, weight, bias, stride, padding, dilation, groups)."""
    return int(args[6] if len(args) > 6 else kwargs.get("groups", 1))


def build_compute(device: str, precision: str, channels_last: bool, image_side: int) -> Compute:
    """Resolve ``auto``: bf16 for images of at least 32 pixels where the CPU multiplies bf16 in hardware."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as exc:
        reason = str(exc).splitlines()[0]
        raise ConfigError(f"train.device must name a device that torch can use here, got {device!r}: {reason}") from exc
    if precision == "auto":
        fast = torch.device(device).type != "cpu" or _cpu_has_bf16()
        precision = "bf16" if fast and image_side >= _MIN_SIDE_FOR_BF16 else "fp32"
    return Compute(device, "bf16" if precision == "bf16" else "fp32", channels_last)


def _cpu_has_bf16() -> bool:
    capability = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(capability()) if capability is not None else False


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes each operator with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_threads(threads: int | None, image_side: int) -> None:
    """Give torch this many threads; None = what OMP_NUM_THREADS says, else as many as ``default_threads``."""
    if threads is None and os.environ.get("OMP_NUM_THREADS"):
        return
    torch.set_num_threads(threads or default_threads(image_side))


def default_threads(image_side: int, num_processes: int = 1) -> int:
    """One thread per core that this process may use, divided among processes that train at once.

    Networks for tiny images do too little per operator to share it: they get one thread.
    """
    if image_side < _MIN_SIDE_TO_SHARE:
        return 1
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // num_processes)
