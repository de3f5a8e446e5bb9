"""zigzag-dse asked mapping by mapping: every loop order of one layer on one core under one given spatial mapping."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from offramp.cost.engines.native.loop_mapping import TemporalLoop
from offramp.cost.engines.zigzag.layer_equation import layer_to_zigzag, mapping_to_zigzag
from offramp.cost.engines.zigzag.zigzag_call import load_zigzag
from offramp.hardware.accelerator import Core, SpatialLoop
from offramp.hardware.formats.zigzag_yaml import core_to_zigzag
from offramp.workload.layer import LayerShape

logging.getLogger("zigzag").setLevel(logging.CRITICAL)


@dataclass(frozen=True, eq=False)
class OrderCosts:
    """Costs per loop order, in the order in which ZigZag tries them; energies (operands x levels) one after another."""

    temporal: npt.NDArray[np.float64]
    stall: npt.NDArray[np.float64]
    onload: npt.NDArray[np.float64]
    offload: npt.NDArray[np.float64]
    mac_energy_pj: npt.NDArray[np.float64]
    memory_energy_pj: npt.NDArray[np.float64]


class OracleError(Exception):
    """ZigZag gives no answer for this case, for the reason named."""


@lru_cache(maxsize=64)
def accelerator_of(core: Core) -> Any:
    from zigzag.parser.accelerator_factory import AcceleratorFactory
    from zigzag.parser.accelerator_validator import AcceleratorValidator

    validator = AcceleratorValidator(core_to_zigzag(core))
    data = validator.normalized_data
    if not validator.validate():
        raise ValueError(f"ZigZag does not accept {core.name}: {validator.validator.errors}")
    return AcceleratorFactory(data).create()


def node_of(shape: LayerShape, core: Core) -> Any:
    from zigzag.parser.workload_factory import LayerNodeFactory

    return LayerNodeFactory(layer_to_zigzag(shape), [mapping_to_zigzag(shape, core)]).create()


def spatial_candidates(shape: LayerShape, core: Core, count: int) -> list[tuple[SpatialLoop, ...]]:
    """What ZigZag's generator proposes, best ranked first, its reduction to a memory's capacity corrected."""
    stage = load_zigzag().mapping_stages[1](
        [None], accelerator=accelerator_of(core), layer=node_of(shape, core), nb_mappings_generated=count
    )
    result = []
    for found in stage.generate_spatial_mappings():
        loops = (
            (str(array), str(dim), factor) for array, unrolled in found.items() for dim, factor in unrolled.items()
        )
        result.append(tuple(SpatialLoop(*loop) for loop in loops))
    return result


@dataclass(frozen=True)
class _Mapped:
    """A layer with its spatial mapping spread over the memories."""

    accelerator: Any
    node: Any
    exact: Any
    whole: Any


def _mapped(shape: LayerShape, core: Core, mapping: tuple[SpatialLoop, ...]) -> _Mapped:
    from zigzag.datatypes import LayerDim, OADimension
    from zigzag.mapping.spatial_mapping import MappingSingleOADim, SpatialMapping
    from zigzag.stages.mapping.spatial_mapping_conversion import SpatialMappingConversionStage

    accelerator, node = accelerator_of(core), node_of(shape, core)
    unrolled: dict[Any, Any] = {OADimension(item.name): MappingSingleOADim({}) for item in core.array}
    for loop in mapping:
        unrolled[OADimension(loop.array_dimension)][LayerDim(loop.loop)] = loop.size
    node.spatial_mapping = SpatialMapping(unrolled)
    node.spatial_mapping.initialize_oa_dims(accelerator.operational_array.dimension_sizes)
    stage = SpatialMappingConversionStage([None], accelerator=accelerator, layer=node)
    exact, whole = stage.convert_user_spatial_mapping(node.spatial_mapping)
    return _Mapped(accelerator, node, exact, whole)


def loop_orders(
    shape: LayerShape, core: Core, mapping: tuple[SpatialLoop, ...], lpf_limit: int
) -> list[tuple[TemporalLoop, ...]]:
    """Every order that LOMA tries, whether it fits the memories or not."""
    from zigzag.mapping.temporal_mapping import TemporalMappingType
    from zigzag.opt.loma.engine import LomaEngine

    mapped = _mapped(shape, core, mapping)
    engine = LomaEngine(
        accelerator=mapped.accelerator,
        layer=mapped.node,
        spatial_mapping=mapped.exact,
        mapping_type=TemporalMappingType.UNEVEN,
        loma_lpf_limit=lpf_limit,
    )
    engine.temporal_loop_dim_size = engine.get_temporal_loops()
    engine.update_min_lpf_factor(engine.temporal_loop_dim_size)
    engine.get_prime_factors()
    return [tuple(TemporalLoop(str(dim), size) for dim, size in order) for order in engine.ordering_generator()]


def order_costs(
    shape: LayerShape, core: Core, mapping: tuple[SpatialLoop, ...], orders: Sequence[tuple[TemporalLoop, ...]]
) -> OrderCosts:
    """Costs of those of the ``orders`` that fit the memories; OracleError where ZigZag fails."""
    from zigzag.datatypes import LayerDim
    from zigzag.mapping.temporal_mapping import TemporalMappingType
    from zigzag.opt.loma.memory_allocator import (
        MemoryAllocator,
        MemoryHierarchyTooSmallException,
        MemoryTooSmallException,
    )
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage

    mapped = _mapped(shape, core, mapping)
    rows = []
    for order in orders:
        loops = [(LayerDim(loop.dim), loop.size) for loop in order]
        allocator = MemoryAllocator(mapped.accelerator, mapped.node, mapped.exact, loops, TemporalMappingType.UNEVEN)
        try:
            temporal = allocator.run()
        except (MemoryTooSmallException, MemoryHierarchyTooSmallException):
            continue
        stage = CostModelStage(
            [],
            accelerator=mapped.accelerator,
            layer=mapped.node,
            spatial_mapping=mapped.exact,
            spatial_mapping_int=mapped.whole,
            temporal_mapping=temporal,
        )
        try:
            rows.append(_figures(next(iter(stage.run()))[0]))
        except (AssertionError, IndexError, KeyError, ValueError, AttributeError) as exc:
            raise OracleError(f"{type(exc).__name__}: {str(exc)[:80]}") from exc
    table = np.array(rows, dtype=np.float64).T if rows else np.zeros((5, 0))
    return OrderCosts(*table[:5], memory_energy_pj=table[5:])


def _figures(evaluation: Any) -> tuple[float, ...]:
    energies = [energy for levels in evaluation.mem_energy_breakdown.values() for energy in levels]
    total0, total1, total2 = evaluation.latency_total0, evaluation.latency_total1, evaluation.latency_total2
    temporal = evaluation.ideal_temporal_cycle
    return (temporal, total0 - temporal, total1 - total0, total2 - total1, evaluation.mac_energy, *energies)
