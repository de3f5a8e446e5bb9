"""The optional block `sparsity` of a core in offramp's own format: what it gains from weights that are zero."""

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from offramp.hardware.accelerator import SparseStorage, WeightSparsity
from offramp.hardware.formats.block import Block, Fault, Figure, Text, raise_faults

MAX_INDEX_BITS = 64


def _share(value: float) -> float:
    if value > 1:
        raise ValueError(f"is a share and must be <= 1, got {value:g}")
    return value


Share = Annotated[Figure, AfterValidator(_share)]


class StorageBlock(Block):
    """What it takes to store nonzero weights only.

    Attributes:
        bits_per_weight: Bits for each weight, zero or not, such as those of a mask.
        bits_per_nonzero: Bits beside each weight that is not zero, such as an index.
    """

    bits_per_weight: Figure = 0.0
    bits_per_nonzero: Figure = Field(default=0.0, validate_default=True)

    @field_validator("bits_per_nonzero")
    @classmethod
    def _says_where_weights_belong(cls, value: float, info: ValidationInfo) -> float:
        figures = (value, info.data.get("bits_per_weight", value))
        faults = []
        if max(figures) == 0 and "bits_per_weight" in info.data:
            faults.append("one of its figures must be above 0: something has to say where the nonzero weights belong")
        if max(figures) > MAX_INDEX_BITS:
            faults.append(f"its figures must be <= {MAX_INDEX_BITS} bits")
        raise_faults(map(Fault, faults))
        return value


class SparsityBlock(Block):
    """The gain of a core, and where it was published.

    Attributes:
        cycles_saved: Share of a zero weight's cycle that is saved, 0 to 1.
        energy_saved: Share of the energy of its MAC that is saved, 0 to 1.
        storage: How nonzero weights are stored; None where zeros are stored and moved like any weight.
        source: Where the figures were published.
    """

    cycles_saved: Share
    energy_saved: Share
    storage: StorageBlock | None = Field(default=None, validate_default=True)
    source: Text

    @field_validator("storage")
    @classmethod
    def _gains_something(cls, value: StorageBlock | None, info: ValidationInfo) -> StorageBlock | None:
        if value is None and info.data.get("cycles_saved") == info.data.get("energy_saved") == 0:
            raise_faults([Fault("nothing is gained by it; leave the block out, or say what is")])
        return value

    def build(self) -> WeightSparsity:
        """The block as a value."""
        storage = None if self.storage is None else SparseStorage(**dict(self.storage))
        return WeightSparsity(self.cycles_saved, self.energy_saved, storage, self.source)
