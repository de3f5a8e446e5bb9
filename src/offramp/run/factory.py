"""Builds the parts of a run from its settings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.cost.mapping.channel_split.analog_shares import analog_split
from offramp.cost.pricing import build_cost_model
from offramp.data.augmentation import Augmentation, default_augmentation
from offramp.data.dataset_loading import load_dataset
from offramp.data.labelled_data import Dataset
from offramp.data.python_data import IN_PYTHON
from offramp.data.sound.feature_settings import SoundRequest
from offramp.data.sound_augmentation import SoundAugmentationSettings, sound_augmentation
from offramp.errors import ConfigError
from offramp.exits.quality.quality_measures import RECALL, QualityMeasures
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.loader import load_accelerator
from offramp.nn.adoption.adopted_model import ADOPTED, OWN_HEAD, AdoptedModel
from offramp.nn.adoption.onnx_models import adopt_onnx, is_onnx_file
from offramp.nn.adoption.timm_models import PREFIX as TIMM
from offramp.nn.adoption.timm_models import TimmSettings, adopt_timm
from offramp.nn.backbone import BACKBONES, BackboneFamily, ElasticBlock
from offramp.nn.batch_norm import learns_statistics
from offramp.nn.branches.branch_layer import MAX_LAYERS, layer_choices
from offramp.nn.branches.exit_branch import EXIT_BRANCHES
from offramp.nn.supernet.active_analog_shares import has_analog_layers
from offramp.nn.supernet.supernet import DEFAULT_FINAL_BRANCH, Supernet
from offramp.objectives.evaluation import Constraint, is_quality, quality_metric
from offramp.objectives.parse import parse_constraints, parse_objectives
from offramp.progress import Reporter
from offramp.run.context import Context
from offramp.run.defaults.data_defaults import length_of, with_data_defaults
from offramp.run.defaults.training_length import TrainingLength
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.run.network_preparation import EvaluationData
from offramp.settings.config import Config
from offramp.settings.data_config import DataConfig
from offramp.settings.search_config import SearchConfig
from offramp.space.architecture import Precision
from offramp.space.branch_layer_choices import NO_LAYERS, BranchLayerChoices
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.precision_choices import FIXED, PrecisionChoices
from offramp.train.compute import build_compute, set_threads

_SMALLEST_SIDE, _FEWEST_STEPS = 4, 4


def build_family(config: Config, dataset: Dataset, model: AdoptedModel | None) -> BackboneFamily:
    """Find or build the backbone family that the settings name.

    Args:
        config: All settings of a search.
        dataset: The data set, whose images and classes a model from timm is built for.
        model: The backbone, where it was given in Python; None takes the one that the settings name.

    Returns:
        The backbone family, or the adopted model.

    Raises:
        ConfigError: The settings name a model that was given in Python, but ``model`` is None.
        InputError: There is no such backbone, or the model does not fit the data.
    """
    space = config.space
    if model is not None:
        return model
    if space.backbone.startswith(TIMM):
        settings = TimmSettings(
            space.backbone.removeprefix(TIMM), space.weights, space.freeze, space.max_taps, config.seed
        )
        return adopt_timm(settings, dataset.input_shape, dataset.num_classes)
    if is_onnx_file(space.backbone):
        return adopt_onnx(Path(space.backbone), dataset.input_shape, max_taps=space.max_taps, freeze=space.freeze)
    if space.backbone.startswith(ADOPTED):
        raise ConfigError(
            f"Backbone {space.backbone!r} is a model that was given in Python. Give it again: "
            "offramp.search(model=offramp.adopt(...), ...)."
        )
    return BACKBONES.get(space.backbone)


def fixed_precisions(config: Config) -> tuple[Precision, Precision]:
    """Take the bit widths of networks from the settings; they hold where none are searched.

    Args:
        config: All settings of a search.

    Returns:
        The precision of the backbone and that of the branches.
    """
    cost = config.cost
    return (
        Precision(cost.weight_bits, cost.activation_bits),
        Precision(cost.branch_weight_bits, cost.branch_activation_bits),
    )


def searched_precisions(config: Config) -> PrecisionChoices:
    """Take the bit widths that are searched from the settings.

    Args:
        config: All settings of a search.

    Returns:
        The choices; `FIXED` where no bit widths are searched.
    """
    if not config.searches_precision:
        return FIXED
    return PrecisionChoices(config.space.precision, tuple(map(Precision.parse, config.space.precisions)))


def build_dataset(config: Config, reporter: Reporter, data_in_python: object = None) -> Dataset:
    """Read and split the data that the settings name.

    Args:
        config: All settings of a search.
        reporter: Shows the progress.
        data_in_python: The data, where they were given in Python; None takes those that the settings name.

    Returns:
        The samples, split and with their statistics.

    Raises:
        ConfigError: The data were given in Python, but ``data_in_python`` is None.
        InputError: The data cannot be read or split.
    """
    data = config.data
    if data_in_python is None and data.source == IN_PYTHON:
        raise ConfigError(
            "The data of this run were given in Python. Give them again: offramp.search(data=(x, y), ...)."
        )
    return load_dataset(
        data.source if data_in_python is None else data_in_python,
        seed=config.seed,
        validation_share=data.validation_share,
        test_share=data.test_share,
        image_column=data.image_column,
        label_column=data.label_column,
        image_size=data.image_size,
        duplicates=data.duplicates,
        long_sounds=data.long_sounds,
        sound=SoundRequest(
            kind=data.sound_features,
            rate_hz=data.sound_rate_hz,
            window_s=data.sound_window_s,
            frame_ms=data.sound_frame_ms,
            hop_ms=data.sound_hop_ms,
            bands=data.sound_bands,
            coefficients=data.sound_coefficients,
        ),
        label_pattern=data.label_pattern,
        memory_mib=data.memory_mib,
        kind=data.kind,
        group_column=data.group_column,
        group_pattern=data.group_pattern,
        id_column=data.id_column,
        window=data.window,
        hop=data.hop,
        reporter=reporter,
    )


def build_space(config: Config, dataset: Dataset, family: BackboneFamily) -> EarlyExitSpace:
    """Build the search space of the settings.

    Args:
        config: All settings of a search.
        dataset: The data set, which determines the input shape and the number of classes.
        family: The backbone family.

    Returns:
        The search space.

    Raises:
        InputError: A setting of the space does not fit the backbone.
    """
    precision, branch_precision = fixed_precisions(config)
    own_head = isinstance(family, AdoptedModel) and family.num_classes == dataset.num_classes
    backbone = family.space(dataset.input_shape)
    return EarlyExitSpace(
        backbone=backbone if config.space.elastic_widths else backbone.with_full_widths(),
        final_branch=OWN_HEAD if own_head else DEFAULT_FINAL_BRANCH,
        branches=config.space.branches,
        measures=config.space.measures,
        accuracy_drops=config.space.accuracy_drops,
        max_exits=config.space.max_exits,
        precision=precision,
        branch_precision=branch_precision,
        precisions=searched_precisions(config),
        analog_shares=config.space.analog_shares,
        digital_branches=_digital_branches(config.space.branches) if config.space.analog_shares else (),
        branch_layers=_branch_layers(config),
    )


def _digital_branches(branches: Sequence[str]) -> tuple[str, ...]:
    """Types without a convolution that an analog core could run, whatever the features."""
    built = {name: EXIT_BRANCHES.get(name).build(8, 8, 8, 2) for name in branches}
    return tuple(name for name, branch in built.items() if not has_analog_layers(branch))


def _branch_layers(config: Config) -> BranchLayerChoices:
    """What branches may be put together from, if any type in the settings is put together layer by layer."""
    layered = tuple(name for name in config.space.branches if getattr(EXIT_BRANCHES.get(name), "layered", False))
    return BranchLayerChoices(layered, layer_choices(), MAX_LAYERS) if layered else NO_LAYERS


def build_context(
    config: Config, dataset: Dataset, model: AdoptedModel | None = None, accelerator: Accelerator | None = None
) -> Context:
    """Build all parts of a run.

    Args:
        config: All settings of the search.
        dataset: The data to train, choose and test on.
        model: The backbone, where it was given in Python; None takes the one that the settings name.
        accelerator: The accelerator of the settings, where its file has been read already; None reads it.

    Returns:
        The context that a run works with.

    Raises:
        ConfigError: The images are too small.
        InputError: A setting or a model does not fit the data.
    """
    _, height, width = dataset.input_shape
    _check_size(dataset)
    config = with_data_defaults(config, dataset)
    set_threads(config.train.threads, max(height, width))
    family = build_family(config, dataset, model)
    space = build_space(config, dataset, family)
    accelerator = accelerator or load_accelerator(config.cost.accelerator)
    supernet = Supernet(
        space.backbone,
        config.space.branches,
        dataset.input_shape,
        dataset.num_classes,
        config.seed,
        family,
        space.precisions.choices,
        analog_split(accelerator) if any(config.space.analog_shares) else None,
        config.space.exit_reuse,
    )
    train, length = config.train, length_of(config, dataset)
    _check_batch_size(length, supernet)
    _check_integers(config, supernet)
    compute = build_compute(train.device, train.precision, train.channels_last, max(height, width))
    fine_tune_epochs = config.fine_tune.epochs
    search_cost = build_cost_model(config.cost, coarse=True, accelerator=accelerator)
    objectives, constraints = parse_objectives(config.search.objectives), search_constraints(config.search)
    judged_on = evaluation_data(config, dataset)
    measures = quality_measures(config, dataset, judged_on.validation.labels)
    return Context(
        config=config,
        dataset=dataset,
        family=family,
        space=space,
        supernet=supernet,
        compute=compute,
        accelerator=accelerator,
        search_cost=search_cost,
        report_cost=build_cost_model(config.cost, accelerator=accelerator),
        objectives=objectives,
        constraints=constraints,
        measures=measures,
        augmentation=_augmentation(config.data, dataset),
        epochs=length.epochs,
        batch_size=length.batch_size,
        fine_tune_epochs=length.epochs if fine_tune_epochs is None else fine_tune_epochs,
        evaluator=SupernetEvaluator(
            supernet,
            judged_on,
            compute,
            search_cost,
            accelerator,
            constraints,
            calibrate_confidences=config.search.calibrate_confidences,
            class_thresholds=config.search.class_thresholds,
            quantize=config.searches_precision,
            weight_density=config.fine_tune.weight_density,
            measures=measures,
        ),
    )


def _augmentation(data: DataConfig, dataset: Dataset) -> Augmentation | None:
    if not data.augment:
        return None
    if dataset.sound is None:
        return default_augmentation(dataset)
    settings = SoundAugmentationSettings(data.sound_shift, data.sound_masks, data.sound_noise_db, data.sound_gain_db)
    return sound_augmentation(dataset.sound, settings)


def _check_size(dataset: Dataset) -> None:
    _, height, width = dataset.input_shape
    if dataset.input_kind == "series" and width < _FEWEST_STEPS:
        raise ConfigError(
            f"Series must have at least {_FEWEST_STEPS} steps of time, got {width}. If these are single features, set "
            "data.kind=vectors."
        )
    if dataset.input_kind not in ("series", "vectors") and min(height, width) < _SMALLEST_SIDE:
        if dataset.input_kind == "feature_maps":
            raise ConfigError(
                f"Feature maps must be at least {_SMALLEST_SIDE}x{_SMALLEST_SIDE}, got {height}x{width}. If they are "
                "series, give them as (samples, channels, time)."
            )
        raise ConfigError(f"Images must be at least 4x4 pixels, got {height}x{width}. Set data.image_size.")


def search_constraints(search: SearchConfig) -> tuple[Constraint, ...]:
    """Read the constraints of a search.

    Args:
        search: The settings.

    Returns:
        The constraints, and that a network fits the memories unless that is switched off or bounded otherwise.

    Raises:
        ConstraintError: A constraint cannot be understood, or two of them exclude each other.
    """
    constraints = parse_constraints(search.constraints)
    if not search.fit_memory or any(item.metric == "memory_use" for item in constraints):
        return constraints
    return (*constraints, Constraint("memory_use", "<=", 1.0))


def _check_integers(config: Config, supernet: Supernet) -> None:
    """Blocks with attention have no form of integers."""
    blocks = [module for module in supernet.backbone.modules() if isinstance(module, ElasticBlock)]
    if all(block.computes_integers for block in blocks):
        return
    if config.quantizes or any(config.space.analog_shares):
        raise ConfigError(
            f"Networks of backbone {config.space.backbone!r} compute in floating point. Leave space.precision, "
            "space.analog_shares and fine_tune.quantize out, or choose another backbone, such as resnet."
        )


def _check_batch_size(length: TrainingLength, supernet: Supernet) -> None:
    """Batch norms learn from the differences between the samples of a batch."""
    if min(length.batch_size, length.num_samples) > 1 or not learns_statistics(supernet):
        return
    raise ConfigError(
        "train.batch_size and the number of training samples must be at least 2, because the network has batch "
        f"normalisation, got {length.batch_size} and {length.num_samples}. Set train.batch_size=2 or more, or give "
        "more samples."
    )


def quality_measures(config: Config, dataset: Dataset, labels: NDArray[np.integer]) -> QualityMeasures:
    """Find the measures of good answers that a search uses.

    Args:
        config: All settings of the search.
        dataset: The data set, whose classes recalls may be of.
        labels: Labels of the validation samples that candidates are judged on.

    Returns:
        The measures.

    Raises:
        ConfigError: A recall is of a class that the data do not have, or that the validation samples lack.
    """
    bounded = [item.metric for item in parse_constraints(config.search.constraints) if is_quality(item.metric)]
    aimed = [item.metric for item in parse_objectives(config.search.objectives) if is_quality(item.metric)]
    guaranteed = [config.fine_tune.guarantee_measure] if config.fine_tune.guarantee is not None else []
    measures = QualityMeasures(
        quality_metric(parse_objectives(config.search.objectives)), (*bounded, *aimed), dataset.class_names
    )
    for name in (*bounded, *aimed, *guaranteed):
        if name.startswith(RECALL) and not (labels == measures.class_index(name)).any():
            raise ConfigError(
                f"{name} needs validation samples of that class, but among the {len(labels)} that candidates are "
                "judged on there are none. Add samples, or raise search.validation_samples or data.validation_share."
            )
    return measures


def evaluation_data(config: Config, dataset: Dataset) -> EvaluationData:
    """Draw the samples that candidates are judged on during the search.

    Args:
        config: How many samples, and the seed.
        dataset: The data set.

    Returns:
        Parts of its training and validation splits.
    """
    search, splits = config.search, dataset.splits
    return EvaluationData(
        calibration=splits.train.subset(search.calibration_samples, config.seed),
        validation=splits.validation.subset(search.validation_samples, config.seed),
        preprocessing=dataset.preprocessing,
    )
