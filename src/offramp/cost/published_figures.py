"""Comparison of a cost engine with the published figures in an accelerator description."""

from collections.abc import Callable
from dataclasses import dataclass

from offramp.cost.report import LayerCost, LayerEngine
from offramp.hardware.accelerator import Accelerator


@dataclass(frozen=True)
class ReferenceComparison:
    """One published figure beside the engine's.

    Attributes:
        layer: Name of the layer in the publication.
        core: Name of the core that computes it.
        quantity: What the figure measures, with its unit: ``cycles``, ``energy_pj`` or ``tops_per_watt``.
        published: The published figure.
        priced: The engine's figure.
        tolerance: Largest relative difference that counts as agreement, a fraction.
        source: Where the figure was published.
    """

    layer: str
    core: str
    quantity: str
    published: float
    priced: float
    tolerance: float
    source: str

    @property
    def difference(self) -> float:
        """Relative difference, a fraction; negative where the engine's figure is the smaller one."""
        return self.priced / self.published - 1

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.difference) <= self.tolerance


def compare_with_reference(accelerator: Accelerator, engine: LayerEngine) -> tuple[ReferenceComparison, ...]:
    """Compare an engine with all published figures of an accelerator.

    Args:
        accelerator: The accelerator.
        engine: The engine that prices its reference layers.

    Returns:
        One comparison per published figure, in the order of the description.

    Raises:
        UnsupportedLayerError: The engine cannot price a reference layer.
    """
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
