"""Settings as keywords of a call; written by ``python -m tests.settings.write_keywords``, not by hand."""

from typing import Literal, TypedDict

from offramp.settings.budget_config import BudgetConfig
from offramp.settings.cost_config import CostConfig
from offramp.settings.data_config import DataConfig
from offramp.settings.deploy_config import DeployConfig
from offramp.settings.execution_config import ExecutionConfig
from offramp.settings.fine_tune_config import FineTuneConfig
from offramp.settings.search_config import SearchConfig
from offramp.settings.space_config import SpaceConfig
from offramp.settings.train_config import TrainConfig


class KeywordSettings(TypedDict, total=False):
    """Settings by keyword: whole sections, or single settings with two underscores for the dot."""

    seed: int
    data: DataConfig
    space: SpaceConfig
    cost: CostConfig
    train: TrainConfig
    search: SearchConfig
    fine_tune: FineTuneConfig
    deploy: DeployConfig
    budget: BudgetConfig
    execution: ExecutionConfig
    data__source: str
    data__validation_share: float
    data__test_share: float
    data__image_column: str | None
    data__label_column: str | None
    data__image_size: int | None
    data__augment: bool
    space__backbone: str
    space__weights: str | None
    space__freeze: bool
    space__max_taps: int
    space__branches: tuple[str, ...] | list[str]
    space__measures: (
        tuple[Literal["max_probability", "entropy", "margin"], ...]
        | list[Literal["max_probability", "entropy", "margin"]]
    )
    space__accuracy_drops: tuple[float, ...] | list[float]
    space__max_exits: int
    space__elastic_widths: bool
    space__precision: Literal["fixed", "network", "stage", "layer"]
    space__precisions: tuple[str, ...] | list[str]
    space__analog_shares: tuple[float, ...] | list[float]
    cost__accelerator: str
    cost__engine: str
    cost__convention: Literal["offramp", "published"]
    cost__mapping: Literal["layer_by_layer", "optimized"]
    cost__mapping_steps: (
        tuple[Literal["on_chip", "prefetch", "split", "beside", "fuse", "optimum"], ...]
        | list[Literal["on_chip", "prefetch", "split", "beside", "fuse", "optimum"]]
    )
    cost__weight_bits: int
    cost__activation_bits: int
    cost__branch_weight_bits: int
    cost__branch_activation_bits: int
    train__epochs: int | None
    train__batch_size: int
    train__learning_rate: float
    train__weight_decay: float
    train__momentum: float
    train__label_smoothing: float
    train__random_subnets: int
    train__sort_channels: bool
    train__full_width_share: float
    train__distillation_weight: float
    train__distillation_temperature: float
    train__device: str
    train__precision: Literal["auto", "fp32", "bf16"]
    train__channels_last: bool
    train__threads: int | None
    search__algorithm: str
    search__evaluations: int
    search__batch: int
    search__objectives: tuple[str, ...] | list[str]
    search__constraints: tuple[str, ...] | list[str]
    search__validation_samples: int
    search__calibration_samples: int
    search__calibrate_confidences: bool
    fine_tune__epochs: int | None
    fine_tune__learning_rate: float
    fine_tune__reference: bool
    fine_tune__teacher: Literal["final_exit", "reference"]
    fine_tune__early_exit_weight: float
    fine_tune__drop_exits: bool
    fine_tune__picks: tuple[str, ...] | list[str]
    fine_tune__guarantee: str | None
    fine_tune__quantize: bool
    fine_tune__weight_density: float | None
    deploy__licence: str | None
    budget__seconds: float | None
    budget__evaluations: int | None
    execution__workers: int | None
    execution__cluster: str | None
    execution__evaluation_timeout_s: float | None
    execution__max_failures: int | None
    execution__evaluation_resources: dict[str, float]
    execution__training_resources: dict[str, float]
    execution__tracker: str | None
