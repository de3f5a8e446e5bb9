"""offramp: search, train and deploy early-exit neural networks for edge accelerators."""

import importlib
from typing import TYPE_CHECKING, Any

from offramp.version import __version__

if TYPE_CHECKING:
    from offramp.deploy.runtime.session import EarlyExitSession
    from offramp.nn.adoption.adopt import adopt
    from offramp.run.api import SearchResult, search
    from offramp.settings.config import Config, load_config

# Loaded on first use, so that `import offramp` and the quick commands need no torch.
_HOMES = {
    "adopt": "offramp.nn.adoption.adopt",
    "Config": "offramp.settings.config",
    "load_config": "offramp.settings.config",
    "EarlyExitSession": "offramp.deploy.runtime.session",
    "SearchResult": "offramp.run.api",
    "search": "offramp.run.api",
}

__all__ = ["Config", "EarlyExitSession", "SearchResult", "__version__", "adopt", "load_config", "search"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'offramp' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
