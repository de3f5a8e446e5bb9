"""Savings from zero weights on a core whose description states them.

The rule, which is the mean over evenly spread zeros. ``d`` is the share of weights that are not zero:

- Stored and moved, a weight takes d * (bits + bits_per_nonzero) + bits_per_weight bits, in every memory and on every
  link. Memories hold as many more of them as that makes room for.
- Computing takes 1 - cycles_saved * (1 - d) of its cycles, and the multiplications 1 - energy_saved * (1 - d) of their
  energy.
- Inputs and outputs move as they do for dense weights; where that takes longer than computing does now, it stalls.
- A layer that would take no less room in the core's format is stored plainly and computed as a dense one: without the
  format nothing tells where the zeros are.

Source: the uniform density model of Wu et al., "Sparseloop", MICRO 2022.
"""

import math
from dataclasses import dataclass, replace

from offramp.hardware.accelerator import Core
from offramp.workload.layer import LayerShape

_FRACTIONS_OF_A_BIT = 2**20


@dataclass(frozen=True)
class SparseGain:
    """What zero weights save, for one layer on one core.

    Attributes:
        cycles: Share of the computing cycles that is left, 0..1.
        mac_energy: Share of the energy of multiplications that is left, 0..1.
        stored_bits: Average bits of a weight as it is stored.
        plain_bits: Bits of a weight that is stored without compression.
    """

    cycles: float
    mac_energy: float
    stored_bits: float
    plain_bits: int

    def whole_cycles(self, cycles: int) -> int:
        """Return how many of the given cycles are left.

        Args:
            cycles: Cycles of the dense layer.

        Returns:
            Whole cycles, rounded up; at least 1.
        """
        # Rounded first: 100 * 0.55 is a little more than 55 in floating point.
        return max(1, math.ceil(round(cycles * self.cycles, 6)))


def gain_of(shape: LayerShape, core: Core) -> SparseGain | None:
    """Return what the zero weights of a layer save on a core.

    Args:
        shape: The layer with the share of its weights that are not zero.
        core: The core that computes it.

    Returns:
        The gain; None where the layer costs what a dense one does.
    """
    sparsity, density = core.sparsity, shape.weight_density
    if sparsity is None or density == 1.0:
        return None
    stored = float(shape.weight_bits)
    if sparsity.storage is not None:
        stored = density * (shape.weight_bits + sparsity.storage.bits_per_nonzero) + sparsity.storage.bits_per_weight
        # Multiples of a power of two, whose products with counts are exact: allocation compares such products, and
        # equal ones must not differ by their rounding.
        stored = round(stored * _FRACTIONS_OF_A_BIT) / _FRACTIONS_OF_A_BIT
        if stored >= shape.weight_bits:
            return None
    zeros = 1.0 - density
    return SparseGain(
        cycles=1.0 - sparsity.cycles_saved * zeros,
        mac_energy=1.0 - sparsity.energy_saved * zeros,
        stored_bits=stored,
        plain_bits=shape.weight_bits,
    )


def as_priced(shape: LayerShape, core: Core) -> LayerShape:
    """Return the shape by which a layer is priced on a core.

    Args:
        shape: The layer.
        core: The core that computes it.

    Returns:
        A dense shape where zero weights save nothing on the core, otherwise the shape itself.
    """
    return shape if shape.weight_density == 1.0 or gain_of(shape, core) else replace(shape, weight_density=1.0)


def stored_weight_bits(shape: LayerShape, core: Core) -> int:
    """Return the size of a layer's weights as they are stored for a core.

    Args:
        shape: The layer.
        core: The core that computes it.

    Returns:
        Bits of all weights together.
    """
    gain = gain_of(shape, core)
    return shape.weight_size_bits if gain is None else math.ceil(round(shape.num_weights * gain.stored_bits, 6))
