"""Choices of bit widths and their granularity."""

from dataclasses import dataclass
from typing import Literal

from offramp.errors import ConfigError
from offramp.space.architecture import Precision

Granularity = Literal["fixed", "network", "stage", "layer"]
GRANULARITIES: tuple[Granularity, ...] = ("fixed", "network", "stage", "layer")

ZNIBER_PRECISIONS = tuple(Precision(*bits) for bits in ((32, 32), (8, 8), (8, 4), (4, 8), (4, 4)))
"""The pairs that Zniber et al. compare. Theirs mean backbone and branches, ours weights and activations."""


@dataclass(frozen=True)
class PrecisionChoices:
    """The precisions that a search may choose among, and their granularity.

    Attributes:
        granularity: What has a precision of its own. ``fixed``: nothing is chosen. ``network``: the backbone and each
            branch. ``stage``: also each stage. ``layer``: also each layer of each block. In the last two, the
            precision of the backbone is that of the stem.
        choices: The precisions to choose among, all different; none if `granularity` is ``fixed``.
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
            raise ConfigError(f"`choices` must hold at least one precision and none twice, got: {shown or 'none'}.")

    @property
    def finest(self) -> Precision | None:
        """The precision with most bits; None if nothing is chosen."""
        return max(self.choices, key=_bits, default=None)

    @property
    def coarsest(self) -> Precision | None:
        """The precision with fewest bits; None if nothing is chosen."""
        return min(self.choices, key=_bits, default=None)

    @property
    def usual(self) -> Precision | None:
        """The precision of first candidates: 8 bits for weights and activations if offered, else the finest."""
        usual = Precision(8, 8)
        return usual if usual in self.choices else self.finest


FIXED = PrecisionChoices()
"""Nothing to choose."""


def _bits(precision: Precision) -> tuple[int, bool]:
    return precision.weight_bits + precision.activation_bits, not precision.ternary
