"""One layer on one core through zigzag-dse, in this process. ZigZag is imported inside the functions."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

from offramp.cost.engines.native.loop_nest import loop_nest
from offramp.cost.engines.zigzag.layer_equation import OPERAND_LINKS, layer_to_zigzag, mapping_to_zigzag
from offramp.cost.report import LayerCost, MemoryEnergy
from offramp.errors import ConfigError
from offramp.hardware.accelerator import Core, MemoryLevel, PortKind
from offramp.hardware.formats.zigzag_yaml import core_to_zigzag
from offramp.workload.layer import LayerShape

_Reduced = tuple[list[float], list[float]]


@dataclass(frozen=True)
class ZigzagSettings:
    """How far zigzag-dse searches.

    Attributes:
        loma_lpf_limit: Most temporal loops that are permuted, at least 1.
        num_spatial_mappings: Number of spatial mappings that are tried, at least 1.
        loads_overlap_computation: Whether data that is loaded once may arrive while the layer computes; see
            `ZigzagEngine`.
    """

    loma_lpf_limit: int = 6
    num_spatial_mappings: int = 3
    loads_overlap_computation: bool = False

    def __post_init__(self) -> None:
        for name in ("loma_lpf_limit", "num_spatial_mappings"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be >= 1, got {getattr(self, name)}.")


@dataclass(frozen=True)
class _ZigZag:
    """The classes of zigzag-dse that a call needs."""

    layer_factory: Any
    accelerator_factory: Any
    accelerator_validator: Any
    main_stage: Any
    mapping_stages: tuple[Any, ...]
    cost_stage: Any
    preloading_cost_stage: Any
    uneven: Any


def price_layer(shape: LayerShape, core: Core, settings: ZigzagSettings) -> LayerCost:
    """Price one layer by the mapping of lowest latency, ties by energy. Errors of zigzag-dse are passed on.

    Args:
        shape: The layer.
        core: The core that computes it.
        settings: How far zigzag-dse searches.

    Returns:
        The cost of the best mapping.

    Raises:
        ConfigError: The package zigzag-dse is not installed.
        ValueError: zigzag-dse does not accept the core.
    """
    zigzag = load_zigzag()
    core = _at_the_bits_of(shape, core)
    accelerator = _zigzag_accelerator(core)
    node = zigzag.layer_factory(layer_to_zigzag(shape), [mapping_to_zigzag(shape, core)]).create()
    cost_stage = zigzag.cost_stage if settings.loads_overlap_computation else zigzag.preloading_cost_stage
    answers = zigzag.main_stage(
        [*zigzag.mapping_stages, cost_stage],
        layer=node,
        accelerator=accelerator,
        loma_lpf_limit=settings.loma_lpf_limit,
        nb_mappings_generated=settings.num_spatial_mappings,
        loma_show_progress_bar=False,
        access_same_data_considered_as_no_access=True,
        enable_mix_spatial_mapping_generation=False,
        temporal_mapping_type=zigzag.uneven,
    ).run()
    return _to_layer_cost(answers[0][0], core)


@cache
def load_zigzag() -> _ZigZag:
    """Import zigzag-dse and silence its log output.

    Returns:
        The classes that a call needs.

    Raises:
        ConfigError: The package is not installed.
    """
    logging.getLogger("zigzag").setLevel(logging.CRITICAL + 1)
    try:
        from zigzag.mapping.temporal_mapping import TemporalMappingType
        from zigzag.parser.accelerator_factory import AcceleratorFactory
        from zigzag.parser.accelerator_validator import AcceleratorValidator
        from zigzag.parser.workload_factory import LayerNodeFactory
        from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
        from zigzag.stages.main import MainStage
        from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
        from zigzag.stages.results.reduce_stages import MinimalLatencyStage
    except ImportError as exc:
        raise ConfigError(
            f"The engine 'zigzag' needs the package zigzag-dse, which cannot be imported ({exc}). "
            "Install it with: pip install 'offramp[zigzag]'."
        ) from exc
    return _ZigZag(
        layer_factory=LayerNodeFactory,
        accelerator_factory=AcceleratorFactory,
        accelerator_validator=AcceleratorValidator,
        main_stage=MainStage,
        mapping_stages=(
            MinimalLatencyStage,
            _spatial_mapping_stage(),
            MinimalLatencyStage,
            TemporalMappingGeneratorStage,
        ),
        cost_stage=CostModelStage,
        preloading_cost_stage=_preloading_cost_stage(),
        uneven=TemporalMappingType.UNEVEN,
    )


@lru_cache(maxsize=64)
def _at_the_bits_of(shape: LayerShape, core: Core) -> Core:
    """ZigZag knows one energy per operation, whatever the widths: give it the one of this layer."""
    nest = loop_nest(shape)
    energy = core.mac_energy_pj_at(nest.bits("I2"), nest.bits("I1"))
    return replace(core, mac_energy_pj=energy, mac_energy_by_bits=None)


def _zigzag_accelerator(core: Core) -> Any:
    zigzag = load_zigzag()
    validator = zigzag.accelerator_validator(core_to_zigzag(_with_zigzag_ports(core)))
    data = validator.normalized_data
    if not validator.validate():
        raise ValueError(f"ZigZag does not accept the core description: {validator.validator.errors}")
    return zigzag.accelerator_factory(data).create()


def _with_zigzag_ports(core: Core) -> Core:
    """The core with ports called r_port_1, w_port_1, rw_port_1, ...: ZigZag accepts no other names."""
    return replace(core, memories=tuple(_rename_ports(memory) for memory in core.memories))


def _rename_ports(memory: MemoryLevel) -> MemoryLevel:
    prefix = {PortKind.READ: "r", PortKind.WRITE: "w", PortKind.READ_WRITE: "rw"}
    names: dict[str | None, str] = {
        port.name: f"{prefix[port.kind]}_port_{number}" for number, port in enumerate(memory.ports, start=1)
    }
    ports = tuple(replace(port, name=names[port.name]) for port in memory.ports)
    allocated = tuple(
        replace(
            item,
            from_high=names.get(item.from_high),
            to_low=names.get(item.to_low),
            from_low=names.get(item.from_low),
            to_high=names.get(item.to_high),
        )
        for item in memory.operand_ports
    )
    return replace(memory, ports=ports, operand_ports=allocated)


def _spatial_mapping_stage() -> Any:
    """ZigZag's generator of spatial mappings with one method corrected.

    Where an innermost memory is too small for the unrolled elements, ZigZag shrinks the unroll factors but files the
    results under the *old* factor, so that of two equal factors both get the last value: 4 x 4 weights in a memory of 8
    become 3 x 3 instead of 2 x 3 and no loop ordering fits. Here every factor is written back to its own place.
    """
    from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage

    class PlacewiseLimitStage(SpatialMappingGeneratorStage):  # type: ignore[misc]
        def limit_unrolling_to_mem_capacity(self, mapping: Any) -> Any:
            links = self.layer.memory_operand_links
            for memory in self.memory_hierarchy.get_inner_memories():
                for mem_operand in memory.operands:
                    if not links.contains_mem_op(mem_operand):
                        continue
                    operand = links.mem_to_layer_op(mem_operand)
                    bits = self.layer.operand_precision[operand]
                    if bits > 0:
                        irrelevant = self.layer.get_operand_irrelevant_layer_dims(operand)
                        _shrink(mapping, memory.served_dimensions, irrelevant, memory.memory_instance.size / bits)
            return mapping

    return PlacewiseLimitStage


def _preloading_cost_stage() -> Any:
    """ZigZag's evaluation without its credit for loading beside the computation, as in zigzag-dse 3.6."""
    from zigzag.cost_model.cost_model import CostModelEvaluation
    from zigzag.cost_model.cost_model_imc import CostModelEvaluationForIMC
    from zigzag.hardware.architecture.imc_array import ImcArray
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage

    class Preloading:
        @staticmethod
        def reduce_ordered(required: list[float], _minimum: list[float], _surplus: float) -> _Reduced:
            return required, [0.0] * len(required)

    class PreloadingEvaluation(Preloading, CostModelEvaluation):  # type: ignore[misc]
        pass

    class PreloadingImcEvaluation(Preloading, CostModelEvaluationForIMC):  # type: ignore[misc]
        pass

    class PreloadingCostModelStage(CostModelStage):  # type: ignore[misc]
        def run(self) -> Iterator[tuple[Any, None]]:
            in_memory = isinstance(self.accelerator.operational_array, ImcArray)
            evaluation = PreloadingImcEvaluation if in_memory else PreloadingEvaluation
            yield (
                evaluation(
                    accelerator=self.accelerator,
                    layer=self.layer,
                    spatial_mapping=self.spatial_mapping,
                    spatial_mapping_int=self.spatial_mapping_int,
                    temporal_mapping=self.temporal_mapping,
                    access_same_data_considered_as_no_access=self.access_same_data_considered_as_no_access,
                ),
                None,
            )

    return PreloadingCostModelStage


