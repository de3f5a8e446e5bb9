"""Every user setting: frozen, versioned, YAML both ways. A command-line option is a short way to one of these."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from offramp.errors import ConfigError
from offramp.exits.accuracy_guarantee import parse_target
from offramp.exits.confidence_measures import MEASURES, Measure
from offramp.jsonio import describe_faults, shortened, write_atomically

CONFIG_VERSION = 1
MAX_CONFIG_BYTES = 1_000_000

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
Bits = Annotated[int, Field(ge=1, le=32)]
PrecisionText = Annotated[str, Field(pattern=r"^(ternary|32|[2-8])/(32|[2-8])$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Where the labelled images come from and how they are split."""

    source: str = "digits"
    validation_share: Share = 0.2
    test_share: Share = 0.2
    image_column: str | None = None
    label_column: str | None = None
    image_size: Count | None = None
    augment: bool = True

    @model_validator(mode="after")
    def _something_left_to_train_on(self) -> "DataConfig":
        if self.validation_share + self.test_share >= 1.0:
            raise ValueError("validation_share + test_share must leave something to train on (sum below 1)")
        return self


class SpaceConfig(_Section):
    """What may be built.

    ``backbone`` is a family, or ``timm:`` and the name of a timm model; ``weights`` (a safetensors file), ``freeze``
    (only the branches are trained) and ``max_taps`` (places for exits) are for the latter.
    Without ``elastic_widths`` every stage is as wide as can be: nothing is pruned.
    ``precision`` says what gets bit widths of its own, searched among ``precisions`` (weights/activations): the whole
    backbone and each branch (``network``), also each stage, or each layer. With ``fixed`` those of ``cost`` hold.
    ``analog_shares``, for an accelerator with an analog core: shares of a layer's channels to choose among for it, such
    as 0, 0.5, 1, layer by layer and exit by exit; supernet and networks are then trained and judged as that core
    computes, noise included.
    """

    backbone: str = "resnet"
    weights: str | None = None
    freeze: bool = False
    max_taps: Count = 8
    branches: tuple[str, ...] = ("pool_linear", "pool_mlp", "depthwise_separable", "conv", "global_pool")
    measures: tuple[Measure, ...] = MEASURES
    accuracy_drops: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...] = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.04)
    max_exits: Annotated[int, Field(ge=1, le=6)] = 3
    elastic_widths: bool = True
    precision: Literal["fixed", "network", "stage", "layer"] = "fixed"
    precisions: tuple[PrecisionText, ...] = ("32/32", "8/8", "8/4", "4/8", "4/4")
    analog_shares: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...] = ()

    @field_validator("branches", "measures", "accuracy_drops", "precisions")
    @classmethod
    def _not_empty(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("must have at least one entry and no entry twice")
        return value


MappingStep = Literal["on_chip", "prefetch", "split", "beside", "fuse", "optimum"]
ALL_MAPPING_STEPS: tuple[MappingStep, ...] = get_args(MappingStep)


class CostConfig(_Section):
    """What it runs on and which engine prices it; ``mapping_steps`` are what the optimized mapping may do."""

    accelerator: str = "edge-tpu-quad"
    engine: Literal["native", "zigzag"] = "native"
    convention: Literal["offramp", "published"] = "offramp"
    mapping: Literal["layer_by_layer", "optimized"] = "layer_by_layer"
    mapping_steps: tuple[MappingStep, ...] = ALL_MAPPING_STEPS
    weight_bits: Bits = 8
    activation_bits: Bits = 8
    branch_weight_bits: Bits = 8
    branch_activation_bits: Bits = 8

    @model_validator(mode="after")
    def _published_figures_are_layer_by_layer(self) -> "CostConfig":
        if self.convention == "published" and self.mapping != "layer_by_layer":
            raise ValueError("convention published is the reference's own, which has mapping layer_by_layer only")
        return self

    @model_validator(mode="after")
    def _steps_are_those_of_the_optimized_mapping(self) -> "CostConfig":
        if set(self.mapping_steps) != set(ALL_MAPPING_STEPS) and self.mapping != "optimized":
            raise ValueError("mapping_steps belong to mapping optimized; set it, or leave them out")
        return self


class TrainConfig(_Section):
    """Training of the supernet; ``epochs`` None = as many as the data set's size suggests.

    With ``sort_channels`` only full widths are trained for the first ``full_width_share``; then channels are sorted by
    importance, so that narrow networks start from the best ones.
    """

    epochs: Count | None = None
    batch_size: Count = 128
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.05
    weight_decay: Annotated[float, Field(ge=0.0)] = 5e-4
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    random_subnets: Annotated[int, Field(ge=0, le=8)] = 1
    sort_channels: bool = False
    full_width_share: Share = 0.15
    distillation_weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    distillation_temperature: Annotated[float, Field(gt=0.0)] = 1.0
    device: str = "cpu"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    channels_last: bool = True
    threads: Count | None = None


class SearchConfig(_Section):
    """Which candidates are tried, and what is better.

    ``calibration_samples`` of the training split set a candidate's batch norms; ``calibrate_confidences`` gives every
    exit a temperature, fitted on validation samples, before thresholds are chosen.
    """

    algorithm: str = "nsga2"
    evaluations: Count = 200
    batch: Count = 20
    objectives: tuple[str, ...] = ("accuracy", "energy_pj", "latency_cycles")
    constraints: tuple[str, ...] = ()
    validation_samples: Count = 2000
    calibration_samples: Count = 1024
    calibrate_confidences: bool = False


class FineTuneConfig(_Section):
    """What happens to the chosen points of the front.

    ``guarantee`` is the accuracy that leaving early may cost and the confidence in that, such as ``0.01@0.95``. With
    ``quantize`` they, and the reference, are trained, judged and exported at the bit widths they are priced at; where
    bit widths are searched (``space.precision``), that is always so. Without ``reference`` the static network that
    savings are measured against stays as it is in the supernet and is judged on validation samples: for runs that are
    only compared with each other. ``weight_density`` prunes their weights, and those of a trained reference, to this
    share of nonzero ones while they are fine-tuned, for an accelerator that gains from zeros. ``teacher`` is whom
    exits learn from beside the labels: the early ones from the ``final_exit`` of their network, or all from the
    ``reference``, which is then fine-tuned first. ``early_exit_weight`` is what the loss of each early exit counts
    beside that of the final one. With ``drop_exits`` the exits of a network are reconsidered once it is trained: those
    that do not pay for their branches are taken out.
    """

    epochs: Annotated[int, Field(ge=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.05
    reference: bool = True
    teacher: Literal["final_exit", "reference"] = "final_exit"
    early_exit_weight: Annotated[float, Field(gt=0.0, le=10.0)] = 1.0
    drop_exits: bool = False
    picks: tuple[str, ...] = ("knee", "most_accurate", "cheapest")
    guarantee: Annotated[str, Field(max_length=40)] | None = None
    quantize: bool = False
    weight_density: Share | None = None

    @model_validator(mode="after")
    def _pruning_needs_training(self) -> "FineTuneConfig":
        if self.weight_density is not None and self.epochs == 0:
            raise ValueError("weight_density prunes while networks are fine-tuned, which needs epochs of at least 1")
        return self

    @model_validator(mode="after")
    def _a_guarantee_is_for_fixed_exits(self) -> "FineTuneConfig":
        if self.drop_exits and self.guarantee is not None:
            raise ValueError(
                "drop_exits chooses on the validation samples that a guarantee is certified on: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _a_teacher_is_trained(self) -> "FineTuneConfig":
        if self.teacher == "reference" and not self.reference:
            raise ValueError("teacher reference needs a reference that is trained: leave `reference` true")
        return self

    @field_validator("guarantee")
    @classmethod
    def _understood(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_target(value)
            except ConfigError as exc:
                raise ValueError(str(exc)) from exc
        return value


class DeployConfig(_Section):
    """What bundles say beside what was measured: ``licence`` is a name or the path of a text file that goes along."""

    licence: Annotated[str, Field(min_length=1, max_length=4096)] | None = None


class BudgetConfig(_Section):
    """Wall time of the whole command in seconds, or a number of evaluations; None = no limit."""

    seconds: Annotated[float, Field(gt=0.0)] | None = None
    evaluations: Count | None = None


class ExecutionConfig(_Section):
    """How the work is done, as opposed to what is searched: a run may be resumed with other values.

    ``workers`` processes of this machine, or the workers of the Dask cluster at ``cluster``, evaluate and fine-tune;
    without either, this process does. ``evaluation_timeout_s`` is for one candidate. More than ``max_failures`` failed
    candidates end the search; None = half of all, once twenty have failed. The resources are what a job of a cluster
    needs, such as ``{GPU: 1}``, where its workers offer any. ``tracker`` names where figures are logged too.
    """

    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    cluster: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    evaluation_timeout_s: Annotated[float, Field(gt=0.0)] | None = None
    max_failures: Annotated[int, Field(ge=0)] | None = None
    evaluation_resources: dict[str, Annotated[float, Field(gt=0.0)]] = {}
    training_resources: dict[str, Annotated[float, Field(gt=0.0)]] = {}
    tracker: str | None = None

    @model_validator(mode="after")
    def _one_place_to_work(self) -> "ExecutionConfig":
        if self.workers is not None and self.cluster is not None:
            raise ValueError("workers are of this machine and cluster names others: give one of the two")
        return self


class Config(_Section):
    """All settings of one search."""

    version: Literal[1] = 1
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: DataConfig = DataConfig()
    space: SpaceConfig = SpaceConfig()
    cost: CostConfig = CostConfig()
    train: TrainConfig = TrainConfig()
    search: SearchConfig = SearchConfig()
    fine_tune: FineTuneConfig = FineTuneConfig()
    deploy: DeployConfig = DeployConfig()
    budget: BudgetConfig = BudgetConfig()
    execution: ExecutionConfig = ExecutionConfig()

    @model_validator(mode="after")
    def _a_teacher_is_within_reach(self) -> "Config":
        if self.fine_tune.teacher == "reference" and self.execution.cluster is not None:
            raise ValueError("fine_tune.teacher reference needs the run's folder, which a cluster's workers do not see")
        return self

    @property
    def searches_precision(self) -> bool:
        return self.space.precision != "fixed"

    @property
    def quantizes(self) -> bool:
        """Whether finished networks are trained and answer at the bit widths they are priced at."""
        return self.fine_tune.quantize or self.searches_precision or bool(self.space.analog_shares)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def save(self, path: Path) -> None:
        write_atomically(path, self.to_yaml())


def load_config(path: str | Path) -> Config:
    """Read a settings file (YAML or JSON). Settings that are not in it keep their defaults."""
    file = Path(path)
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(
                f"Settings file {str(file)!r} must be smaller than 1 MB, it has {file.stat().st_size} bytes."
            )
        text = file.read_bytes()
    except OSError as exc:
        raise ConfigError(f"Settings file {str(file)!r} cannot be read: {exc.strerror}. Check --config.") from exc
    return config_from_text(text, origin=f"Settings file {str(file)!r}")


def config_from_text(text: str | bytes, origin: str) -> Config:
    """Settings from YAML or JSON text; ``origin`` says in errors where it came from."""
    try:
        data = yaml.safe_load(text.decode("utf-8") if isinstance(text, bytes) else text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        reason = " ".join(str(exc).split())
        raise ConfigError(f"{origin} must be YAML text, but it cannot be parsed: {reason}.") from exc
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{origin} must hold named settings, got a {type(data).__name__}.")
    version = data.get("version", CONFIG_VERSION)
    if version != CONFIG_VERSION:
        raise ConfigError(
            f"{origin} has version {shortened(repr(version))}; this offramp reads version {CONFIG_VERSION}."
        )
    return build_config(data, origin=origin)


def build_config(data: dict[str, Any], origin: str = "Settings") -> Config:
    """Check plain data and make a Config of it; one error lists all faults."""
    return build_section(Config, data, origin)


S = TypeVar("S", bound=_Section)


def build_section(kind: type[S], data: dict[str, Any], origin: str = "Settings") -> S:
    """One section of the settings from plain data."""
    try:
        return kind.model_validate(data)
    except ValidationError as exc:
        raise ConfigError(f"{origin}: {exc.error_count()} fault(s): {describe_faults(exc)}.") from exc


def with_settings(config: Config, changes: dict[str, Any]) -> Config:
    """A copy with settings changed by dotted name, for example ``{"cost.accelerator": "edge-tpu-quad"}``."""
    data = config.model_dump(mode="python")
    for dotted, value in changes.items():
        *sections, name = dotted.split(".")
        target = data
        for section in sections:
            target = target[section]
        if name not in target:
            raise ConfigError(f"There is no setting {dotted!r}.")
        target[name] = value
    return build_config(data)


def parse_steps(given: str | None, without: Sequence[str]) -> tuple[str, ...]:
    """Steps of the optimized mapping: ``a,b`` or ``none`` (None = all), less those of ``without``."""
    names = ALL_MAPPING_STEPS if given is None else tuple(x.strip() for x in given.split(",") if x.strip() != "none")
    unknown = [name for name in (*names, *without) if name not in ALL_MAPPING_STEPS]
    if unknown:
        raise ConfigError(
            f"Steps of the optimized mapping must be among {', '.join(ALL_MAPPING_STEPS)} (or none), got "
            f"{', '.join(map(repr, unknown))}."
        )
    return tuple(name for name in ALL_MAPPING_STEPS if name in names and name not in without)


_TIME_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_budget(text: str) -> BudgetConfig:
    """``90s``, ``40m``, ``1.5h`` = wall time of the whole command; a bare number = evaluations."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    value = float(match.group(1)) if match else 0.0
    if match and value > 0:
        if match.group(2):
            return BudgetConfig(seconds=value * _TIME_UNITS[match.group(2)])
        if value == int(value):
            return BudgetConfig(evaluations=int(value))
    raise ConfigError(
        f"A budget must be a time above 0 such as 90s, 40m or 2h, or a whole number of evaluations, got {text!r}."
    )
