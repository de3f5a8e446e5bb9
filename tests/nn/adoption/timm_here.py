"""timm for tests, beside a torch without CUDA: its torchvision expects operators that such a torch has not."""

import importlib.util
from types import ModuleType

import pytest
import torch

# Only their names matter: none of them is ever called.
_OPERATORS = (
    "nms",
    "qnms",
    "roi_align",
    "_roi_align_backward",
    "roi_pool",
    "_roi_pool_backward",
    "ps_roi_align",
    "_ps_roi_align_backward",
    "ps_roi_pool",
    "_ps_roi_pool_backward",
    "deform_conv2d",
    "_deform_conv2d_backward",
)
# Declared operators live as long as this object.
_declared: list[torch.library.Library] = []


def import_timm() -> ModuleType | None:
    """timm, or None where it or torchvision is not installed."""
    if not _declared and importlib.util.find_spec("torchvision") is not None and not torch.cuda.is_available():
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in _OPERATORS:
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}(Tensor boxes) -> Tensor")
        _declared.append(library)
    try:
        return importlib.import_module("timm")
    except (ImportError, RuntimeError):
        return None


def require_timm() -> ModuleType:
    timm = import_timm()
    if timm is None:
        pytest.skip("timm, or a torchvision that fits this torch, is not installed")
    return timm
