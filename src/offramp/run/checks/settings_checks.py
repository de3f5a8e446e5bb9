"""Checks of settings that span several parts, before data are read."""

from pathlib import Path

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.cost.engines.cost_engine import COST_ENGINES
from offramp.cost.pricing import check_engine
from offramp.cost.sparsity_gain import gain_of
from offramp.deploy.bundle.licence import read_licence
from offramp.deploy.onnx.qdq import check_quantised_export
from offramp.deploy.targets.deployment_target import DEPLOYMENT_TARGETS, check_target_ready
from offramp.errors import ConfigError
from offramp.exits.quality.quality_measures import ACCURACY
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.loader import load_accelerator
from offramp.nn.adoption.adopted_model import ADOPTED
from offramp.nn.adoption.onnx_models import check_onnx_backbone, is_onnx_file
from offramp.nn.adoption.timm_models import PREFIX as TIMM
from offramp.nn.adoption.timm_models import check_timm
from offramp.nn.backbone import BACKBONES
from offramp.nn.branches.exit_branch import EXIT_BRANCHES
from offramp.nn.quantization.quantize import check_precision
from offramp.objectives.parse import parse_constraints, parse_objectives
from offramp.objectives.picking import check_rule
from offramp.run.defaults.backbone_choice import AUTO
from offramp.run.factory import fixed_precisions, searched_precisions
from offramp.run.trackers.tracker import TRACKERS
from offramp.settings.config import Config
from offramp.settings.space_config import SpaceConfig
from offramp.workload.layer import LayerShape, Op


def check_settings(config: Config) -> Accelerator:
    """Fail at once, before data are read, on a name or a rule that cannot be understood.

    Args:
        config: All settings of a search.

    Returns:
        The accelerator of the settings, read and checked; pass it on to `build_context`.

    Raises:
        InputError: A setting is unknown, or contradicts another one or the accelerator.
        ConfigError: Bit widths to search among are given without a granularity.
        ExportError: The installed onnxruntime is too old for quantised networks.
    """
    accelerator = load_accelerator(config.cost.accelerator)
    _check_backbone(config)
    _check_execution(config)
    if not config.searches_precision and config.space.precisions != SpaceConfig().precisions:
        raise ConfigError(
            f"Bit widths to search among ({', '.join(config.space.precisions)}) need a granularity: set "
            "space.precision (--precision) to network, stage or layer, or leave space.precisions (--bits) out."
        )
    for branch in config.space.branches:
        EXIT_BRANCHES.get(branch)
    ALGORITHMS.get(config.search.algorithm)
    check_engine(config.cost, accelerator)
    _check_measures(config)
    for rule in config.fine_tune.picks:
        check_rule(rule)
    read_licence(config.deploy.licence)
    for target in config.deploy.targets:
        check_target_ready(DEPLOYMENT_TARGETS.get(target))
    _check_analog(config, accelerator)
    _check_runner(config, accelerator)
    _check_exit_reuse(config)
    _check_short_trainings(config)
    _check_pruning(config, accelerator)
    if (config.fine_tune.quantize or config.space.analog_shares) and not config.searches_precision:
        backbone, branches = fixed_precisions(config)
        check_precision(backbone, "backbone")
        check_precision(branches, "branches")
    if config.quantizes:
        precisions = searched_precisions(config).choices if config.searches_precision else fixed_precisions(config)
        check_quantised_export(precision.weight_bits for precision in precisions)
    return accelerator


def _check_measures(config: Config) -> None:
    """Objectives and constraints are understood, and the guarantee can use them."""
    parse_objectives(config.search.objectives)
    parse_constraints(config.search.constraints)
    about = config.fine_tune.guarantee_measure
    if config.fine_tune.guarantee is None and about != ACCURACY:
        raise ConfigError(
            f"fine_tune.guarantee_measure {about} needs a guarantee: set fine_tune.guarantee, such as 0.01@0.95."
        )
    if about != ACCURACY and config.search.calibrate_confidences:
        raise ConfigError(
            "search.calibrate_confidences fits temperatures on the samples that a guarantee leaves for them, which for "
            f"{about} are of one class alone. Leave one of the two out."
        )


def _check_analog(config: Config, accelerator: Accelerator) -> None:
    formulas = accelerator.formulas
    if any(config.space.analog_shares) and (formulas is None or formulas.analog is None):
        raise ConfigError(
            f"space.analog_shares needs an accelerator with an analog core, such as diana, got "
            f"{config.cost.accelerator!r}. Choose another cost.accelerator, or leave the shares out."
        )


