"""offramp: search, train and deploy early-exit neural networks for edge accelerators."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from offramp.config import Config, load_config
    from offramp.export.session import EarlyExitSession
    from offramp.nn.adopt import adopt
    from offramp.result import SearchResult, search

# Loaded on first use, so that `import offramp` and the quick commands need no torch.
_HOMES = {
    "adopt": "offramp.nn.adopt",
    "Config": "offramp.config",
    "load_config": "offramp.config",
    "EarlyExitSession": "offramp.export.session",
    "SearchResult": "offramp.result",
    "search": "offramp.result",
}

__all__ = ["Config", "EarlyExitSession", "SearchResult", "__version__", "adopt", "load_config", "search"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'offramp' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
