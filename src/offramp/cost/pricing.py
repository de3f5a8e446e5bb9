"""Cost models from settings, and the price of a network that comes as an ONNX file; works without torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from offramp.cost.expected import ExpectedCost, check_exit_rates, expected_cost
from offramp.cost.mapping.channel_split.analog_shares import analog_refusals
from offramp.cost.mapping.channel_split.channel_split_model import ChannelSplitModel
from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.cost.mapping.optimized.optimized_model import OptimizedModel
from offramp.cost.price_cache import CachedEngine, default_cache_path
from offramp.cost.report import CostModel, CostReport, LayerEngine
from offramp.errors import ConfigError
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.hardware.loader import load_accelerator
from offramp.settings.cost_config import CostConfig
from offramp.workload.from_onnx.conversion import workload_from_onnx
from offramp.workload.graph import Workload


@dataclass(frozen=True)
class PricedModel:
    """``expected`` is None where no exit rates were given; ``static``: backbone and final classifier alone.

    ``core_names``: all but the off-chip memory. ``weight_density``: the share of nonzero weights, where the accelerator
    gains from the others.
    """

    model: str
    report: CostReport
    static: CostReport
    expected: ExpectedCost | None
    core_names: tuple[str, ...] = ()
    weight_density: float | None = None


def build_cost_model(
    cost: CostConfig,
    *,
    coarse: bool = False,
    cache: Path | None = None,
    exit_rates: Sequence[float] | None = None,
    free_assignment: bool = False,
    accelerator: Accelerator | None = None,
) -> CostModel:
    """The cost model of the settings; ``coarse`` prefers speed, for engines that offer the choice.

    ``exit_rates``, where known, tell the optimized mapping what is worth starting before an exit's verdict.
    ``accelerator``: that of the settings, where it has been read already. ``free_assignment``: layers may be put on an
    analog core though nothing says that their weights are ternary.
    """
    if (accelerator or load_accelerator(cost.accelerator)).formulas is not None:
        return _build_formulas(cost, exit_rates, free_assignment)
    if cost.mapping == "optimized":
        return _build_mapped(cost, coarse, cache, exit_rates)
    return LayerByLayerModel(
        CachedEngine(_build_engine(cost.engine, coarse), cache or default_cache_path()), cost.convention
    )


def _build_formulas(cost: CostConfig, exit_rates: Sequence[float] | None, free: bool) -> ChannelSplitModel:
    if cost.engine != "native" or cost.convention != "offramp":
        raise ConfigError(
            f"Accelerator {cost.accelerator!r} is priced by its own published formulas, which have engine 'native' and "
            f"convention 'offramp', got {cost.engine!r} and {cost.convention!r}. Leave both at their defaults."
        )
    rates = None if exit_rates is None else tuple(exit_rates)
    return ChannelSplitModel(free=free, overlapping=cost.mapping == "optimized", exit_rates=rates)


def _build_mapped(
    cost: CostConfig, coarse: bool, cache: Path | None, exit_rates: Sequence[float] | None
) -> OptimizedModel:
    rates = None if exit_rates is None else tuple(exit_rates)
    steps = frozenset(MappingStep(name) for name in cost.mapping_steps)
    if cost.engine == "native":
        from offramp.cost.engines.native.engine import NativeEngine

        native = NativeEngine(goal="energy_delay_product")
        path = cache or default_cache_path()
        engines = [CachedEngine(engine, path) for engine in (native, native.sibling("energy"))]
        return OptimizedModel(engines[0], steps, (engines[1],), rates)
    engine = CachedEngine(_build_engine(cost.engine, coarse), cache or default_cache_path())
    return OptimizedModel(engine, steps, exit_rates=rates)


def _build_engine(name: str, coarse: bool) -> LayerEngine:
    # Imported here so that pricing with one engine does not load the other.
    if name == "native":
        from offramp.cost.engines.native.engine import NativeEngine

        return NativeEngine()
    from offramp.cost.engines.zigzag.engine import ZigzagEngine

    return ZigzagEngine.coarse() if coarse else ZigzagEngine()


def price_onnx(model: Path, cost: CostConfig, exit_rates: Sequence[float] | None = None) -> PricedModel:
    """Price an early-exit ONNX graph. Raises InputError for a graph, accelerator or rates that do not fit."""
    accelerator = load_accelerator(cost.accelerator)
    workload = workload_from_onnx(
        model,
        weight_bits=cost.weight_bits,
        activation_bits=cost.activation_bits,
        branch_weight_bits=cost.branch_weight_bits,
        branch_activation_bits=cost.branch_activation_bits,
        read_weights=accelerator.gains_from_zero_weights,
    )
    if exit_rates is not None:
        check_exit_rates(exit_rates, workload.num_stages)
    # A graph says nothing of how it was trained: what it could cost is asked.
    cost_model = build_cost_model(cost, exit_rates=exit_rates, free_assignment=True, accelerator=accelerator)
    report = cost_model.estimate(workload, accelerator)
    report = replace(report, warnings=(*report.warnings, *_analog_notes(workload, accelerator)))
    static = cost_model.estimate(workload.static(), accelerator)
    expected = expected_cost(report, exit_rates) if exit_rates else None
    cores = tuple(core.name for core in accelerator.cores if core.kind is not CoreKind.OFFCHIP)
    density = workload.weight_density if accelerator.gains_from_zero_weights else None
    return PricedModel(str(model), report, static, expected, cores, density)


def _analog_notes(workload: Workload, accelerator: Accelerator) -> list[str]:
    """What an analog core cannot run; or, of a file in which that is decided, that there is no such core."""
    num_analog = sum(bool(layer.analog_channels) for layer in workload.layers)
    if not num_analog:
        return [item.sentence for item in analog_refusals(workload, accelerator)]
    if accelerator.formulas is not None and accelerator.formulas.analog is not None:
        return []
    return [
        f"{num_analog} layer(s) compute as an analog core does, with ternary weights. {accelerator.name} has no such "
        "core: they are priced as if they were digital."
    ]
