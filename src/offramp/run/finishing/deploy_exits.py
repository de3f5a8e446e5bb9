"""offramp.deploy_exits: thresholds, costs, figures and a bundle for a network with exits of its own, untrained."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from offramp.cost.pricing import build_cost_model
from offramp.cost.report import CostReport
from offramp.data.labelled_data import Dataset
from offramp.data.mini_batches import to_tensor
from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.errors import InputError
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.exits.quality.class_profiles import ClassProfiles, class_profiles
from offramp.nn.adoption.adopt_exits import AdoptedExits
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.objectives.parse import parse_constraints
from offramp.progress import Reporter, SilentReporter
from offramp.run.checks.guarantee_check import check_guarantee
from offramp.run.checks.settings_checks import check_settings
from offramp.run.evaluators.operating_point import OperatingPoint, measure_point
from offramp.run.factory import build_dataset, fixed_precisions, quality_measures
from offramp.run.finishing.point_choice import choose_point
from offramp.run.finishing.used_exits import ChosenPoint, Logits, settle
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.settings.keywords import KeywordSettings
from offramp.space.architecture import PolicyChoice
from offramp.train.compute import build_compute, set_threads
from offramp.train.trainer import collect_logits

_NUM_CHECKS = 256


@dataclass(frozen=True)
class DeployedExits:
    """A network with exits of its own, with thresholds, as it was deployed.

    Attributes:
        folder: The bundle.
        validation: The thresholds, with figures of the validation split.
        test: The same thresholds on the test split, measured once.
        cost: Costs of the network to each exit.
        classes: What each class gets on the test split.
        guarantee: What is promised for the thresholds; None = nothing.
    """

    folder: Path
    validation: OperatingPoint
    test: OperatingPoint
    cost: CostReport
    classes: ClassProfiles
    guarantee: Guarantee | None


def deploy_exits(
    model: AdoptedExits,
    destination: str | Path,
    config: Config | None = None,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    reporter: Reporter | None = None,
    **settings: Unpack[KeywordSettings],
) -> DeployedExits:
    """Choose the thresholds of a network with exits of its own, price it, measure it and write its bundle.

    Nothing is trained. Exits that no validation sample uses are left out, and all that lies behind an exit that
    everybody takes. The settings of ``data``, ``cost`` and ``deploy`` are used, of ``space`` the first of
    ``measures`` and of ``accuracy_drops``, of ``search`` objectives (the measure that thresholds are chosen by),
    ``constraints``, ``calibrate_confidences`` and ``class_thresholds``, and of ``fine_tune`` the guarantee.

    Args:
        model: The network, from `offramp.adopt_exits`.
        destination: The folder of the bundle, which must not exist.
        config: All settings as one value (default: the defaults); ``settings`` change it.
        mean: Mean of each channel that the model was trained with, in 0..1 units (default: that of the training split).
        std: Standard deviation of each channel that the model was trained with (default: that of the training split).
        reporter: What shows the progress (default: nothing does).
        settings: Single settings with two underscores for the dot, such as ``data__source="digits"``.

    Returns:
        The thresholds with their figures, and the folder of the bundle.

    Raises:
        InputError: The network does not fit the data, cannot be priced, or a setting is wrong.
        ExportError: A file does not reproduce the network; nothing is written.
    """
    shown, chosen = reporter or SilentReporter(), with_settings(config or Config(), **settings)
    accelerator = check_settings(chosen)
    dataset = _normalised(build_dataset(chosen, shown), mean, std)
    check_guarantee(chosen, dataset)
    network = _at_precision(copy.deepcopy(model.network), chosen)
    _check_fits(network, dataset)
    measures = quality_measures(chosen, dataset, dataset.splits.validation.labels)
    cost_model = build_cost_model(chosen.cost, accelerator=accelerator)
    side = max(dataset.input_shape[1:])
    set_threads(chosen.train.threads, side)
    compute = build_compute(chosen.train.device, chosen.train.precision, chosen.train.channels_last, side)
    compute.place(network)
    splits, policy, constraints = (
        dataset.splits,
        network.architecture.policy,
        parse_constraints(chosen.search.constraints),
    )
    labels = splits.validation.labels

    def choose(logits: Logits, cost: CostReport) -> ChosenPoint:
        return choose_point(chosen, logits, labels, cost, policy, constraints=constraints, measures=measures)

    with shown.task("Running the network") as task:
        settled = settle(
            network,
            answers=lambda part: collect_logits(part, splits.validation, dataset.preprocessing, compute),
            price=lambda part: cost_model.estimate(lower(part), accelerator),
            choose=choose,
            measure=lambda some, cost, rule: measure_point(some, labels, rule, cost, measures),
        )
        task.update(0.5)
        network, cost, point = settled.network, settled.cost, settled.chosen.point
        test_logits = collect_logits(network, splits.test, dataset.preprocessing, compute)
    guarantee = settled.chosen.guarantee
    test = measure_point(test_logits, splits.test.labels, point.policy, cost, measures)
    checks = to_tensor(splits.validation.subset(_NUM_CHECKS, chosen.seed).samples, dataset.preprocessing).numpy()
    export_bundle(
        network.cpu(),
        Path(destination),
        policy=point.policy,
        class_names=dataset.class_names,
        mean=dataset.preprocessing.mean,
        std=dataset.preprocessing.std,
        cost=cost,
        profile=point.profile,
        test_accuracy=test.profile.top1,
        guarantee=guarantee,
        licence=chosen.deploy.licence,
        checks=checks,
        name=f"{dataset.name}-{network.architecture.backbone.partition(':')[2]}",
        seed=chosen.seed,
        input_kind=dataset.input_kind,
        padded=dataset.padded,
        long_sounds=chosen.data.long_sounds,
        sound=dataset.sound,
    )
    classes = class_profiles(test_logits, splits.test.labels, point.policy)
    return DeployedExits(Path(destination), point, test, cost, classes, guarantee)


def _normalised(dataset: Dataset, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Dataset:
    """The data set with the constants that the model was trained with."""
    own, channels = dataset.preprocessing, dataset.input_shape[0]
    means, deviations = own.mean if mean is None else tuple(mean), own.std if std is None else tuple(std)
    try:
        if len(means) != channels:
            raise ValueError(f"the samples have {channels} channels, but `mean` has {len(means)} values.")
        return replace(dataset, preprocessing=replace(own, mean=means, std=deviations))
    except ValueError as exc:
        raise InputError(f"The samples cannot be normalised: {exc}") from exc


def _at_precision(network: EarlyExitNetwork, config: Config) -> EarlyExitNetwork:
    """The network with the policy and the bit widths of the settings, which shares its weights."""
    precision, branch_precision = fixed_precisions(config)
    architecture = replace(
        network.architecture,
        policy=PolicyChoice(config.space.measures[0], config.space.accuracy_drops[0]),
        precision=precision,
        branch_precision=branch_precision,
    )
    return EarlyExitNetwork(
        architecture, list(network.stages), list(network.branches), network.input_shape, network.num_classes
    ).eval()


def _check_fits(network: EarlyExitNetwork, dataset: Dataset) -> None:
    if network.input_shape != dataset.input_shape:
        raise InputError(
            f"The network was adopted for images of shape {network.input_shape}, the data have {dataset.input_shape}. "
            "Set data.image_size, or adopt it with an example like the data."
        )
    if network.num_classes != dataset.num_classes:
        raise InputError(
            f"The network has {network.num_classes} classes, the data have {dataset.num_classes} "
            f"({', '.join(dataset.class_names[:10])}). They must be the same, in the same order."
        )
