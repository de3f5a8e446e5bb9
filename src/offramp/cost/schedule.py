"""Schedule: when every layer runs and when every tensor travels; plain values that can be checked on their own."""

from dataclasses import dataclass
from enum import StrEnum


class TransferKind(StrEnum):
    """Why a tensor travels."""

    WEIGHTS = "weights"
    INPUT = "input"
    ACTIVATION = "activation"
    EVICTION = "eviction"
    LOGITS = "logits"


@dataclass(frozen=True)
class Execution:
    """A layer on a core from ``start_cycle`` to ``end_cycle``; ``held_media`` are taken for all of that time."""

    layer: str
    core: str
    start_cycle: float
    end_cycle: float
    held_media: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transfer:
    """A tensor on its way from one core to another over ``media``, all of them at once.

    ``tensor`` is the layer that makes it, or ``weights of <layer>``, or the graph input. ``origin`` is the layer that
    is charged: the maker of an activation, the user of weights and of the graph input. A ``broadcast`` listens to the
    same tensor already on the same media, so it takes none of their time.
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


@dataclass(frozen=True)
class Schedule:
    """Executions in workload order and transfers in the order in which they were planned."""

    executions: tuple[Execution, ...]
    transfers: tuple[Transfer, ...]
    warnings: tuple[str, ...] = ()

    @property
    def end_cycle(self) -> float:
        ends = [item.end_cycle for item in self.executions] + [item.end_cycle for item in self.transfers]
        return max(ends, default=0.0)

    def execution(self, layer: str) -> Execution:
        for item in self.executions:
            if item.layer == layer:
                return item
        raise KeyError(layer)
