"""Choices of bit widths and their granularity."""

from dataclasses import dataclass
from typing import Literal

from offramp.errors import ConfigError
from offramp.space.architecture import Precision

Granularity = Literal["fixed", "network", "stage", "layer"]
GRANULARITIES: tuple[Granularity, ...] = ("fixed", "network", "stage", "layer")

ZNIBER_PRECISIONS = tuple(Precision(*bits) for bits in ((32, 32), (8, 8), (8, 4), (4, 8), (4, 4)))
"""The pairs that Zniber et al. compare (theirs are of backbone and branches, ours of weights and activations)."""


@dataclass(frozen=True)
class PrecisionChoices:
    """The bit widths a search may choose among, and for what.

    ``fixed``: nothing is chosen. ``network``: one for the backbone and one for each branch. ``stage`` and ``layer``:
    also one for each stage, or for each layer of each block; that of the backbone is then the stem's.
    """

    granularity: Granularity = "fixed"
    choices: tuple[Precision, ...] = ()

    def __post_init__(self) -> None:
        if self.granularity not in GRANULARITIES:
            raise ConfigError(f"`granularity` must be among {', '.join(GRANULARITIES)}, got {self.granularity!r}.")
        if self.granularity == "fixed" and self.choices:
            raise ConfigError("with granularity 'fixed' there must be no precisions to choose among.")
        if self.granularity != "fixed" and (not self.choices or len(set(self.choices)) != len(self.choices)):
            shown = ", ".join(map(str, self.choices))
            raise ConfigError(f"precisions to choose among must be at least one and none twice, got: {shown or 'none'}")

    @property
    def finest(self) -> Precision | None:
        """The one with most bits; None where nothing is chosen."""
        return max(self.choices, key=_bits, default=None)

    @property
    def coarsest(self) -> Precision | None:
        """The one with fewest bits; None where nothing is chosen."""
        return min(self.choices, key=_bits, default=None)

    @property
    def usual(self) -> Precision | None:
        """What searches start from: 8 bits for both where that may be chosen, else the finest."""
        usual = Precision(8, 8)
        return usual if usual in self.choices else self.finest


FIXED = PrecisionChoices()
"""Nothing to choose."""


def _bits(precision: Precision) -> tuple[int, bool]:
    return precision.weight_bits + precision.activation_bits, not precision.ternary
