"""Routes between the cores of an accelerator, and what it takes to send a tensor along them."""

import math
from collections import deque
from dataclasses import dataclass

from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import Accelerator, Link, MemoryLevel


@dataclass(frozen=True)
class Route:
    """The way from one core to another.

    Attributes:
        links: The links on the way.
        media: The distinct physical media of these links.
    """

    links: tuple[Link, ...]
    media: tuple[str, ...]

    def duration(self, bits: int) -> int:
        """Time of a transfer, for which all media are busy.

        Args:
            bits: Number of bits.

        Returns:
            Cycles; the slowest link decides.
        """
        times = [math.ceil(bits / link.bandwidth_bits) for link in self.links if link.bandwidth_bits is not None]
        return max(times, default=0)

    def energy_pj(self, bits: int) -> float:
        """Energy of the links for a transfer.

        Args:
            bits: Number of bits.

        Returns:
            pJ.
        """
        return bits * sum(link.energy_pj_per_bit for link in self.links)


class Topology:
    """Routes with the fewest links, in the order in which the accelerator lists its links."""

    def __init__(self, accelerator: Accelerator) -> None:
        """Sort the links of an accelerator by their sender.

        Args:
            accelerator: The accelerator.
        """
        self._accelerator = accelerator
        self._routes: dict[tuple[str, str], Route] = {}
        self._leaving: dict[str, list[Link]] = {}
        for link in accelerator.links:
            self._leaving.setdefault(link.sender, []).append(link)

    def route(self, sender: str, receiver: str) -> Route:
        """Find the way from one core to another.

        Args:
            sender: Name of the core that sends.
            receiver: Name of the core that receives.

        Returns:
            The way with the fewest links.

        Raises:
            AcceleratorError: No links lead there.
        """
        key = (sender, receiver)
        if key not in self._routes:
            links = self._shortest(sender, receiver)
            media = tuple(dict.fromkeys(link.shared or f"{link.sender}->{link.receiver}" for link in links))
            self._routes[key] = Route(links, media)
        return self._routes[key]

    def _shortest(self, sender: str, receiver: str) -> tuple[Link, ...]:
        paths: dict[str, tuple[Link, ...]] = {sender: ()}
        queue = deque([sender])
        while queue:
            core = queue.popleft()
            if core == receiver:
                return paths[core]
            for link in self._leaving.get(core, ()):
                if link.receiver not in paths:
                    paths[link.receiver] = (*paths[core], link)
                    queue.append(link.receiver)
        raise AcceleratorError(
            f"Accelerator {self._accelerator.name!r} must have links that lead from core {sender!r} to core "
            f"{receiver!r}, because a tensor has to go that way. Add them to its description."
        )


def read_energy_pj(memory: MemoryLevel, bits: int) -> float:
    """Energy of reading from a memory.

    Args:
        memory: The memory.
        bits: Number of bits.

    Returns:
        pJ of whole accesses of full port width.
    """
    return memory.read_energy_pj * math.ceil(bits / memory.read_bandwidth_bits)


def write_energy_pj(memory: MemoryLevel, bits: int) -> float:
    """Energy of writing to a memory.

    Args:
        memory: The memory.
        bits: Number of bits.

    Returns:
        pJ of whole accesses of full port width.
    """
    return memory.write_energy_pj * math.ceil(bits / memory.write_bandwidth_bits)
