"""A schedule: which core computes what and when, and what is transferred when. Every mapping fills in this type."""

from dataclasses import dataclass
from enum import StrEnum

from offramp.cost.report import MemoryEnergy


class TransferKind(StrEnum):
    """Why a tensor is transferred."""

    WEIGHTS = "weights"
    INPUT = "input"
    ACTIVATION = "activation"
    EVICTION = "eviction"
    LOGITS = "logits"


@dataclass(frozen=True)
class Region:
    """A rectangular part of a tensor: a range of channels and a range of rows.

    Attributes:
        first_channel: First channel, from 0.
        end_channel: One past the last channel.
        first_row: First row, from 0.
        end_row: One past the last row.
    """

    first_channel: int
    end_channel: int
    first_row: int
    end_row: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return max(0, self.end_row - self.first_row)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return max(0, self.end_channel - self.first_channel)

    def overlap(self, other: "Region") -> "Region":
        """The part that belongs to both regions.

        Args:
            other: A region of the same tensor.

        Returns:
            The common part; it is empty where the regions do not meet.
        """
        return Region(
            max(self.first_channel, other.first_channel),
            min(self.end_channel, other.end_channel),
            max(self.first_row, other.first_row),
            min(self.end_row, other.end_row),
        )

    def meets(self, other: "Region") -> bool:
        """Whether the regions have a common part.

        Args:
            other: A region of the same tensor.

        Returns:
            True where at least one element belongs to both.
        """
        return (
            self.first_channel < other.end_channel
            and other.first_channel < self.end_channel
            and self.first_row < other.end_row
            and other.first_row < self.end_row
            and not (self.empty or other.empty)
        )

    @property
    def empty(self) -> bool:
        """Whether the region has no element."""
        return self.end_channel <= self.first_channel or self.end_row <= self.first_row


@dataclass(frozen=True)
class Execution:
    """A layer, or a part of it, on one core.

    Attributes:
        layer: Name of the layer.
        core: Name of the core.
        start_cycle: When the core starts.
        end_cycle: When the core is done.
        held_media: Links that are busy for all of that time, because operands are streamed over them.
        result: The part of the layer's result that is computed; None = all of it.
        mac_energy_pj: Energy of the multiply-accumulate units.
        memory_energy: Energy of the core's memories, by memory and operand.
        weights: Name of the block of weights that is used, where weights are loaded in blocks.
        utilization: Share of the array that the engine says is used; None = to be worked out from MACs and cycles.
    """

    layer: str
    core: str
    start_cycle: float
    end_cycle: float
    held_media: tuple[str, ...] = ()
    result: Region | None = None
    mac_energy_pj: float = 0.0
    memory_energy: tuple[MemoryEnergy, ...] = ()
    weights: str = ""
    utilization: float | None = None

    @property
    def energy_pj(self) -> float:
        """Energy that the core spends."""
        return self.mac_energy_pj + sum(part.energy_pj for part in self.memory_energy)


@dataclass(frozen=True)
class Transfer:
    """A tensor, or a part of it, sent over links that are all busy at the same time.

    Attributes:
        tensor: The layer that computes the tensor, the graph input, or ``weights of <layer>`` (with the block where
            weights are loaded in blocks).
        kind: Why it is transferred.
        origin: The layer that is charged for the energy.
        sender: Name of the core, or of the shared memory, that sends.
        receiver: Name of the core, or of the shared memory, that receives.
        media: The links that are busy.
        start_cycle: When the transfer starts.
        end_cycle: When all bits have arrived.
        bits: Number of bits.
        energy_pj: Energy of reading, sending and writing.
        broadcast: Whether the receiver listens to a transfer of the same tensor that is on the links anyway; then no
            time of the links is taken.
        region: The part of the tensor; None = all of it.
    """

    tensor: str
    kind: TransferKind
    origin: str
    sender: str
    receiver: str
    media: tuple[str, ...]
    start_cycle: float
    end_cycle: float
    bits: int
    energy_pj: float
    broadcast: bool = False
    region: Region | None = None


@dataclass(frozen=True)
class Holding:
    """Space taken in a memory of a core by a part of a tensor.

    Attributes:
        core: Name of the core.
        memory: Name of the memory.
        tensor: Name of the tensor, as in `Transfer`.
        region: The part of the tensor.
        bits: Number of bits.
        start_cycle: When the space is reserved.
        end_cycle: When the space is free again.
    """

    core: str
    memory: str
    tensor: str
    region: Region
    bits: int
    start_cycle: float
    end_cycle: float


@dataclass(frozen=True)
class IdlePower:
    """Power that an accelerator takes in every cycle, whatever runs.

    Attributes:
        pj_per_cycle: Energy per cycle.
        memory: The name under which reports list this energy among those of the memories.
    """

    pj_per_cycle: float
    memory: str


@dataclass(frozen=True)
class Schedule:
    """What a mapping decides, in plain values that can be checked on their own.

    Attributes:
        executions: What cores compute, in the order in which it was planned.
        transfers: What is sent, in the order in which it was planned.
        warnings: Sentences for the user.
        holdings: What takes space in memories; empty where a mapping does not say.
        verdict_cycles: Per exit, the cycle in which its logits are available.
        idle_power: Power that comes on top of the energies of executions and transfers; None = none.
    """

    executions: tuple[Execution, ...]
    transfers: tuple[Transfer, ...]
    warnings: tuple[str, ...] = ()
    holdings: tuple[Holding, ...] = ()
    verdict_cycles: tuple[float, ...] = ()
    idle_power: IdlePower | None = None
