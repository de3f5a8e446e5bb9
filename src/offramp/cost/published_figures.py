"""Comparison of a cost engine with the published figures in an accelerator description."""

from collections.abc import Callable
from dataclasses import dataclass

from offramp.cost.report import LayerCost, LayerEngine
from offramp.hardware.accelerator import Accelerator


@dataclass(frozen=True)
class ReferenceComparison:
    """One published figure (``quantity`` says which) and what the engine says instead."""

    layer: str
    core: str
    quantity: str
    published: float
    priced: float
    tolerance: float
    source: str

    @property
    def difference(self) -> float:
        """Relative, negative where the engine says less."""
        return self.priced / self.published - 1

    @property
    def agrees(self) -> bool:
        return abs(self.difference) <= self.tolerance


def compare_with_reference(accelerator: Accelerator, engine: LayerEngine) -> tuple[ReferenceComparison, ...]:
    """Every published figure of ``accelerator``, in order; UnsupportedLayerError for layers that cannot be priced."""
    rows = accelerator.reference
    costs = engine.price([(row.shape, accelerator.core(row.core)) for row in rows])
    quantities: tuple[tuple[str, Callable[[LayerCost], float]], ...] = (
        ("cycles", lambda cost: cost.latency_cycles),
        ("energy_pj", lambda cost: cost.energy_pj),
    )
    found = []
    for row, cost in zip(rows, costs, strict=True):
        for quantity, priced in quantities:
            published = getattr(row, quantity)
            if published is not None:
                found.append(
                    ReferenceComparison(
                        row.layer, row.core, quantity, published, priced(cost), row.tolerance, row.source
                    )
                )
    return tuple(found)
