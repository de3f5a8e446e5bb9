"""offramp: search, train and deploy early-exit neural networks for edge accelerators."""

import importlib
import sys
from types import ModuleType
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


class _Package(ModuleType):
    """The package, in which ``search`` is the function also after the package of search algorithms was imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system files every submodule under its name, which would hide a function of the same name.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
