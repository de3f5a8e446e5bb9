"""Schedule: which core makes what when, and what travels when; plain values that can be checked on their own."""

from dataclasses import dataclass
from enum import StrEnum

from offramp.cost.report import MemoryEnergy


class TransferKind(StrEnum):
    """Why a tensor travels."""

    WEIGHTS = "weights"
    INPUT = "input"
    ACTIVATION = "activation"
    EVICTION = "eviction"
    LOGITS = "logits"


@dataclass(frozen=True)
class Region:
    """Channels ``first_channel`` to ``end_channel`` (exclusive) of rows ``first_row`` to ``end_row`` (exclusive)."""

    first_channel: int
    end_channel: int
    first_row: int
    end_row: int

    @property
    def rows(self) -> int:
        return max(0, self.end_row - self.first_row)

    @property
    def channels(self) -> int:
        return max(0, self.end_channel - self.first_channel)

    def overlap(self, other: "Region") -> "Region":
        return Region(
            max(self.first_channel, other.first_channel),
            min(self.end_channel, other.end_channel),
            max(self.first_row, other.first_row),
            min(self.end_row, other.end_row),
        )

    def meets(self, other: "Region") -> bool:
        """Whether anything belongs to both."""
        return (
            self.first_channel < other.end_channel
            and other.first_channel < self.end_channel
            and self.first_row < other.end_row
            and other.first_row < self.end_row
            and not (self.empty or other.empty)
        )

    @property
    def empty(self) -> bool:
        return self.end_channel <= self.first_channel or self.end_row <= self.first_row


@dataclass(frozen=True)
class Execution:
    """A layer, or the part ``result`` of its result (None = all), on a core from ``start_cycle`` to ``end_cycle``.

    ``held_media`` are taken for all of that time. ``weights`` names the block of weights that it uses, if they come in
    blocks. Energies are those of the core; they are 0 in a plan that knows durations only.
    """

    layer: str
    core: str
    start_cycle: float
    end_cycle: float
    held_media: tuple[str, ...] = ()
    result: Region | None = None
    macs: int = 0
    mac_energy_pj: float = 0.0
    memory_energy: tuple[MemoryEnergy, ...] = ()
    weights: str = ""

    @property
    def energy_pj(self) -> float:
        return self.mac_energy_pj + sum(part.energy_pj for part in self.memory_energy)


@dataclass(frozen=True)
class Transfer:
    """A tensor, or its part ``region``, on its way from one core to another over ``media``, all of them at once.

    ``tensor`` is the layer that makes it, the graph input, or weights (``weights of <layer>``, with the block where
    they come in blocks). ``origin`` is the layer that is charged. A ``broadcast`` listens to the same tensor already on
    the same media, so it takes none of their time.
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
    """Room taken in a memory of a core for a part of a tensor."""

    core: str
    memory: str
    tensor: str
    region: Region
    bits: int
    start_cycle: float
    end_cycle: float


@dataclass(frozen=True)
class Schedule:
    """Executions and transfers in the order in which they were planned.

    ``holdings`` and ``verdict_cycles`` (when each exit's logits are out) are those of a mapped schedule.
    """

    executions: tuple[Execution, ...]
    transfers: tuple[Transfer, ...]
    warnings: tuple[str, ...] = ()
    holdings: tuple[Holding, ...] = ()
    verdict_cycles: tuple[float, ...] = ()

    @property
    def end_cycle(self) -> float:
        ends = [item.end_cycle for item in self.executions] + [item.end_cycle for item in self.transfers]
        return max(ends, default=0.0)

    def execution(self, layer: str) -> Execution:
        """The first one of ``layer``; KeyError without any."""
        for item in self.executions:
            if item.layer == layer:
                return item
        raise KeyError(layer)