def _shrink(mapping: Any, array_dimensions: Any, irrelevant: Any, capacity: float) -> None:
    """Lower the largest unroll factor by one until the relevant ones fit ``capacity``, none below one."""
    served = list(array_dimensions)
    dims = {dim for array_dim in served for dim, _ in mapping[array_dim].items() if dim not in irrelevant}
    places = [(array_dim, dim) for dim in dims for array_dim in served if dim in mapping[array_dim]]
    factors = [mapping[array_dim][dim] for array_dim, dim in places]
    while math.prod(factors) > capacity and any(factor > 1 for factor in factors):
        factors[factors.index(max(factors))] -= 1
    for (array_dim, dim), factor in zip(places, factors, strict=True):
        mapping[array_dim][dim] = factor


def _to_layer_cost(evaluation: Any, core: Core) -> LayerCost:
    energies = []
    for operand, per_level in evaluation.mem_energy_breakdown.items():
        mem_operand = OPERAND_LINKS[operand.name]
        names = [memory.name for memory in core.memories if mem_operand in memory.operands]
        energies += [
            MemoryEnergy(name, operand.name, float(energy)) for name, energy in zip(names, per_level, strict=True)
        ]
    return LayerCost(
        temporal_cycles=float(evaluation.ideal_temporal_cycle),
        stall_cycles=float(evaluation.latency_total0 - evaluation.ideal_temporal_cycle),
        onload_cycles=float(evaluation.latency_total1 - evaluation.latency_total0),
        offload_cycles=float(evaluation.latency_total2 - evaluation.latency_total1),
        mac_energy_pj=float(evaluation.mac_energy),
        memory_energy=tuple(energies),
        utilization=float(evaluation.mac_utilization2),
        spatial_mapping=str(evaluation.layer.spatial_mapping),
        temporal_mapping=str(evaluation.temporal_mapping),
    )
