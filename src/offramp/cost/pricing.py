"""Cost models from settings, and the cost of a network in an ONNX file; works without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from offramp.cost.device_energy import device_energy
from offramp.cost.engines.cost_engine import COST_ENGINES, EngineOptions, build_engines
from offramp.cost.engines.measured.engine import measured_engine
from offramp.cost.expected import check_exit_rates, expected_cost
from offramp.cost.mapping.channel_split.analog_shares import analog_refusals
from offramp.cost.mapping.channel_split.channel_split_model import ChannelSplitModel
from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.mapping.measured_sum import MeasuredSumModel
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.mapping.optimized.optimized_model import OptimizedModel
from offramp.cost.price_cache import CachedEngine, cached_engines, default_cache_path
from offramp.cost.priced_model import PricedModel
from offramp.cost.report import CostModel, Goal, LayerEngine
from offramp.errors import ConfigError
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.hardware.loader import load_accelerator
from offramp.settings.cost_config import CostConfig
from offramp.workload.from_onnx.conversion import OnnxNetwork, network_from_onnx
from offramp.workload.graph import Role, Workload

DEFAULT_ENGINE = "native"
"""The engine of accelerators without formulas of their own, when the settings name none."""

FORMULA_ENGINE = "formula"
"""The engine of accelerators with formulas of their own."""

MEASURED_ENGINE = "measured"
"""The engine of accelerators whose files name a runner."""


def build_cost_model(
    cost: CostConfig,
    *,
    coarse: bool = False,
    cache: Path | None = None,
    exit_rates: Sequence[float] | None = None,
    free_assignment: bool = False,
    accelerator: Accelerator | None = None,
) -> CostModel:
    """Build the cost model of the settings.

    Args:
        cost: Accelerator, engine, convention and mapping.
        coarse: Whether speed is preferred to the best mapping of a layer, for engines that offer the choice.
        cache: The file that keeps prices of layers; None for the user's own.
        exit_rates: The share of samples that leaves at each exit. Where known, it tells the optimized mapping what is
            worth starting before an exit's verdict.
        free_assignment: Whether layers may be put on an analog core though nothing says that their weights are ternary.
        accelerator: The accelerator of the settings, where it has been read already.

    Returns:
        A model that prices whole workloads.

    Raises:
        ConfigError: The engine or the convention does not fit the accelerator, or a package is missing.
        UnknownNameError: No engine or accelerator has the name that is set.
        AcceleratorError: The description of the accelerator has faults.
    """
    accelerator = accelerator or load_accelerator(cost.accelerator)
    rates = None if exit_rates is None else tuple(exit_rates)
    check_engine(cost, accelerator)
    if accelerator.formulas is not None:
        return ChannelSplitModel(free=free_assignment, overlapping=cost.mapping == "optimized", exit_rates=rates)
    if accelerator.runner is not None:
        measured, path = measured_engine(accelerator), cache or default_cache_path()
        return MeasuredSumModel(CachedEngine(measured, path), measured, path.parent, measures_whole=not coarse)
    optimized = cost.mapping == "optimized"
    goals: tuple[Goal, ...] = ("energy_delay_product", "energy") if optimized else ("latency",)
    built = build_engines(
        cost.engine, EngineOptions(goals, coarse, accelerator, cost.loads, cost.unrolling, cost.memory_fill)
    )
    engines = cached_engines(built, cache or default_cache_path())
    if optimized:
        steps = frozenset(MappingStep(name) for name in cost.mapping_steps)
        return OptimizedModel(engines[0], steps, engines[1:], rates)
    return LayerByLayerModel(engines[0], cost.convention)


def check_engine(cost: CostConfig, accelerator: Accelerator) -> None:
    """Check that the engine of the settings exists and fits the accelerator.

    Args:
        cost: The settings.
        accelerator: The accelerator that the settings name.

    Raises:
        UnknownNameError: No engine has this name.
        ConfigError: The accelerator is priced by its own formulas or measured, and the settings ask for something
            else.
    """
    COST_ENGINES.get(cost.engine)
    if accelerator.formulas is not None:
        _check_own_engine(cost, FORMULA_ENGINE, "is priced by its own published formulas", "know", "have")
    if accelerator.runner is not None:
        _check_own_engine(cost, MEASURED_ENGINE, "is measured by the runner of its file", "knows", "has")


def _check_own_engine(cost: CostConfig, engine: str, why: str, know: str, have: str) -> None:
    """Check that the settings ask for nothing that an accelerator with an engine of its own does not know."""
    if (cost.loads, cost.unrolling, cost.memory_fill) != ("before", "best", "full"):
        raise ConfigError(
            f"Accelerator {cost.accelerator!r} {why}, which {know} no loads, unrolling "
            f"or memory_fill, got {cost.loads!r}, {cost.unrolling!r} and {cost.memory_fill!r}. Leave them at their "
            "defaults."
        )
    if cost.engine not in (DEFAULT_ENGINE, engine) or cost.convention != "offramp":
        raise ConfigError(
            f"Accelerator {cost.accelerator!r} {why}, which {have} engine "
            f"{engine!r} and convention 'offramp', got {cost.engine!r} and {cost.convention!r}. Leave both at "
            "their defaults."
        )


def engine_for(accelerator: Accelerator) -> LayerEngine:
    """Build the engine that prices an accelerator when the settings name none.

    Args:
        accelerator: Any accelerator.

    Returns:
        The formulas of a chip that has them, the runner of a measured device, the native engine for all others.
    """
    name = DEFAULT_ENGINE if accelerator.formulas is None else FORMULA_ENGINE
    if accelerator.runner is not None:
        name = MEASURED_ENGINE
    return build_engines(name, EngineOptions(accelerator=accelerator))[0]


def price_onnx(
    model: Path,
    cost: CostConfig,
    exit_rates: Sequence[float] | None = None,
    final: str | None = None,
    sizes: Mapping[str, int] | None = None,
) -> PricedModel:
    """Price the network in an ONNX file; one without early exits is a network of one stage.

    Weights that the file stores as integers have the width in which it stores them, unless ``cost`` sets one.

    Args:
        model: The ONNX file; its weights may be stripped.
        cost: Accelerator, engine, convention, mapping and bit widths.
        exit_rates: The share of samples that leaves at each exit, for the expected cost.
        final: Name of the output that is the final exit; None to find it.
        sizes: Sizes of axes that the file leaves open, by name (see `network_from_onnx`).

    Returns:
        The reports of the network and of the static network in it, and the expected cost.

    Raises:
        InputError: The graph, the accelerator, the engine or the rates do not fit.
    """
    accelerator = load_accelerator(cost.accelerator)
    network = network_from_onnx(model, final=final, read_weights=accelerator.gains_from_zero_weights, sizes=sizes)
    workload, notes = _with_bit_widths(network, cost)
    if exit_rates is not None:
        check_exit_rates(exit_rates, workload.num_stages)
    # A graph does not say how it was trained: any layer may be put on an analog core.
    cost_model = build_cost_model(cost, exit_rates=exit_rates, free_assignment=True, accelerator=accelerator)
    report = cost_model.estimate(workload, accelerator)
    report = replace(
        report,
        stages=tuple(replace(stage, exit=output) for stage, output in zip(report.stages, network.outputs, strict=True)),
        warnings=(*network.notes, *notes, *report.warnings, *_analog_notes(workload, accelerator)),
    )
    static = cost_model.estimate(workload.static(), accelerator)
    expected = expected_cost(report, exit_rates) if exit_rates else None
    cores = tuple(core.name for core in accelerator.cores if core.kind is not CoreKind.OFFCHIP)
    density = workload.weight_density if accelerator.gains_from_zero_weights else None
    device = device_energy(accelerator, report, expected, expected_cost(static, (1.0,)))
    return PricedModel(str(model), report, static, expected, cores, density, device)


def _with_bit_widths(network: OnnxNetwork, cost: CostConfig) -> tuple[Workload, list[str]]:
    """The network at the widths of the settings and of the file, and notes on weights where the two differ."""
    workload = network.workload.with_bits(
        cost.weight_bits, cost.activation_bits, cost.branch_weight_bits, cost.branch_activation_bits
    )
    notes = []
    for role, setting in ((Role.BACKBONE, "weight_bits"), (Role.BRANCH, "branch_weight_bits")):
        stated, priced = network.stated_bits(role), int(getattr(cost, setting))
        other = sorted({bits for bits in stated.values() if bits != priced})
        if not other:
            continue
        count = sum(bits != priced for bits in stated.values())
        text = f"The file stores the weights of {count} {role.value} layer(s) in {' and '.join(map(str, other))} bits"
        if setting in cost.model_fields_set:
            notes.append(f"{text}; they are priced at {priced}, as the setting cost.{setting} says.")
        else:
            workload = workload.with_weight_bits(stated)
            notes.append(f"{text}, and they are priced so. The setting cost.{setting} changes that.")
    return workload, notes


def _analog_notes(workload: Workload, accelerator: Accelerator) -> list[str]:
    """Layers that the analog core cannot run, or a note that analog layers are priced as digital ones."""
    num_analog = sum(bool(layer.analog_channels) for layer in workload.layers)
    if not num_analog:
        return [item.sentence for item in analog_refusals(workload, accelerator)]
    if accelerator.formulas is not None and accelerator.formulas.analog is not None:
        return []
    return [
        f"{num_analog} layer(s) compute as an analog core does, with ternary weights. {accelerator.name} has no such "
        "core: they are priced as if they were digital."
    ]
