"""A mapped schedule: which core makes which part of which tensor when, and what travels; plain values."""

from dataclasses import dataclass

from offramp.cost.base import MemoryEnergy
from offramp.cost.mapper.regions import Region
from offramp.cost.schedule import TransferKind


@dataclass(frozen=True)
class Piece:
    """A part of a layer's result being made on one core; ``weights`` names the block of weights that it uses."""

    layer: str
    core: str
    result: Region
    start_cycle: float
    end_cycle: float
    macs: int
    mac_energy_pj: float
    memory_energy: tuple[MemoryEnergy, ...]
    weights: str = ""

    @property
    def energy_pj(self) -> float:
        return self.mac_energy_pj + sum(part.energy_pj for part in self.memory_energy)


@dataclass(frozen=True)
class Move:
    """A part of a tensor sent from one core to another over ``media``, all of them at once.

    ``tensor`` is a layer, the graph input, or a block of weights. Moves with equal ``multicast`` number are one passage
    with several receivers: they take each medium once. ``origin`` is the layer that is charged.
    """

    tensor: str
    region: Region
    kind: TransferKind
    origin: str
    sender: str
    receiver: str
    media: tuple[str, ...]
    start_cycle: float
    end_cycle: float
    bits: int
    energy_pj: float
    multicast: int


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
class MappedSchedule:
    """Pieces and moves in the order in which they were planned; ``verdict_cycles``: when each exit's logits are out."""

    pieces: tuple[Piece, ...]
    moves: tuple[Move, ...]
    holdings: tuple[Holding, ...]
    verdict_cycles: tuple[float, ...]
    warnings: tuple[str, ...] = ()
