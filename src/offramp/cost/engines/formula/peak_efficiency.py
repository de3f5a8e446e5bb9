"""Peak efficiency of a chip's arrays, as published and as computed for a layer that fills the array."""

from offramp.cost.engines.formula.engine import FormulaEngine
from offramp.cost.published_figures import ReferenceComparison
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.chip_formulas import CoreFormula, InMemoryArray, TiledArray
from offramp.workload.layer import LayerShape, Op

_SIZE = 32


def compare_peaks(accelerator: Accelerator) -> tuple[ReferenceComparison, ...]:
    """Compare the published peak efficiencies of a chip's arrays with those of the formula engine.

    The engine's figure is two operations per MAC over the energy of the array alone.

    Args:
        accelerator: The accelerator.

    Returns:
        One comparison per core whose formula states a peak; none where the accelerator has no formulas.
    """
    if accelerator.formulas is None:
        return ()
    engine = FormulaEngine(accelerator)
    rows = []
    for formula in accelerator.formulas.cores:
        shape = filling_layer(formula)
        if formula.peak is None or shape is None:
            continue
        (cost,) = engine.price([(shape, accelerator.core(formula.core))])
        rows.append(
            ReferenceComparison(
                layer="a layer that fills the array",
                core=formula.core,
                quantity="tops_per_watt",
                published=formula.peak.tops_per_watt,
                priced=2 * shape.macs / cost.mac_energy_pj,
                tolerance=formula.peak.tolerance,
                source=formula.peak.source,
            )
        )
    return tuple(rows)


def filling_layer(formula: CoreFormula) -> LayerShape | None:
    """Return a 3x3 convolution that keeps the whole array busy.

    Args:
        formula: The core's formula.

    Returns:
        The layer; None for cores that compute in software.
    """
    form = formula.cycles
    if isinstance(form, TiledArray):
        channels, inputs, size = form.channels * 8, form.channels * 8, form.columns * 2
    elif isinstance(form, InMemoryArray):
        channels, inputs, size = form.columns, form.channels_per_pass, _SIZE
    else:
        return None
    return LayerShape(
        Op.CONV, k=channels, c=inputs, oy=size, ox=size, fy=3, fx=3, iy=size, ix=size, padding=(1, 1, 1, 1)
    )