def _check_runner(config: Config, accelerator: Accelerator) -> None:
    """Measured networks compute as those in the bundle will."""
    runner = accelerator.runner
    if runner is None:
        return
    arithmetic, wanted = runner.measurement.arithmetic, "int8" if config.quantizes else "float32"
    if arithmetic != wanted:
        raise ConfigError(
            f"Accelerator {accelerator.name!r} measures in {arithmetic}, but the networks of this search compute in "
            f"{wanted}. Set `arithmetic: {wanted}` in the block `measurement` of its file, or fine_tune.quantize "
            f"{'false' if config.quantizes else 'true'}."
        )
    if config.searches_precision:
        raise ConfigError(
            f"Bit widths cannot be searched on {accelerator.name!r}, which measures all layers in {arithmetic}. Leave "
            "space.precision out, or choose an accelerator that is described by its cores."
        )
    if config.execution.cluster is not None:
        raise ConfigError(
            f"{accelerator.name!r} is measured where the search runs, and machines of execution.cluster would measure "
            "themselves. Leave execution.cluster out."
        )


def _check_exit_reuse(config: Config) -> None:
    reuse = config.space.exit_reuse
    if reuse != "none" and config.search.algorithm == "exact":
        raise ConfigError(
            f"search.algorithm exact solves exits that answer independently of each other, but with space.exit_reuse "
            f"{reuse} an exit depends on the one before. Choose another algorithm, such as nsga2, or exit_reuse none."
        )
    if reuse != "none" and any(config.space.analog_shares):
        raise ConfigError(
            f"space.exit_reuse {reuse} cannot be combined with space.analog_shares: sums of logits have no form on an "
            "analog core. Leave one of the two out."
        )


def _check_short_trainings(config: Config) -> None:
    settings = config.fine_tune
    asked = {"contenders": settings.contenders, "early_exit_weights": settings.early_exit_weights}
    for name, value in asked.items():
        if value and config.budget.seconds is not None:
            raise ConfigError(
                f"fine_tune.{name} are trained for a share of the epochs of fine-tuning, which a time budget leaves "
                "open. Leave them out, or give a budget as a number of evaluations, such as --budget 200."
            )


def _check_pruning(config: Config, accelerator: Accelerator) -> None:
    """Zeros are worth training for only where the accelerator's description says that it gains from them."""
    density = config.fine_tune.weight_density
    if density is None:
        return
    cost = config.cost
    if not accelerator.gains_from_zero_weights:
        raise ConfigError(
            f"fine_tune.weight_density is for accelerators that gain from weights that are zero, which "
            f"{accelerator.name!r} does not: no core of its description has a block `sparsity`. Leave it out, or state "
            "what the chip gains and where that was published."
        )
    if not COST_ENGINES.get(cost.engine).prices_zero_weights:
        able = " or ".join(repr(name) for name in COST_ENGINES if COST_ENGINES.get(name).prices_zero_weights)
        raise ConfigError(
            f"fine_tune.weight_density needs the cost engine {able}, got {cost.engine!r}, which knows nothing of "
            "weights that are zero. Leave one of the two out."
        )
    bits = {cost.weight_bits, cost.branch_weight_bits}
    if config.searches_precision:
        bits = {precision.weight_bits for precision in searched_precisions(config).choices}
    shapes = [LayerShape(Op.DENSE, weight_bits=width, weight_density=density) for width in bits]
    if not any(gain_of(shape, core) for shape in shapes for core in accelerator.cores):
        raise ConfigError(
            f"fine_tune.weight_density {density:g} gains nothing on {accelerator.name!r}: weights of "
            f"{' or '.join(map(str, sorted(bits)))} bits take no less room in its format for zeros. Choose a lower one."
        )


def _check_backbone(config: Config) -> None:
    space = config.space
    if space.backbone.startswith(TIMM):
        check_timm(space.backbone.removeprefix(TIMM))
        return
    if is_onnx_file(space.backbone):
        check_onnx_backbone(Path(space.backbone))
        if space.weights is not None:
            raise ConfigError("space.weights are for backbones from timm; an ONNX file holds its own. Leave them out.")
        return
    if space.backbone != AUTO and not space.backbone.startswith(ADOPTED):
        BACKBONES.get(space.backbone)
    if space.weights is not None or space.freeze:
        raise ConfigError(
            f"space.weights and space.freeze are for backbones from timm (timm:...); freeze also for ONNX files. Got "
            f"{space.backbone!r}. A model of your own is frozen by offramp.adopt(..., freeze=True)."
        )


def _check_execution(config: Config) -> None:
    """Workers build the network from the settings alone."""
    execution = config.execution
    if execution.tracker is not None:
        TRACKERS.get(execution.tracker)
    asked = execution.workers or execution.devices or execution.cluster or execution.evaluation_timeout_s
    if asked is not None and config.space.backbone.startswith(ADOPTED):
        raise ConfigError(
            f"Backbone {config.space.backbone!r} is a model that was given in Python, which workers cannot build. "
            "Leave out workers, devices, cluster and evaluation_timeout_s."
        )
