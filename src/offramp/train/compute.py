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

# Below this image side, in pixels, bf16 conversions cost more than they gain (measured on digits, 8x8).
_MIN_SIDE_FOR_BF16 = 32
# Below this image side, in pixels, one thread per operator is fastest.
_MIN_SIDE_FOR_THREADS = 16


@dataclass(frozen=True)
class Compute:
    """A device, an autocast format and a memory layout.

    Attributes:
        device: name of a torch device, such as ``cpu`` or ``cuda:0``.
        dtype: number format of matrix products and convolutions in forward passes.
        channels_last: whether feature maps are stored with the channels last.
    """

    device: str = "cpu"
    dtype: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True

    def autocast(self) -> AbstractContextManager[object]:
        """A context manager for forward passes, which computes in ``dtype``; it changes nothing for fp32."""
        kind = torch.device(self.device).type
        if self.dtype == "bf16" and kind == "cpu":
            return _bf16_on_cpu()
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.dtype == "bf16")

    def place(self, module: nn.Module) -> nn.Module:
        """Move a module, in place, to the device and the memory layout.

        Args:
            module: the module to move.

        Returns:
            The same module.
        """
        module.to(self.device)
        if self.channels_last:
            for tensor in (*module.parameters(), *module.buffers()):
                # `Module.to` would also take the five axes of a Conv3d, and fail.
                if tensor.dim() == 4:
                    tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
        return module

    def place_images(self, images: Tensor) -> Tensor:
        """Copy images to the device and the memory layout.

        Args:
            images: (batch, channels, height, width).

        Returns:
            The images there; the same tensor if nothing changes.
        """
        images = images.to(self.device)
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


@contextmanager
def _bf16_on_cpu() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16), _GroupedConvolutionsInFloat():
        yield


class _GroupedConvolutionsInFloat(TorchFunctionMode):
    """Keeps depthwise and grouped convolutions in fp32: on CPUs their backward pass is several times as fast in it."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.conv2d and _num_groups(args, kwargs) > 1:
            with torch.autocast("cpu", enabled=False):
                return func(args[0].float(), *args[1:], **kwargs)
        return func(*args, **kwargs)


def _num_groups(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """The groups of a call conv2d(input, weight, bias, stride, padding, dilation, groups)."""
    return int(args[6] if len(args) > 6 else kwargs.get("groups", 1))


def build_compute(device: str, precision: str, channels_last: bool, image_side: int) -> Compute:
    """Build a device and number format from settings.

    Args:
        device: name of a torch device.
        precision: ``fp32``, ``bf16`` or ``auto``. ``auto`` is bf16 for images with a side of at least 32 pixels if the
            device multiplies bf16 in hardware, else fp32.
        channels_last: whether feature maps are stored with the channels last.
        image_side: height or width of the images in pixels.

    Returns:
        The device, number format and memory layout.

    Raises:
        ConfigError: if torch cannot use the device on this machine.
    """
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
    """A context in which torch computes each operator with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_threads(threads: int | None, image_side: int) -> None:
    """Set how many threads torch uses per operator.

    Args:
        threads: number of threads; None = the value of OMP_NUM_THREADS, or ``default_threads`` where that is not set.
        image_side: height or width of the images in pixels.
    """
    if threads is None and os.environ.get("OMP_NUM_THREADS"):
        return
    torch.set_num_threads(threads or default_threads(image_side))


def default_threads(image_side: int, num_processes: int = 1) -> int:
    """The number of threads per operator that is used unless the user chooses one.

    Args:
        image_side: height or width of the images in pixels. Below 16 pixels an operator is too small to be shared among
            threads.
        num_processes: number of processes that train at the same time and share the cores.

    Returns:
        1 for images below 16 pixels; else the cores that this process may use divided by ``num_processes``, at least 1.
    """
    if image_side < _MIN_SIDE_FOR_THREADS:
        return 1
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // num_processes)
