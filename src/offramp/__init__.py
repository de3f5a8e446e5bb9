"""offramp: search, train and deploy early-exit neural networks for edge accelerators."""

import importlib
from typing import TYPE_CHECKING, Any

from offramp.version import __version__

if TYPE_CHECKING:
    from offramp.deploy.runtime.session import EarlyExitSession
    from offramp.nn.adoption.adopt import adopt
    from offramp.nn.adoption.adopt_exits import AdoptedExits, adopt_exits
    from offramp.run.api import SearchResult, search
    from offramp.run.finishing.deploy_exits import DeployedExits, deploy_exits
    from offramp.settings.budget_config import BudgetConfig
    from offramp.settings.by_name import with_settings
    from offramp.settings.config import Config
    from offramp.settings.config_file import load_config
    from offramp.settings.cost_config import CostConfig
    from offramp.settings.data_config import DataConfig
    from offramp.settings.deploy_config import DeployConfig
    from offramp.settings.execution_config import ExecutionConfig
    from offramp.settings.fine_tune_config import FineTuneConfig
    from offramp.settings.search_config import SearchConfig
    from offramp.settings.space_config import SpaceConfig
    from offramp.settings.train_config import TrainConfig
    from offramp.tabular.benchmark_table import Table

# Loaded on first use, so that `import offramp` and the quick commands need no torch.
_HOMES = {
    "adopt": "offramp.nn.adoption.adopt",
    "AdoptedExits": "offramp.nn.adoption.adopt_exits",
    "adopt_exits": "offramp.nn.adoption.adopt_exits",
    "DeployedExits": "offramp.run.finishing.deploy_exits",
    "deploy_exits": "offramp.run.finishing.deploy_exits",
    "EarlyExitSession": "offramp.deploy.runtime.session",
    "SearchResult": "offramp.run.api",
    "search": "offramp.run.api",
    "BudgetConfig": "offramp.settings.budget_config",
    "with_settings": "offramp.settings.by_name",
    "Config": "offramp.settings.config",
    "load_config": "offramp.settings.config_file",
    "CostConfig": "offramp.settings.cost_config",
    "DataConfig": "offramp.settings.data_config",
    "DeployConfig": "offramp.settings.deploy_config",
    "ExecutionConfig": "offramp.settings.execution_config",
    "FineTuneConfig": "offramp.settings.fine_tune_config",
    "SearchConfig": "offramp.settings.search_config",
    "SpaceConfig": "offramp.settings.space_config",
    "Table": "offramp.tabular.benchmark_table",
    "TrainConfig": "offramp.settings.train_config",
}

__all__ = [
    "AdoptedExits",
    "BudgetConfig",
    "Config",
    "CostConfig",
    "DataConfig",
    "DeployConfig",
    "DeployedExits",
    "EarlyExitSession",
    "ExecutionConfig",
    "FineTuneConfig",
    "SearchConfig",
    "SearchResult",
    "SpaceConfig",
    "Table",
    "TrainConfig",
    "__version__",
    "adopt",
    "adopt_exits",
    "deploy_exits",
    "load_config",
    "search",
    "with_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'offramp' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
